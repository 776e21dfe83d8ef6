//! Which account and which domain an event belongs to.

use bus::{Documents, Settings};
use model::Family;
use protocol::v1::{AccountDocument, AccountStatus, Event};

use crate::error::Refusal;

/// Where an event belongs.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) account_id: String,
    pub(crate) account_name: String,
    /// Id and name of the domain; empty for alerts.
    pub(crate) domain_id: String,
    pub(crate) domain_name: String,
    /// The primary account, whose quota of events counts, and its own if it has one.
    pub(crate) primary_id: String,
    pub(crate) events_per_second: Option<u32>,
}

/// Finds owners for the events of one request.
///
/// An answer of no may be due to a change that this process has not seen yet.
/// So it asks the broker once a request: everything that the request names was
/// there before the request, hence before the fence.
pub(crate) struct Resolver<'a> {
    settings: &'a Settings,
    is_broker_there: bool,
    fenced: bool,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(settings: &'a Settings, is_broker_there: bool) -> Self {
        Self { settings, is_broker_there, fenced: false }
    }

    pub(crate) async fn resolve(
        &mut self,
        event: &Event,
        family: Family,
    ) -> Result<Owner, Refusal> {
        let find = || self.settings.read(|documents| look_up(documents, event, family));
        let first = find();
        if first.is_ok() || self.fenced {
            return first;
        }
        // Waiting for the timeout of a broker that is known to be away helps nobody.
        if !self.is_broker_there {
            return Err(Refusal::Unavailable("not connected".into()));
        }
        let fence = self.settings.fence().await;
        fence.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        self.fenced = true;
        find()
    }
}

fn look_up(documents: &Documents, event: &Event, family: Family) -> Result<Owner, Refusal> {
    // Whoever is to route the event may have no documents at all, and what is not found
    // here may merely not be there yet.
    if !documents.is_complete() {
        let why = "the broker does not have all settings yet";
        return Err(Refusal::Unavailable(why.to_owned()));
    }
    match family {
        Family::Alert => {
            let account = documents.account_named(&event.account).ok_or(Refusal::UnknownAccount)?;
            let primary = must_be_open(documents, account)?;
            Ok(Owner {
                account_id: account.account_id.clone(),
                account_name: account.name.clone(),
                primary_id: primary.account_id.clone(),
                events_per_second: primary.events_per_second,
                domain_id: String::new(),
                domain_name: String::new(),
            })
        }
        Family::Message => {
            let domain = documents.domain_named(&event.domain).ok_or(Refusal::UnknownDomain)?;
            let account = documents.account(&domain.account_id).ok_or(Refusal::UnknownAccount)?;
            if !event.account.is_empty() {
                let named =
                    documents.account_named(&event.account).ok_or(Refusal::UnknownAccount)?;
                if named.account_id != account.account_id {
                    return Err(Refusal::invalid(
                        "account",
                        "the domain belongs to another account; leave the account empty, or name \
                         the domain's own",
                    ));
                }
            }
            let primary = must_be_open(documents, account)?;
            Ok(Owner {
                primary_id: primary.account_id.clone(),
                events_per_second: primary.events_per_second,
                account_id: account.account_id.clone(),
                account_name: account.name.clone(),
                domain_id: domain.domain_id.clone(),
                domain_name: domain.name.to_ascii_lowercase(),
            })
        }
    }
}

/// A subaccount is only as open as its parent. Returns the primary account.
fn must_be_open<'a>(
    documents: &'a Documents,
    account: &'a AccountDocument,
) -> Result<&'a AccountDocument, Refusal> {
    let is_open = |account: &&AccountDocument| account.status() == AccountStatus::Open;
    let primary = match account.parent_account_id.as_str() {
        "" => Some(account),
        parent_id => documents.account(parent_id).map(AsRef::as_ref),
    };
    let primary = primary.filter(is_open).ok_or(Refusal::AccountNotOpen)?;
    if is_open(&account) { Ok(primary) } else { Err(Refusal::AccountNotOpen) }
}
