//! Every combination of levels, and what becomes of a target afterwards.

use protocol::v1::{AccountWebhook, DomainWebhook};

use super::*;

const KEY: Identity<'_> = Identity { event_key: "key", acceptance: "first" };

const URL: &str = "https://hooks.example.net/a";

fn account(id: &str, urls: &[&str]) -> AccountDocument {
    AccountDocument {
        account_id: id.into(),
        status: AccountStatus::Open.into(),
        webhooks: urls
            .iter()
            .map(|url| AccountWebhook {
                webhook_id: format!("{id}-{url}"),
                url: (*url).into(),
                event_types: vec!["clicked".into(), "opened".into()],
            })
            .collect(),
        ..AccountDocument::default()
    }
}

fn domain(urls: &[&str]) -> DomainDocument {
    let urls = urls.iter().map(|url| (*url).into()).collect();
    DomainDocument {
        domain_id: "dom".into(),
        account_id: "a".into(),
        webhooks: vec![DomainWebhook { event_type: "clicked".into(), urls }],
        ..DomainDocument::default()
    }
}

/// (level, url) of what was chosen.
fn chosen(routing: &Routing) -> Vec<(Level, String)> {
    let url = |target: &Target| match &target.kind {
        Some(TargetKind::Message(message)) => message.url.clone(),
        _ => panic!("not a message target"),
    };
    routing.chosen.iter().map(|c| (c.level, url(&c.target))).collect()
}

#[test]
fn one_delivery_a_url_and_the_highest_level_wins() {
    // Bits: the URL stands on the parent, on the account, on the domain.
    for bits in 0..8_u8 {
        let on = |bit: u8| if bits & bit == 0 { vec![] } else { vec![URL] };
        let (parent, own, domain) = (account("p", &on(1)), account("a", &on(2)), domain(&on(4)));
        let scope = Scope { account: &own, parent: Some(&parent), domain: Some(&domain) };
        let routing = route(EventType::Clicked, KEY, scope);
        let winner = match bits {
            0 => vec![],
            b if b & 1 != 0 => vec![(Level::ParentAccount, URL.to_owned())],
            b if b & 2 != 0 => vec![(Level::Account, URL.to_owned())],
            _ => vec![(Level::Domain, URL.to_owned())],
        };
        assert_eq!(chosen(&routing), winner, "bits {bits:03b}");
        assert_eq!(routing.decisions.len(), bits.count_ones() as usize, "bits {bits:03b}");
        let duplicates = routing.decisions.iter().filter(|d| d.verdict() == Verdict::Duplicate);
        assert!(duplicates.clone().all(|d| d.duplicate_of == routing.decisions[0].subscription_id));
        assert_eq!(duplicates.count(), (bits.count_ones() as usize).saturating_sub(1));
    }
}

#[test]
fn each_url_is_a_delivery_of_its_own_and_other_types_are_not_touched() {
    let (own, domain) = (account("a", &["https://1", "https://2"]), domain(&["https://3"]));
    let scope = Scope { account: &own, parent: None, domain: Some(&domain) };
    assert_eq!(route(EventType::Clicked, KEY, scope).chosen.len(), 3);
    assert_eq!(route(EventType::Opened, KEY, scope).chosen.len(), 2);
    assert!(route(EventType::Accepted, KEY, scope).decisions.is_empty());
}

#[test]
fn the_same_url_is_the_same_target_whatever_the_level() {
    let (own, domain) = (account("a", &[URL]), domain(&[URL]));
    let by_account =
        route(EventType::Clicked, KEY, Scope { account: &own, parent: None, domain: None });
    let bare = account("a", &[]);
    let by_domain = route(
        EventType::Clicked,
        KEY,
        Scope { account: &bare, parent: None, domain: Some(&domain) },
    );
    assert_eq!(by_account.chosen[0].delivery_id, by_domain.chosen[0].delivery_id);
}

#[test]
fn deleting_one_level_keeps_what_stands_on_another() {
    let (own, bare, domain) = (account("a", &[URL]), account("a", &[]), domain(&[URL]));
    let both = Scope { account: &own, parent: None, domain: Some(&domain) };
    let target = route(EventType::Clicked, KEY, both).chosen.remove(0).target;
    let after = Scope { account: &bare, parent: None, domain: Some(&domain) };
    assert_eq!(still_wanted(&target, EventType::Clicked, after).url(), Some(URL));
    let none = Scope { account: &bare, parent: None, domain: None };
    assert_eq!(still_wanted(&target, EventType::Clicked, none), Wanted::No(NotWanted::Deleted));
}

#[test]
fn a_closed_parent_does_not_fire_and_silences_its_subaccounts() {
    let (mut parent, mut own, domain) =
        (account("p", &[URL]), account("a", &[URL]), domain(&[URL]));
    own.parent_account_id = "p".into();
    parent.set_status(AccountStatus::Closed);
    let scope = Scope { account: &own, parent: Some(&parent), domain: Some(&domain) };
    let routing = route(EventType::Clicked, KEY, scope);
    assert!(routing.chosen.is_empty());
    assert_eq!(verdicts(&routing), [Verdict::AccountNotOpen; 3]);
    // One whose document is missing is no more open than that.
    let routing = route(EventType::Clicked, KEY, Scope { parent: None, ..scope });
    assert_eq!(verdicts(&routing), [Verdict::AccountNotOpen; 2]);
}

#[test]
fn a_disabled_subaccount_is_silent_and_its_parent_is_not() {
    let (parent, mut own, domain) =
        (account("p", &["https://p"]), account("a", &[URL]), domain(&["https://d"]));
    own.parent_account_id = "p".into();
    own.set_status(AccountStatus::Disabled);
    let scope = Scope { account: &own, parent: Some(&parent), domain: Some(&domain) };
    let routing = route(EventType::Clicked, KEY, scope);
    assert_eq!(chosen(&routing), [(Level::ParentAccount, "https://p".to_owned())]);
    let not_open = Verdict::AccountNotOpen;
    assert_eq!(verdicts(&routing), [Verdict::Chosen, not_open, not_open]);
}

#[test]
fn a_disabled_domain_is_silent_and_the_levels_above_are_not() {
    let (own, mut domain) = (account("a", &["https://a"]), domain(&["https://a", URL]));
    domain.disabled = true;
    let scope = Scope { account: &own, parent: None, domain: Some(&domain) };
    let routing = route(EventType::Clicked, KEY, scope);
    assert_eq!(chosen(&routing), [(Level::Account, "https://a".to_owned())]);
    assert_eq!(
        verdicts(&routing),
        [Verdict::Chosen, Verdict::DomainDisabled, Verdict::DomainDisabled]
    );
    assert_eq!(wanted(URL, scope), Wanted::No(NotWanted::DomainDisabled));
    assert_eq!(wanted("https://a", scope).url(), Some("https://a"));
}

#[test]
fn nothing_of_an_erased_account_goes_to_anybody() {
    let (parent, mut own) = (account("p", &[URL]), account("a", &[]));
    own.parent_account_id = "p".into();
    own.set_status(AccountStatus::Closed);
    let closed = Scope { account: &own.clone(), parent: Some(&parent), domain: None };
    assert_eq!(wanted(URL, closed).url(), Some(URL));
    own.erased = true;
    let erased = Scope { account: &own, parent: Some(&parent), domain: None };
    assert_eq!(wanted(URL, erased), Wanted::No(NotWanted::Erased));
    assert!(route(EventType::Clicked, KEY, erased).chosen.is_empty());
}

/// Every combination of levels and states: whoever is chosen now is still
/// wanted now, and a URL that nobody is chosen for is not.
#[test]
fn routing_and_the_look_before_an_attempt_agree() {
    let states = [AccountStatus::Open, AccountStatus::Disabled, AccountStatus::Closed];
    for levels in 0..8_u8 {
        for (parent_state, own_state) in
            states.iter().flat_map(|parent| states.iter().map(move |own| (*parent, *own)))
        {
            for flags in 0..16_u8 {
                let on = |bit: u8| if levels & bit == 0 { vec![] } else { vec![URL] };
                let (mut parent, mut own) = (account("p", &on(1)), account("a", &on(2)));
                let mut domain = domain(&on(4));
                parent.set_status(parent_state);
                own.set_status(own_state);
                domain.disabled = flags & 1 != 0;
                domain.deleted = flags & 2 != 0;
                own.erased = flags & 4 != 0;
                let is_subaccount = flags & 8 != 0;
                own.parent_account_id = if is_subaccount { "p".into() } else { String::new() };
                let parent = is_subaccount.then_some(&parent);
                let scope = Scope { account: &own, parent, domain: Some(&domain) };
                let is_chosen = !route(EventType::Clicked, KEY, scope).chosen.is_empty();
                let is_wanted = wanted(URL, scope).url() == Some(URL);
                assert_eq!(is_chosen, is_wanted, "{levels} {parent_state:?} {own_state:?} {flags}");
            }
        }
    }
}

fn verdicts(routing: &Routing) -> Vec<Verdict> {
    routing.decisions.iter().map(Decision::verdict).collect()
}

impl<'a> Wanted<'a> {
    fn url(&self) -> Option<&'a str> {
        match self {
            Self::AtUrl(destination) => Some(destination.url),
            _ => None,
        }
    }
}

fn pause(account: &mut AccountDocument, url: &str) {
    let paused_at = Some(protocol::Timestamp::default());
    account.url_options.push(UrlOptions { url: url.into(), paused_at, ..UrlOptions::default() });
}

#[test]
fn deliveries_to_a_paused_url_are_held_unless_somebody_else_wants_them_there() {
    let (mut parent, mut own) = (account("p", &[URL]), account("a", &[URL]));
    own.parent_account_id = "p".into();
    let other = domain(&[URL, "https://b"]);
    pause(&mut parent, URL);
    {
        let scope = Scope { account: &own, parent: Some(&parent), domain: Some(&other) };
        let routing = route(EventType::Clicked, KEY, scope);
        let (chosen, other) = (Verdict::Chosen, Verdict::Duplicate);
        assert_eq!(verdicts(&routing), [Verdict::Paused, chosen, other, chosen]);
        assert_eq!(routing.chosen.len(), 2);
        assert!(routing.decisions[0].delivery_id.is_empty());
        let Wanted::AtUrl(destination) = wanted(URL, scope) else { panic!("not wanted") };
        assert_eq!((destination.owner.account_id.as_str(), destination.options), ("a", None));
    }
    pause(&mut own, URL);
    let scope = Scope { account: &own, parent: Some(&parent), domain: Some(&other) };
    let routing = route(EventType::Clicked, KEY, scope);
    let (paused, other) = (Verdict::Paused, Verdict::Duplicate);
    assert_eq!(verdicts(&routing), [paused, other, other, Verdict::Chosen]);
    assert_eq!(routing.decisions[0].delivery_id, routing.chosen[0].delivery_id);
    assert_eq!(wanted(URL, scope), Wanted::NotNow(Held::Paused));
    assert_eq!(wanted("https://b", scope).url(), Some("https://b"));
}

#[test]
fn what_an_account_says_of_a_url_holds_for_its_alerts_too() {
    let mut own = account("a", &[]);
    own.alerts = vec![AlertSetting {
        setting_id: "one".into(),
        event_type: "ip_listed".into(),
        channel: Channel::Webhook.into(),
        url: URL.into(),
        ..AlertSetting::default()
    }];
    pause(&mut own, URL);
    let scope = Scope { account: &own, parent: None, domain: None };
    let routing = route(EventType::IpListed, KEY, scope);
    assert_eq!(verdicts(&routing), [Verdict::Paused]);
    let target = &routing.chosen[0].target;
    assert_eq!(still_wanted(target, EventType::IpListed, scope), Wanted::NotNow(Held::Paused));
}

fn wanted<'a>(url: &str, scope: Scope<'a>) -> Wanted<'a> {
    let kind = TargetKind::Message(MessageTarget {
        account_id: scope.account.account_id.clone(),
        url: url.to_owned(),
    });
    still_wanted(&Target { id: String::new(), kind: Some(kind) }, EventType::Clicked, scope)
}

#[test]
fn alerts_follow_their_setting_and_are_held_while_it_is_disabled() {
    let setting = |id: &str, disabled: bool| AlertSetting {
        setting_id: id.into(),
        generation: 3,
        event_type: "ip_listed".into(),
        channel: Channel::Webhook.into(),
        url: "https://old".into(),
        disabled_at: disabled.then(protocol::Timestamp::default),
        ..AlertSetting::default()
    };
    let mut own = account("a", &[]);
    own.alerts = vec![setting("one", false), setting("two", true)];
    let scope = Scope { account: &own, parent: None, domain: None };
    let routing = route(EventType::IpListed, KEY, scope);
    assert_eq!(routing.chosen.len(), 2);
    assert_eq!(verdicts(&routing), [Verdict::Chosen, Verdict::Disabled]);
    assert_eq!(routing.decisions[1].delivery_id, routing.chosen[1].delivery_id);
    assert!(routing.decisions[1].disabled_at.is_some());

    let target = routing.chosen[0].target.clone();
    own.alerts[0].url = "https://new".into();
    let scope = Scope { account: &own, parent: None, domain: None };
    assert_eq!(still_wanted(&target, EventType::IpListed, scope).url(), Some("https://new"));
    own.alerts[0].disabled_at = Some(protocol::Timestamp::default());
    let scope = Scope { account: &own, parent: None, domain: None };
    assert_eq!(still_wanted(&target, EventType::IpListed, scope), Wanted::NotNow(Held::Disabled));
    own.alerts.clear();
    let scope = Scope { account: &own, parent: None, domain: None };
    assert_eq!(still_wanted(&target, EventType::IpListed, scope), Wanted::No(NotWanted::Deleted));
}

#[test]
fn an_alert_that_is_gone_is_told_from_one_of_an_account_that_is_not_open() {
    let mut own = account("a", &[]);
    own.alerts = vec![AlertSetting {
        setting_id: "one".into(),
        event_type: "ip_listed".into(),
        channel: Channel::Webhook.into(),
        url: URL.into(),
        ..AlertSetting::default()
    }];
    let open = own.clone();
    let scope = Scope { account: &open, parent: None, domain: None };
    let target = route(EventType::IpListed, KEY, scope).chosen.remove(0).target;
    own.set_status(AccountStatus::Disabled);
    let scope = Scope { account: &own, parent: None, domain: None };
    let after = |scope| still_wanted(&target, EventType::IpListed, scope);
    assert_eq!(after(scope), Wanted::No(NotWanted::AccountNotOpen));
    let verdict = route(EventType::IpListed, KEY, scope).decisions[0].verdict();
    assert_eq!(verdict, Verdict::AccountNotOpen);
    let bare = account("a", &[]);
    let scope = Scope { account: &bare, parent: None, domain: None };
    assert_eq!(after(scope), Wanted::No(NotWanted::Deleted));
}
