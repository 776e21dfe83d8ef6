//! What a notice says.

use chrono::{DateTime, Utc};
use model::{EndReason, Wait};
use store::{Notice, NoticeStage};

/// A mail without its addresses.
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

pub(super) fn message(notice: &Notice, console_url: Option<&str>) -> Message {
    let Notice { event_type, destination, reason, account_label, .. } = notice;
    let (subject, meaning) = match notice.stage {
        NoticeStage::FirstFailure => (
            format!("An alert did not arrive ({event_type})"),
            "It is tried again, less and less often, for several hours. You hear of this once a \
             day at most.",
        ),
        NoticeStage::LastChance => (
            format!("Your {event_type} alerts are about to be disabled"),
            "One more try is left. If that one fails too, this alert setting is disabled: what \
             happens from then on is held, and not sent, until you save the setting again.",
        ),
        NoticeStage::Disabled => (
            format!("Your {event_type} alerts are disabled"),
            "All tries have failed. What happens from now on is held and can be sent later. Put \
             the receiver right and save the setting again, which enables it.",
        ),
    };
    let mut facts = vec![
        ("Alert", event_type.clone()),
        ("To", destination.clone()),
        ("When", time(notice.happened_at)),
        ("Why", in_words(reason)),
    ];
    if let Some(at) = notice.next_attempt_at {
        facts.push(("Next try", time(at)));
    }
    if !account_label.is_empty() {
        facts.insert(0, ("Account", account_label.clone()));
    }
    if let Some(url) = console_url {
        facts.push(("Settings", url.to_owned()));
    }
    let text = facts.iter().fold(String::new(), |text, (name, value)| {
        format!("{text}{name:<10}{}\n", one_line(value))
    });
    let rows = facts.iter().fold(String::new(), |rows, (name, value)| {
        let value = escaped(&one_line(value));
        format!("{rows}<tr><td style=\"padding:4px 16px 4px 0;color:#667085\">{name}</td><td style=\"padding:4px 0;overflow-wrap:anywhere\">{value}</td></tr>\n")
    });
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title></head>\n\
         <body style=\"font:15px/1.5 system-ui,sans-serif;max-width:600px;margin:32px auto;padding:0 16px\">\n\
         <h1 style=\"font-size:20px\">{title}</h1>\n<p>{meaning}</p>\n<table>\n{rows}</table>\n</body></html>\n",
        title = escaped(&subject),
    );
    Message { text: format!("{subject}\n\n{meaning}\n\n{text}"), subject, html }
}

/// How a delivery ended has a short name; other reasons are for people already.
fn in_words(reason: &str) -> String {
    match (EndReason::parse(reason), Wait::parse(reason)) {
        (Some(reason), _) => reason.explain().to_owned(),
        (None, Some(wait)) => format!("Its schedule's time was up: {}.", wait.explain()),
        (None, None) => reason.to_owned(),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%-d %B %Y, %H:%M UTC").to_string()
}

/// What strangers have said cannot add lines to the facts.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(stage: NoticeStage) -> Notice {
        Notice {
            notice_id: 7,
            account_label: "Shop <b>".into(),
            contact_email: None,
            stage,
            event_type: "ip_listed".into(),
            destination: "https://hooks.example.net/alerts".into(),
            reason: "it was answered\r\nwith <script>".into(),
            happened_at: DateTime::from_timestamp(1_760_000_000, 0).unwrap(),
            next_attempt_at: DateTime::from_timestamp(1_760_000_600, 0),
            tries: 0,
        }
    }

    #[test]
    fn each_stage_says_what_is_and_what_to_do() {
        let message = message(&notice(NoticeStage::LastChance), Some("https://console.example"));
        assert_eq!(message.subject, "Your ip_listed alerts are about to be disabled");
        assert!(message.text.contains("To        https://hooks.example.net/alerts\n"));
        assert!(message.text.contains("When      9 October 2025, 08:53 UTC\n"));
        assert!(message.text.contains("Next try  9 October 2025, 09:03 UTC\n"));
        assert!(message.text.contains("Settings  https://console.example\n"));
    }

    #[test]
    fn what_strangers_say_stays_text_on_one_line() {
        let message = message(&notice(NoticeStage::Disabled), None);
        assert!(message.text.contains("Why       it was answered  with <script>\n"));
        assert!(message.html.contains("with &lt;script&gt;"));
        assert!(!message.html.contains("<script>") && !message.html.contains("<b>"));
    }
}
