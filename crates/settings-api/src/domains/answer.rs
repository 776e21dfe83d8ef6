//! Domains as Mailgun shows them.

use serde::Serialize;
use store::AccountDomain;
use utoipa::ToSchema;

use super::mail_settings::MailSettings;

/// Mailgun's default time for which messages are kept, in seconds.
const MESSAGE_TTL_SECONDS: i64 = 259_200;

/// A page of domains.
#[derive(Serialize, ToSchema)]
pub(super) struct DomainList<'a> {
    /// How many there are on all pages.
    total_count: i64,
    items: Vec<DomainAnswer<'a>>,
}

impl<'a> DomainList<'a> {
    pub(super) fn of(domains: &'a [AccountDomain], total_count: i64) -> Self {
        Self { total_count, items: domains.iter().map(DomainAnswer::of).collect() }
    }
}

/// One domain.
#[derive(Serialize, ToSchema)]
pub(super) struct OneDomain<'a> {
    domain: DomainAnswer<'a>,
    /// Always empty: DNS is not looked at here, and no record is asked for.
    #[schema(value_type = Vec<Object>, max_items = 0)]
    receiving_dns_records: [(); 0],
    /// Always empty as well.
    #[schema(value_type = Vec<Object>, max_items = 0)]
    sending_dns_records: [(); 0],
}

impl<'a> OneDomain<'a> {
    pub(super) fn of(domain: &'a AccountDomain) -> Self {
        Self {
            domain: DomainAnswer::of(domain),
            receiving_dns_records: [],
            sending_dns_records: [],
        }
    }
}

/// One domain, and what was done with it.
#[derive(Serialize, ToSchema)]
pub(super) struct DomainChanged<'a> {
    message: &'static str,
    #[serde(flatten)]
    domain: OneDomain<'a>,
}

impl<'a> DomainChanged<'a> {
    pub(super) fn of(message: &'static str, domain: &'a AccountDomain) -> Self {
        Self { message, domain: OneDomain::of(domain) }
    }
}

/// The answer to a deletion. Mailgun's text, although it is done at once.
#[derive(Serialize, ToSchema)]
pub(super) struct DomainDeleted {
    message: &'static str,
}

impl DomainDeleted {
    pub(super) const ANSWER: Self = Self { message: "Domain will be deleted in the background" };
}

/// A domain as clients read it. All but name, state, moment and redaction has
/// no meaning here: it is what the domain was given, or what Mailgun shows of a new one.
#[derive(Serialize, ToSchema)]
#[schema(as = Domain)]
struct DomainAnswer<'a> {
    /// As RFC 2822 has it, in GMT.
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<Disabled<'a>>,
    /// 32 hex characters.
    id: &'a str,
    is_disabled: bool,
    name: &'a str,
    require_tls: bool,
    skip_verification: bool,
    smtp_login: String,
    spam_action: String,
    /// active or disabled.
    state: &'static str,
    /// Whose it is, when that is a subaccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    subaccount_id: Option<&'a str>,
    r#type: &'static str,
    use_automatic_sender_security: bool,
    web_prefix: String,
    web_scheme: String,
    wildcard: bool,
    encrypt_incoming_message: bool,
    /// In seconds.
    message_ttl: i64,
    /// Whether deliveries of its events go without personal data.
    webhooks_redact_pii: bool,
}

/// Why a domain is disabled.
#[derive(Serialize, ToSchema)]
#[schema(as = DomainDisabled)]
struct Disabled<'a> {
    code: &'static str,
    note: &'static str,
    permanently: bool,
    /// What the operator has said, if anything.
    reason: &'a str,
}

impl<'a> DomainAnswer<'a> {
    fn of(domain: &'a AccountDomain) -> Self {
        let is_disabled = domain.disabled_at.is_some();
        let mail = MailSettings::from_json(&domain.mail_settings);
        Self {
            created_at: domain.created_at.format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
            disabled: is_disabled.then(|| Disabled {
                code: "disabled",
                note: "",
                permanently: false,
                reason: domain.disabled_reason.as_deref().unwrap_or_default(),
            }),
            id: &domain.domain_id,
            is_disabled,
            name: &domain.name,
            require_tls: mail.require_tls.unwrap_or(false),
            skip_verification: mail.skip_verification.unwrap_or(false),
            smtp_login: format!("postmaster@{}", domain.name),
            spam_action: mail.spam_action.unwrap_or_else(|| "disabled".to_owned()),
            state: if is_disabled { "disabled" } else { "active" },
            subaccount_id: domain.subaccount_id.as_deref(),
            r#type: "custom",
            use_automatic_sender_security: mail.use_automatic_sender_security.unwrap_or(false),
            web_prefix: mail.web_prefix.unwrap_or_else(|| "email".to_owned()),
            web_scheme: mail.web_scheme.unwrap_or_else(|| "http".to_owned()),
            wildcard: mail.wildcard.unwrap_or(false),
            encrypt_incoming_message: mail.encrypt_incoming_message.unwrap_or(false),
            message_ttl: mail.message_ttl.unwrap_or(MESSAGE_TTL_SECONDS),
            webhooks_redact_pii: domain.redact_pii,
        }
    }
}
