//! How an event is shown in the logs: as elsewhere, but for four fields.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use store::history::FoundEvent;

use super::Accounts;
use crate::events;

pub(super) type Shown = Map<String, Value>;

/// An event. One that cannot be shown is left out, loudly.
pub(super) fn show(found: &FoundEvent, accounts: &Accounts) -> Option<Shown> {
    let json = events::item::json(found)?;
    let Ok(Value::Object(mut item)) = serde_json::from_slice(&json) else { return None };
    item.remove("timestamp");
    let at = found.place.occurred_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    item.insert("@timestamp".to_owned(), at.into());
    let mut account = Map::from_iter([("id".to_owned(), found.account_id.clone().into())]);
    if let Some(parent) = accounts.parent_of(&found.account_id) {
        account.insert("parent-id".to_owned(), parent.into());
    }
    item.insert("account".to_owned(), account.into());
    if let Some(variables) = item.get_mut("user-variables") {
        *variables = variables.to_string().into();
    }
    if let Some(url) = item.get_mut("storage").and_then(|storage| storage.get_mut("url")) {
        *url = json!([url.take()]);
    }
    Some(item)
}

/// A date as the logs have it.
pub(super) fn rfc2822(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S -0000").to_string()
}
