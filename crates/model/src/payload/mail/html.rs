//! The mail as a page.
//!
//! Programs that show mail know little of what browsers do: so tables, and
//! styles that stand with each element. What a style sheet can do better, for
//! those who look into it, is the dark page. Nothing is loaded from anywhere
//! and nothing tells that the mail was read: no images, no fonts, no links but
//! those that the text shows.

use std::fmt::{self, Display, Formatter, Write as _};

use super::{Fact, MailFrame, MailReason, Story};
use crate::EventType;

const FONT: &str = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif";

/// What looks different in the dark, and on narrow screens.
const STYLE: &str = "\
:root{color-scheme:light dark;supported-color-schemes:light dark}
a{color:#175cd3}
@media (prefers-color-scheme:dark){
.page{background:#0f1216!important}
.card{background:#191e24!important;border-color:#2c333b!important}
.ink{color:#f0f2f5!important}
.soft{color:#aab4bf!important}
.rule{border-color:#2c333b!important}
.test{background:#3a2f10!important;color:#f5d98b!important}
.bad{color:#ff9b8f!important}
.good{color:#6fd6a0!important}
.plain{color:#8ab8ff!important}
a{color:#8ab8ff!important}
.button{background:#8ab8ff!important;color:#0f1216!important}
}
@media (max-width:480px){
.pad{padding-left:20px!important;padding-right:20px!important}
.name,.value{display:block!important;width:auto!important}
.name{padding-bottom:0!important;border-bottom:0!important}
.value{padding-top:2px!important}
}
";

/// How an alert is marked: by a word, and by a colour for those who see it.
struct Mark {
    word: &'static str,
    class: &'static str,
    colour: &'static str,
}

impl Mark {
    const fn of(event_type: EventType) -> Self {
        match event_type {
            EventType::IpListed | EventType::DomainListed => {
                Self { word: "Blocklisted", class: "bad", colour: "#b42318" }
            }
            EventType::IpDelisted | EventType::DomainDelisted => {
                Self { word: "Removed from a blocklist", class: "good", colour: "#067647" }
            }
            _ => Self { word: "Validation", class: "plain", colour: "#175cd3" },
        }
    }
}

/// The whole page.
pub(super) fn page(subject: &str, story: &Story, frame: &MailFrame<'_>) -> String {
    let mut page = String::with_capacity(6 * 1_024);
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"supported-color-schemes\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body class=\"page\" style=\"margin:0;padding:0;background:#f2f4f7\">\n\
         <table role=\"presentation\" class=\"page\" width=\"100%\" cellpadding=\"0\" \
         cellspacing=\"0\" border=\"0\" style=\"background:#f2f4f7\"><tr>\
         <td align=\"center\" style=\"padding:32px 12px\">\n\
         <table role=\"presentation\" width=\"600\" cellpadding=\"0\" cellspacing=\"0\" \
         border=\"0\" style=\"width:100%;max-width:600px;font-family:{FONT};text-align:left\">\n",
        title = Escaped(subject),
    );
    if frame.reason == MailReason::Test {
        test_notice(&mut page, story);
    }
    card(&mut page, story, frame);
    ending(&mut page, story, frame);
    page.push_str("</table>\n</td></tr></table>\n</body>\n</html>\n");
    page
}

fn test_notice(page: &mut String, story: &Story) {
    let _ = writeln!(
        page,
        "<tr><td style=\"padding:0 0 12px\">\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" \
         border=\"0\"><tr><td class=\"test pad\" style=\"padding:14px 32px;border-radius:12px;\
         background:#fdf0c8;color:#664d03;font-size:14px;line-height:20px\">\
         <strong>This is a test.</strong> Somebody with access to account {account} has asked for \
         it. Nothing has happened. A real alert looks like this:</td></tr></table></td></tr>",
        account = Escaped(&story.account),
    );
}

fn card(page: &mut String, story: &Story, frame: &MailFrame<'_>) {
    let Mark { word, class, colour } = Mark::of(story.event_type);
    let _ = writeln!(
        page,
        "<tr><td class=\"card pad\" style=\"padding:28px 32px 32px;background:#ffffff;\
         border:1px solid #e4e7ec;border-radius:12px\">\n\
         <div class=\"{class}\" style=\"font-size:13px;line-height:18px;font-weight:600;\
         color:{colour}\">{word}</div>\n\
         <h1 class=\"ink\" style=\"margin:6px 0 0;font-size:22px;line-height:30px;\
         font-weight:600;color:#101828;overflow-wrap:anywhere;word-break:break-word\">\
         {headline}</h1>",
        headline = Escaped(&story.headline),
    );
    let remark = story.remark.as_deref().map(|text| ("ink", "#101828", text));
    let meaning = story.meaning.map(|text| ("soft", "#475467", text));
    for (class, colour, paragraph) in [remark, meaning].into_iter().flatten() {
        let _ = writeln!(
            page,
            "<p class=\"{class}\" style=\"margin:12px 0 0;font-size:15px;line-height:23px;\
             color:{colour};overflow-wrap:anywhere;word-break:break-word\">{}</p>",
            Escaped(paragraph)
        );
    }
    page.push_str(
        "<table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" \
         border=\"0\" style=\"margin:18px 0 0;border-collapse:collapse\">\n",
    );
    let last = story.facts.len().saturating_sub(1);
    for (number, fact) in story.facts.iter().enumerate() {
        row(page, fact, if number == last { "0" } else { "1px" });
    }
    page.push_str("</table>\n");
    if let Some(url) = frame.console_url.filter(|url| is_web(url)) {
        let _ = writeln!(
            page,
            "<p style=\"margin:18px 0 0\"><a class=\"button\" href=\"{}\" \
             style=\"display:inline-block;padding:11px 20px;border-radius:8px;\
             background:#175cd3;color:#ffffff;font-size:15px;line-height:20px;\
             font-weight:600;text-decoration:none\">Open the console</a></p>",
            Escaped(url)
        );
    }
    page.push_str("</td></tr>\n");
}

/// A fact, with a line this thick below it.
fn row(page: &mut String, Fact { name, value }: &Fact, line: &str) {
    let _ = write!(
        page,
        "<tr><td class=\"name soft rule\" valign=\"top\" width=\"112\" style=\"width:112px;\
         padding:10px 16px 10px 0;border-bottom:{line} solid #eaecf0;font-size:14px;\
         line-height:20px;color:#475467\">{name}</td>\
         <td class=\"value ink rule\" valign=\"top\" style=\"padding:10px 0;\
         border-bottom:{line} solid #eaecf0;font-size:14px;line-height:20px;color:#101828;\
         overflow-wrap:anywhere;word-break:break-word\">"
    );
    let _ = if is_web(value) {
        write!(page, "<a href=\"{0}\">{0}</a>", Escaped(value))
    } else {
        write!(page, "{}", Escaped(value))
    };
    page.push_str("</td></tr>\n");
}

fn ending(page: &mut String, story: &Story, frame: &MailFrame<'_>) {
    let [why, how] = story.ending(frame.reason);
    let _ = write!(
        page,
        "<tr><td class=\"soft pad\" style=\"padding:20px 32px 0;font-size:12px;line-height:19px;\
         color:#475467;overflow-wrap:anywhere;word-break:break-word\">{}<br>{}",
        Escaped(&why),
        Escaped(&how),
    );
    if let MailReason::Setting(id) = frame.reason {
        let _ = write!(page, "<br>{}", Escaped(&super::one_line(id)));
    }
    page.push_str("<br><br>");
    for (number, Fact { name, value }) in story.ids.iter().enumerate() {
        let between = if number == 0 { "" } else { " &nbsp;·&nbsp; " };
        let _ = write!(page, "{between}{name} {}", Escaped(value));
    }
    page.push_str("</td></tr>\n");
}

/// Whether a value may become a link. Nothing else is one: what stands behind
/// a link must be what the text shows.
fn is_web(value: &str) -> bool {
    (value.starts_with("https://") || value.starts_with("http://")) && !value.contains(' ')
}

/// Text between tags, or in an attribute between quotes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
