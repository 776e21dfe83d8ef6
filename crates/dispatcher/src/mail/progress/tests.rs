use egress::mail::RelayReply;

use super::*;

fn texts(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|text| format!("{text}@shop.example")).collect()
}

fn address(local: &str) -> MailAddress {
    format!("{local}@shop.example").parse().unwrap()
}

fn progress(remaining: &[&str], taken: u32, refused: &[&str]) -> MailProgress {
    MailProgress { remaining: texts(remaining), taken, refused: texts(refused) }
}

fn reply(code: u16, text: &str) -> RelayReply {
    RelayReply { code, text: text.into() }
}

fn refusal(local: &str, kind: MailFailureKind) -> Refusal {
    let code = if kind == MailFailureKind::Deferred { 450 } else { 550 };
    let reply = reply(code, &format!("x <{local}@Shop.example>"));
    Refusal { address: address(local), kind, reply }
}

fn accepted(taken: &[&str], refused: &[(&str, MailFailureKind)]) -> Result<Accepted, MailFailure> {
    Ok(Accepted {
        taken: taken.iter().map(|local| address(local)).collect(),
        refused: refused.iter().map(|(local, kind)| refusal(local, *kind)).collect(),
        reply: reply(250, "2.0.0 taken"),
    })
}

fn failed(
    kind: MailFailureKind,
    refused: &[(&str, MailFailureKind)],
) -> Result<Accepted, MailFailure> {
    let refused = refused.iter().map(|(local, kind)| refusal(local, *kind)).collect();
    Err(MailFailure { kind, detail: "why".into(), refused })
}

fn name(tried: &Tried) -> &'static str {
    match tried {
        Tried::Answered(Answered::Taken) => "taken",
        Tried::Answered(Answered::Rejected) => "rejected",
        Tried::Answered(Answered::Failed) | Tried::Theirs => "theirs",
        Tried::Ours => "ours",
        Tried::Relay => "relay",
    }
}

#[test]
fn a_mail_is_for_whom_the_setting_names_and_then_for_those_who_remain() {
    let named = texts(&["a", "b", "c", "a"]);
    assert_eq!(Recipients::of(None, &named).to(), ["a", "b", "c"].map(address));
    let before = progress(&["b", "gone"], 1, &["c"]);
    let recipients = Recipients::of(Some(&before), &named);
    assert_eq!(recipients.to(), [address("b")], "neither who has it nor who was taken out");
    let added = Recipients::of(Some(&before), &texts(&["b", "new"]));
    assert_eq!(added.to(), [address("b")], "nobody is added on the way");
    // A domain is the same however it is written.
    let same = Recipients::of(Some(&before), &["b@SHOP.example".to_owned()]);
    assert_eq!(same.to(), [address("b")]);
}

#[test]
fn a_mail_of_which_nobody_is_left_ends_by_what_has_come_of_it() {
    let end = |before: MailProgress| {
        let recipients = Recipients::of(Some(&before), &texts(&["new"]));
        assert!(recipients.is_empty());
        recipients.end()
    };
    assert_eq!(end(progress(&["a"], 1, &["c"])), (End::Delivered, "recipients_removed"));
    assert_eq!(end(progress(&["a"], 0, &["c"])), (End::Rejected, "refused"));
    assert_eq!(end(progress(&["a"], 0, &[])), (End::Suppressed, "recipients_removed"));
}

#[test]
fn a_retry_is_for_those_alone_who_were_put_off() {
    use MailFailureKind::{Connect, Deferred, Login, NoAnswer, Refused, Relay, Timeout, Tls};
    let all = ["a", "b", "c"];
    for (sent, tried, reason, after) in [
        (accepted(&all, &[]), "taken", "ok", progress(&[], 3, &[])),
        (
            accepted(&["a"], &[("b", Refused), ("c", Deferred)]),
            "theirs",
            "deferred",
            progress(&["c"], 1, &["b"]),
        ),
        (
            accepted(&["a"], &[("b", Relay), ("c", Deferred)]),
            "ours",
            "relay",
            progress(&["b", "c"], 1, &[]),
        ),
        (accepted(&["a", "b"], &[("c", Refused)]), "taken", "refused", progress(&[], 2, &["c"])),
        (
            failed(Refused, &[("a", Refused), ("b", Refused), ("c", Refused)]),
            "rejected",
            "refused",
            progress(&[], 0, &all),
        ),
        (
            failed(Deferred, &[("a", Refused), ("b", Deferred), ("c", Deferred)]),
            "theirs",
            "deferred",
            progress(&["b", "c"], 0, &["a"]),
        ),
        (failed(Relay, &[]), "relay", "relay", progress(&all, 0, &[])),
        (failed(Login, &[]), "relay", "login", progress(&all, 0, &[])),
        (failed(Connect, &[]), "relay", "connect", progress(&all, 0, &[])),
        (failed(Tls, &[]), "relay", "tls", progress(&all, 0, &[])),
        (failed(Timeout, &[]), "ours", "timeout", progress(&all, 0, &[])),
        (failed(NoAnswer, &[]), "ours", "no_answer", progress(&all, 0, &[])),
    ] {
        let result = Recipients::of(None, &texts(&all)).after(Some(&sent));
        assert_eq!((name(&result.tried), result.reason), (tried, reason), "{sent:?}");
        assert_eq!(result.progress, after, "{sent:?}");
    }
}

#[test]
fn tries_add_up() {
    use MailFailureKind::{Deferred, Refused};
    let before = progress(&["b", "c"], 1, &["d"]);
    let named = texts(&["a", "b", "c", "d"]);
    let after = |sent| Recipients::of(Some(&before), &named).after(Some(&sent));
    let result = after(accepted(&["b"], &[("c", Deferred)]));
    assert_eq!(result.progress, progress(&["c"], 2, &["d"]));
    let result = after(failed(Refused, &[("b", Refused), ("c", Refused)]));
    assert_eq!(result.progress, progress(&[], 1, &["d", "b", "c"]));
    assert_eq!(name(&result.tried), "taken", "somebody has it from before");
}

#[test]
fn what_is_no_address_is_refused_without_asking() {
    let named = ["nobody".to_owned(), "a@shop.example".to_owned()];
    let result = Recipients::of(None, &named).after(Some(&accepted(&["a"], &[])));
    assert_eq!((name(&result.tried), result.reason), ("taken", "refused"));
    assert_eq!(result.progress.refused, ["nobody"]);
    let alone = Recipients::of(None, &named[..1]);
    assert!(!alone.is_empty() && alone.to().is_empty());
    let result = alone.after(None);
    assert_eq!((name(&result.tried), result.reason), ("rejected", "refused"));
    assert!(result.detail.contains("no address") && !result.detail.contains("nobody"));
}

#[test]
fn history_hears_no_address() {
    let recipients = Recipients::of(None, &texts(&["ops", "cto", "a", "b", "c", "d"]));
    let url = recipients.url();
    assert_eq!(
        url,
        "mailto:o*s@shop.example,c*o@shop.example,a*@shop.example,b*@shop.example,c*@shop.example,…"
    );
    let sent =
        accepted(&["a"], &[("ops", MailFailureKind::Refused), ("cto", MailFailureKind::Deferred)]);
    let result = recipients.after(Some(&sent));
    assert_eq!(
        result.detail,
        "taken for 1 of 6; refused o*s@shop.example: 550 x <o*s@shop.example>; \
         c*o@shop.example: 450 x <c*o@shop.example>"
    );
    assert_eq!(result.reply, "250 2.0.0 taken");
}
