//! Who is to hear of an event, and whether a target still wants it.

use std::collections::{HashMap, HashSet};

use protocol::v1::decision::Verdict;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{
    AccountDocument, AccountStatus, AlertSetting, AlertTarget, Channel, Decision, DomainDocument,
    Level, MessageTarget, Target, UrlOptions,
};

use crate::{EndReason, EventType, Family, alert_target_id, delivery_id, message_target_id};

/// The settings that one event is looked at with.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The account that the event belongs to.
    pub account: &'a AccountDocument,
    /// Its parent, when it is a subaccount. A subaccount without its parent's
    /// document counts as one whose parent is not open.
    pub parent: Option<&'a AccountDocument>,
    /// The event's domain: message events only.
    pub domain: Option<&'a DomainDocument>,
}

/// What makes the ids of an event's deliveries.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Of the event.
    pub event_key: &'a str,
    /// Which acceptance of it; empty for one that an older version stored.
    pub acceptance: &'a str,
}

/// A subscription that won its URL, or that is to be told of later.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Whom to send to.
    pub target: Target,
    /// Where the subscription stands.
    pub level: Level,
    /// The delivery that this makes.
    pub delivery_id: String,
}

/// What was decided for one event: every candidate, and those that were chosen.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// One for every candidate subscription, in the order of levels.
    pub decisions: Vec<Decision>,
    /// One for every delivery to make.
    pub chosen: Vec<Chosen>,
}

/// Decides who is to hear of an event.
///
/// Message events: parent account, account, domain; one delivery a URL, and the
/// highest level wins it (API reference 5.1). Because the parent comes first, a
/// subaccount's setting never suppresses the parent's; and what is silent wins
/// nothing. Alerts: each setting of this type.
///
/// A setting that is disabled and a URL that is paused get their deliveries too,
/// which are then held: nothing that happens meanwhile is lost. A paused
/// subscription wins its URL only where no other one wants it.
pub fn route(event_type: EventType, identity: Identity<'_>, scope: Scope<'_>) -> Routing {
    match event_type.family() {
        Family::Message => route_message(event_type, identity, scope),
        Family::Alert => route_alert(event_type, identity, scope),
    }
}

struct Candidate<'a> {
    level: Level,
    subscription_id: &'a str,
    url: &'a str,
    /// Whose subscription it is.
    owner: &'a AccountDocument,
    silence: Option<Silence>,
}

impl<'a> Candidate<'a> {
    fn destination(&self) -> Destination<'a> {
        Destination::of(self.owner, self.url)
    }
}

/// A URL, and how whoever subscribed it wants it to be treated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Destination<'a> {
    /// Where to send to.
    pub url: &'a str,
    /// The account whose subscription it is: of a parent's webhook, the parent.
    pub owner: &'a AccountDocument,
    /// What that account says of this URL.
    pub options: Option<&'a UrlOptions>,
}

impl<'a> Destination<'a> {
    /// What this account says of the URL.
    pub fn of(owner: &'a AccountDocument, url: &'a str) -> Self {
        let options = owner.url_options.iter().find(|options| options.url == url);
        Self { url, owner, options }
    }

    fn is_paused(&self) -> bool {
        self.options.is_some_and(|options| options.paused_at.is_some())
    }
}

/// Why a subscription that stands hears of nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Silence {
    AccountNotOpen,
    DomainDisabled,
}

impl Silence {
    const fn verdict(self) -> Verdict {
        match self {
            Self::AccountNotOpen => Verdict::AccountNotOpen,
            Self::DomainDisabled => Verdict::DomainDisabled,
        }
    }

    const fn reason(self) -> NotWanted {
        match self {
            Self::AccountNotOpen => NotWanted::AccountNotOpen,
            Self::DomainDisabled => NotWanted::DomainDisabled,
        }
    }
}

/// Whether the subscriptions of the event's account and of its domain are
/// silent: a subaccount is only as open as its parent.
fn silence(scope: Scope<'_>) -> Option<Silence> {
    let is_primary = scope.account.parent_account_id.is_empty();
    let parent_is_open = is_primary || scope.parent.is_some_and(is_open);
    let all_open = is_open(scope.account) && parent_is_open;
    (!all_open).then_some(Silence::AccountNotOpen)
}

/// Whether the subscriptions of the parent are silent. What was accepted before
/// a subaccount was disabled or closed still goes to its parent; what is to be
/// erased goes to nobody.
fn parents_silence(parent: &AccountDocument, scope: Scope<'_>) -> Option<Silence> {
    let hears = is_open(parent) && !scope.account.erased;
    (!hears).then_some(Silence::AccountNotOpen)
}

/// Every subscription to this type, the highest level first. Both who is to
/// hear of an event and whether somebody still wants it rest on this list.
fn candidates<'a>(event_type: EventType, scope: Scope<'a>) -> Vec<Candidate<'a>> {
    let name = event_type.as_str();
    let of_account = |account: &'a AccountDocument, level, silence| {
        let wanting = move |types: &[String]| types.iter().any(|wanted| wanted == name);
        account.webhooks.iter().filter(move |webhook| wanting(&webhook.event_types)).map(
            move |webhook| Candidate {
                level,
                subscription_id: &webhook.webhook_id,
                url: &webhook.url,
                owner: account,
                silence,
            },
        )
    };
    let own_silence = silence(scope);
    let parent = scope.parent.into_iter().flat_map(|parent| {
        of_account(parent, Level::ParentAccount, parents_silence(parent, scope))
    });
    let account = of_account(scope.account, Level::Account, own_silence);
    let domain = scope
        .domain
        .filter(|domain| !domain.deleted && domain.account_id == scope.account.account_id)
        .into_iter()
        .flat_map(|domain| {
            let silence = own_silence.or(domain.disabled.then_some(Silence::DomainDisabled));
            let webhooks = domain.webhooks.iter().filter(|webhook| webhook.event_type == name);
            webhooks.flat_map(|webhook| &webhook.urls).map(move |url| Candidate {
                level: Level::Domain,
                subscription_id: &domain.domain_id,
                url,
                owner: scope.account,
                silence,
            })
        });
    parent.chain(account).chain(domain).collect()
}

fn route_message(event_type: EventType, identity: Identity<'_>, scope: Scope<'_>) -> Routing {
    let mut routing = Routing::default();
    let candidates = candidates(event_type, scope);
    let hears = |c: &Candidate<'_>| c.silence.is_none() && !c.destination().is_paused();
    let heard: HashSet<&str> = candidates.iter().filter(|c| hears(c)).map(|c| c.url).collect();
    // Whose delivery was made, so that others with the same URL get none.
    let mut made: HashMap<&str, &str> = HashMap::new();
    for candidate in &candidates {
        let Candidate { level, subscription_id, url, silence, .. } = *candidate;
        let target_id = message_target_id(&scope.account.account_id, url);
        let mut decision = Decision {
            level: level.into(),
            subscription_id: subscription_id.to_owned(),
            target_id: target_id.clone(),
            url: url.to_owned(),
            ..Decision::default()
        };
        let is_paused = candidate.destination().is_paused();
        if let Some(silence) = silence {
            decision.set_verdict(silence.verdict());
        } else if is_paused && heard.contains(url) {
            decision.set_verdict(Verdict::Paused);
        } else if let Some(first) = made.get(url) {
            decision.set_verdict(Verdict::Duplicate);
            decision.duplicate_of = (*first).to_owned();
        } else {
            made.insert(url, subscription_id);
            let account_id = scope.account.account_id.clone();
            let kind = TargetKind::Message(MessageTarget { account_id, url: url.to_owned() });
            let target = Target { id: target_id, kind: Some(kind) };
            let verdict = if is_paused { Verdict::Paused } else { Verdict::Chosen };
            choose(&mut routing, &mut decision, verdict, identity, target, level);
        }
        routing.decisions.push(decision);
    }
    routing
}

fn route_alert(event_type: EventType, identity: Identity<'_>, scope: Scope<'_>) -> Routing {
    let mut routing = Routing::default();
    let (account, silence) = (scope.account, silence(scope));
    for setting in account.alerts.iter().filter(|s| s.event_type == event_type.as_str()) {
        let target_id = alert_target_id(&setting.setting_id);
        let mut decision = Decision {
            level: Level::Alert.into(),
            subscription_id: setting.setting_id.clone(),
            target_id: target_id.clone(),
            url: setting.url.clone(),
            ..Decision::default()
        };
        if let Some(silence) = silence {
            decision.set_verdict(silence.verdict());
        } else {
            let verdict = match held(account, setting) {
                None => Verdict::Chosen,
                Some(Held::Disabled) => Verdict::Disabled,
                Some(Held::Paused) => Verdict::Paused,
            };
            decision.disabled_at = setting.disabled_at;
            let kind = TargetKind::Alert(AlertTarget {
                account_id: account.account_id.clone(),
                setting_id: setting.setting_id.clone(),
                setting_generation: setting.generation,
                channel: setting.channel,
            });
            let target = Target { id: target_id, kind: Some(kind) };
            choose(&mut routing, &mut decision, verdict, identity, target, Level::Alert);
        }
        routing.decisions.push(decision);
    }
    routing
}

fn choose(
    routing: &mut Routing,
    decision: &mut Decision,
    verdict: Verdict,
    identity: Identity<'_>,
    target: Target,
    level: Level,
) {
    decision.set_verdict(verdict);
    decision.delivery_id = delivery_id(identity.event_key, identity.acceptance, &target.id);
    routing.chosen.push(Chosen { delivery_id: decision.delivery_id.clone(), target, level });
}

fn is_open(account: &AccountDocument) -> bool {
    account.status() == AccountStatus::Open && !account.erased
}

/// Whether a target still wants a delivery, by the settings of this moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted<'a> {
    /// Send it here.
    AtUrl(Destination<'a>),
    /// Mail it to these addresses.
    ByEmail(&'a [String]),
    /// Nobody wants it any more: the delivery ends as suppressed, for this reason.
    No(NotWanted),
    /// It is wanted, and not now: the delivery is held.
    NotNow(Held),
}

/// Why a delivery is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Held {
    /// The alert setting is disabled.
    Disabled,
    /// The URL is paused.
    Paused,
}

impl Held {
    /// The reason's name in outcomes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => EndReason::Disabled.as_str(),
            Self::Paused => EndReason::Paused.as_str(),
        }
    }
}

/// Whether the deliveries of an alert setting are to be held.
fn held(account: &AccountDocument, setting: &AlertSetting) -> Option<Held> {
    if setting.disabled_at.is_some() {
        return Some(Held::Disabled);
    }
    let is_paused = Destination::of(account, &setting.url).is_paused();
    (setting.channel() == Channel::Webhook && is_paused).then_some(Held::Paused)
}

/// Why a delivery is no longer wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotWanted {
    /// The webhook or setting is gone, or no longer names this type or URL.
    Deleted,
    /// The account that owns the subscription, or its parent, is disabled or closed.
    AccountNotOpen,
    /// The domain that has the webhook is disabled.
    DomainDisabled,
    /// The account's personal data is to be gone: nothing of this delivery is to be kept.
    Erased,
}

impl NotWanted {
    /// The reason's name in outcomes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => EndReason::Deleted.as_str(),
            Self::AccountNotOpen => EndReason::AccountNotOpen.as_str(),
            Self::DomainDisabled => EndReason::DomainDisabled.as_str(),
            Self::Erased => EndReason::Erased.as_str(),
        }
    }
}

/// Asks whether this target still wants events of this type.
///
/// A message target is wanted while its URL stands on any level that is not
/// silent, so deleting an account's webhook loses nothing whose URL stands on
/// the domain as well. An alert goes to wherever its setting points now.
pub fn still_wanted<'a>(target: &Target, event_type: EventType, scope: Scope<'a>) -> Wanted<'a> {
    if scope.account.erased {
        return Wanted::No(NotWanted::Erased);
    }
    match &target.kind {
        Some(TargetKind::Message(target)) => {
            let standing = candidates(event_type, scope);
            let mut standing = standing.into_iter().filter(|c| c.url == target.url).peekable();
            let Some(first) = standing.peek() else { return Wanted::No(NotWanted::Deleted) };
            let mut wanted = match first.silence {
                Some(silence) => Wanted::No(silence.reason()),
                None => Wanted::NotNow(Held::Paused),
            };
            for candidate in standing.filter(|candidate| candidate.silence.is_none()) {
                let destination = candidate.destination();
                if !destination.is_paused() {
                    return Wanted::AtUrl(destination);
                }
                wanted = Wanted::NotNow(Held::Paused);
            }
            wanted
        }
        Some(TargetKind::Alert(target)) => {
            let same = |s: &&AlertSetting| {
                s.setting_id == target.setting_id && s.event_type == event_type.as_str()
            };
            let Some(setting) = scope.account.alerts.iter().find(same) else {
                return Wanted::No(NotWanted::Deleted);
            };
            if let Some(silence) = silence(scope) {
                return Wanted::No(silence.reason());
            }
            match held(scope.account, setting) {
                Some(held) => Wanted::NotNow(held),
                None if setting.channel() == Channel::Email => Wanted::ByEmail(&setting.emails),
                None => Wanted::AtUrl(Destination::of(scope.account, &setting.url)),
            }
        }
        None => Wanted::No(NotWanted::Deleted),
    }
}

#[cfg(test)]
mod tests;
