//! What settings say now of a URL, or of an alert setting.

use model::WebhookId;
use protocol::Timestamp;
use protocol::v1::AccountDocument;
use serde::Serialize;
use store::history::{Addressee, Uuid};
use store::{AlertDestination, AlertSetting, StoreError};
use utoipa::ToSchema;

use crate::SettingsApi;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::journeys::rfc3339;
use crate::viewer::Viewer;

/// What settings say now.
#[derive(Debug)]
pub(super) enum Standing {
    Url {
        url: String,
        subscriptions: Vec<Subscription>,
    },
    /// `None` when there is no such setting.
    Alert {
        id: String,
        setting: Option<Setting>,
    },
}

/// A webhook that has the URL.
#[derive(Debug)]
pub(super) struct Subscription {
    level: &'static str,
    /// Of the webhook, or of the domain.
    id: String,
    event_types: Vec<String>,
    /// Of a domain's webhooks: its id, its name, and whether it is disabled.
    domain: Option<(Option<Uuid>, String, bool)>,
    paused_since: Option<String>,
}

#[derive(Debug)]
pub(super) struct Setting {
    setting: AlertSetting,
    paused_since: Option<String>,
}

impl Standing {
    pub(super) async fn of(
        api: &SettingsApi,
        caller: &Caller,
        addressee: &Addressee,
    ) -> Result<Self, ApiError> {
        let account_id = caller.account_id.as_str();
        let documents = api.store.documents_for(account_id, None).await?;
        match addressee {
            Addressee::Url(url) => {
                let mut subscriptions = Vec::new();
                // A subaccount asks about its own.
                if let Some(parent) = &documents.parent
                    && Viewer::of(caller).sees_parent()
                {
                    subscriptions.extend(of_account(parent, "parent_account", url));
                }
                subscriptions.extend(of_account(&documents.account, "account", url));
                let paused_since = paused_since(&documents.account, url);
                for domain in api.store.domains_with_url(account_id, url).await? {
                    let ids = domain.webhook_ids.iter().filter_map(|id| WebhookId::parse(id));
                    let mut event_types: Vec<String> =
                        ids.map(|id| id.event_type().as_str().to_owned()).collect();
                    event_types.sort();
                    event_types.dedup();
                    let id = store::history::id(&domain.domain_id);
                    subscriptions.push(Subscription {
                        level: "domain",
                        id: domain.domain_id,
                        event_types,
                        domain: Some((id, domain.name, domain.is_disabled)),
                        paused_since: paused_since.clone(),
                    });
                }
                Ok(Self::Url { url: url.clone(), subscriptions })
            }
            Addressee::AlertSetting(id) => {
                let setting_id = Uuid::try_parse(id).unwrap_or_default();
                let setting = match api.store.alert_setting(account_id, setting_id).await {
                    Ok(setting) => Some(setting),
                    Err(StoreError::NotFound(_)) => None,
                    Err(error) => return Err(error.into()),
                };
                let setting = setting.map(|setting| {
                    let paused_since = match &setting.destination {
                        AlertDestination::Webhook { url } => paused_since(&documents.account, url),
                        AlertDestination::Email { .. } => None,
                    };
                    Setting { setting, paused_since }
                });
                Ok(Self::Alert { id: id.clone(), setting })
            }
        }
    }

    /// Why nothing was decided about it for such an event, by what stands now: a
    /// short name, and for people.
    pub(super) fn missed(
        &self,
        event_type: &str,
        domain_id: Option<Uuid>,
    ) -> (&'static str, String) {
        match self {
            Self::Url { subscriptions, .. } => {
                let reaches = |subscription: &&Subscription| {
                    subscription.domain.as_ref().is_none_or(|(id, ..)| *id == domain_id)
                };
                let mut near = subscriptions.iter().filter(reaches).peekable();
                let then = "no webhook had this URL for it when it was routed";
                if subscriptions.is_empty() {
                    return ("not_subscribed", format!("Not matched: {then}, nor does one now."));
                }
                if near.peek().is_none() {
                    let message = format!("Not matched: {then}; the URL stands on other domains.");
                    return ("other_domain", message);
                }
                let mut types: Vec<&str> =
                    near.flat_map(|one| &one.event_types).map(String::as_str).collect();
                types.sort_unstable();
                types.dedup();
                if types.contains(&event_type) {
                    let message = format!("Not matched: {then}; one has it now.");
                    return ("subscribed_later", message);
                }
                let types = types.join(", ");
                let message =
                    format!("Not matched: {then}; the URL is for {types}, not for {event_type}.");
                ("other_event_type", message)
            }
            Self::Alert { setting, .. } => match setting {
                None => ("not_subscribed", "Not matched: there is no such setting now.".to_owned()),
                Some(Setting { setting, .. }) if setting.event_type == event_type => {
                    let message = "Not matched: the setting was not for it when it was routed.";
                    ("subscribed_later", message.to_owned())
                }
                Some(Setting { setting, .. }) => {
                    let own = &setting.event_type;
                    let message =
                        format!("Not matched: the setting is for {own}, not for {event_type}.");
                    ("other_event_type", message)
                }
            },
        }
    }

    pub(super) fn show(&self, viewer: Viewer) -> StandingView {
        match self {
            Self::Url { url, subscriptions } => StandingView::Url(UrlView {
                url: url.clone(),
                subscriptions: subscriptions.iter().map(|one| one.show(viewer)).collect(),
            }),
            Self::Alert { id, setting } => {
                let is_there = setting.is_some();
                let alert_setting_id = id.clone();
                let Some(Setting { setting, paused_since }) = setting else {
                    return StandingView::Alert(AlertView {
                        alert_setting_id,
                        is_there,
                        ..AlertView::default()
                    });
                };
                let url = match &setting.destination {
                    AlertDestination::Webhook { url } => Some(url.clone()),
                    AlertDestination::Email { .. } => None,
                };
                StandingView::Alert(AlertView {
                    alert_setting_id,
                    is_there,
                    event_type: Some(setting.event_type.clone()),
                    channel: Some(setting.destination.channel()),
                    url,
                    disabled_since: setting.disabled_at.map(rfc3339),
                    disabled_reason: setting.disabled_reason.clone(),
                    paused_since: paused_since.clone(),
                })
            }
        }
    }
}

impl Subscription {
    fn show(&self, viewer: Viewer) -> SubscriptionView {
        SubscriptionView {
            level: self.level,
            id: viewer.sees_level(Some(self.level)).then(|| self.id.clone()),
            event_types: self.event_types.clone(),
            domain: self.domain.as_ref().map(|(_, name, _)| name.clone()),
            is_domain_disabled: self.domain.as_ref().is_some_and(|(.., is_disabled)| *is_disabled),
            paused_since: self.paused_since.clone(),
        }
    }
}

fn of_account(
    account: &AccountDocument,
    level: &'static str,
    url: &str,
) -> impl Iterator<Item = Subscription> {
    let paused_since = paused_since(account, url);
    account.webhooks.iter().filter(move |webhook| webhook.url == url).map(move |webhook| {
        Subscription {
            level,
            id: webhook.webhook_id.clone(),
            event_types: webhook.event_types.clone(),
            domain: None,
            paused_since: paused_since.clone(),
        }
    })
}

/// Since when this account holds what goes to the URL.
fn paused_since(account: &AccountDocument, url: &str) -> Option<String> {
    let options = account.url_options.iter().find(|options| options.url == url)?;
    let Timestamp { seconds, nanos } = options.paused_at?;
    chrono::DateTime::from_timestamp(seconds, nanos.try_into().ok()?).map(rfc3339)
}

/// What settings say now, of a URL or of an alert setting.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = WhySettings)]
pub(super) enum StandingView {
    Url(UrlView),
    Alert(AlertView),
}

#[derive(Serialize, ToSchema)]
#[schema(as = WhyUrl)]
pub(super) struct UrlView {
    url: String,
    /// Every webhook that has it, the highest level first. Empty when none has.
    subscriptions: Vec<SubscriptionView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WhySubscription)]
struct SubscriptionView {
    /// `parent_account`, `account` or `domain`. A subaccount sees none of its parent's.
    level: &'static str,
    /// Of the account's webhook, or of the domain.
    #[schema(required)]
    id: Option<String>,
    event_types: Vec<String>,
    /// Name of the domain that has it.
    #[schema(required)]
    domain: Option<String>,
    is_domain_disabled: bool,
    /// Since when deliveries to it are held.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    paused_since: Option<String>,
}

#[derive(Default, Serialize, ToSchema)]
#[schema(as = WhyAlertSetting)]
pub(super) struct AlertView {
    alert_setting_id: String,
    /// False when there is no such setting; all else is `null` then.
    is_there: bool,
    #[schema(required)]
    event_type: Option<String>,
    /// `webhook` or `email`.
    #[schema(required, value_type = Option<String>)]
    channel: Option<&'static str>,
    /// Of the channel `webhook`.
    #[schema(required)]
    url: Option<String>,
    /// Since when its deliveries are held, because one of them was exhausted.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    disabled_since: Option<String>,
    /// How that one ended.
    #[schema(required)]
    disabled_reason: Option<String>,
    /// Since when deliveries to its URL are held.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    paused_since: Option<String>,
}
