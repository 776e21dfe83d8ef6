//! Who is to hear of an event, and whether a target still wants it.

use std::collections::HashMap;

use protocol::v1::decision::Verdict;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{
    AccountDocument, AccountStatus, AlertSetting, AlertTarget, Channel, Decision, DomainDocument,
    Level, MessageTarget, Target,
};

use crate::{EventType, Family, alert_target_id, delivery_id, message_target_id};

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

/// A subscription that won its URL.
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
/// nothing. Alerts: each setting of this type that is not disabled.
pub fn route(event_type: EventType, event_key: &str, scope: Scope<'_>) -> Routing {
    match event_type.family() {
        Family::Message => route_message(event_type, event_key, scope),
        Family::Alert => route_alert(event_type, event_key, scope),
    }
}

struct Candidate<'a> {
    level: Level,
    subscription_id: &'a str,
    url: &'a str,
    silence: Option<Silence>,
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
                silence,
            })
        });
    parent.chain(account).chain(domain).collect()
}

fn route_message(event_type: EventType, event_key: &str, scope: Scope<'_>) -> Routing {
    let mut routing = Routing::default();
    let mut winners: HashMap<&str, &str> = HashMap::new();
    for candidate in candidates(event_type, scope) {
        let Candidate { level, subscription_id, url, silence } = candidate;
        let target_id = message_target_id(&scope.account.account_id, url);
        let mut decision = Decision {
            level: level.into(),
            subscription_id: subscription_id.to_owned(),
            target_id: target_id.clone(),
            url: url.to_owned(),
            ..Decision::default()
        };
        if let Some(silence) = silence {
            decision.set_verdict(silence.verdict());
        } else if let Some(winner) = winners.get(url) {
            decision.set_verdict(Verdict::Duplicate);
            decision.duplicate_of = (*winner).to_owned();
        } else {
            winners.insert(url, subscription_id);
            let account_id = scope.account.account_id.clone();
            let kind = TargetKind::Message(MessageTarget { account_id, url: url.to_owned() });
            choose(
                &mut routing,
                &mut decision,
                event_key,
                Target { id: target_id, kind: Some(kind) },
                level,
            );
        }
        routing.decisions.push(decision);
    }
    routing
}

fn route_alert(event_type: EventType, event_key: &str, scope: Scope<'_>) -> Routing {
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
        } else if setting.disabled_at.is_some() {
            decision.set_verdict(Verdict::Disabled);
            decision.disabled_at = setting.disabled_at;
        } else {
            let kind = TargetKind::Alert(AlertTarget {
                account_id: account.account_id.clone(),
                setting_id: setting.setting_id.clone(),
                setting_generation: setting.generation,
                channel: setting.channel,
            });
            choose(
                &mut routing,
                &mut decision,
                event_key,
                Target { id: target_id, kind: Some(kind) },
                Level::Alert,
            );
        }
        routing.decisions.push(decision);
    }
    routing
}

fn choose(
    routing: &mut Routing,
    decision: &mut Decision,
    event_key: &str,
    target: Target,
    level: Level,
) {
    decision.set_verdict(Verdict::Chosen);
    decision.delivery_id = delivery_id(event_key, &target.id, 0);
    routing.chosen.push(Chosen { delivery_id: decision.delivery_id.clone(), target, level });
}

fn is_open(account: &AccountDocument) -> bool {
    account.status() == AccountStatus::Open && !account.erased
}

/// Whether a target still wants a delivery, by the settings of this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted<'a> {
    /// Send it here.
    AtUrl(&'a str),
    /// Mail it to these addresses.
    ByEmail(&'a [String]),
    /// Nobody wants it any more: the delivery ends as suppressed, for this reason.
    No(NotWanted),
    /// The setting is disabled: the delivery is held.
    Disabled,
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
            Self::Deleted => "deleted",
            Self::AccountNotOpen => "account_not_open",
            Self::DomainDisabled => "domain_disabled",
            Self::Erased => "erased",
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
            let mut standing = standing.into_iter().filter(|c| c.url == target.url);
            let Some(first) = standing.next() else { return Wanted::No(NotWanted::Deleted) };
            let Some(silence) = first.silence else { return Wanted::AtUrl(first.url) };
            match standing.find(|candidate| candidate.silence.is_none()) {
                Some(candidate) => Wanted::AtUrl(candidate.url),
                None => Wanted::No(silence.reason()),
            }
        }
        Some(TargetKind::Alert(target)) => {
            let same = |s: &&AlertSetting| {
                s.setting_id == target.setting_id && s.event_type == event_type.as_str()
            };
            let Some(setting) = scope.account.alerts.iter().find(same) else {
                return Wanted::No(NotWanted::Deleted);
            };
            match silence(scope) {
                Some(silence) => Wanted::No(silence.reason()),
                None if setting.disabled_at.is_some() => Wanted::Disabled,
                None if setting.channel() == Channel::Email => Wanted::ByEmail(&setting.emails),
                None => Wanted::AtUrl(&setting.url),
            }
        }
        None => Wanted::No(NotWanted::Deleted),
    }
}

#[cfg(test)]
mod tests;
