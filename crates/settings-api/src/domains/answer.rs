//! Domains as Mailgun shows them.

use serde::Serialize;
use store::AccountDomain;
use utoipa::ToSchema;

/// Mailgun's default time for which messages are kept, in seconds.
const MESSAGE_TTL_SECONDS: u32 = 259_200;

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

/// What clients read of a domain. All but name, state, moment and redaction is
/// what Mailgun shows of a new domain, and has no meaning here.
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
    spam_action: &'static str,
    /// active or disabled.
    state: &'static str,
    /// Whose it is, when that is a subaccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    subaccount_id: Option<&'a str>,
    r#type: &'static str,
    use_automatic_sender_security: bool,
    web_prefix: &'static str,
    web_scheme: &'static str,
    wildcard: bool,
    encrypt_incoming_message: bool,
    /// In seconds.
    message_ttl: u32,
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
            require_tls: false,
            skip_verification: false,
            smtp_login: format!("postmaster@{}", domain.name),
            spam_action: "disabled",
            state: if is_disabled { "disabled" } else { "active" },
            subaccount_id: domain.subaccount_id.as_deref(),
            r#type: "custom",
            use_automatic_sender_security: false,
            web_prefix: "email",
            web_scheme: "http",
            wildcard: false,
            encrypt_incoming_message: false,
            message_ttl: MESSAGE_TTL_SECONDS,
            webhooks_redact_pii: domain.redact_pii,
        }
    }
}
