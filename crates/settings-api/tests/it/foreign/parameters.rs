//! The parameters of each operation, as the description has them, and what they mean. One
//! that is new fails the test until it says here whether it names something of somebody.

use serde_json::{Value, json};

use super::owner::page_of;
use crate::isolation::operations::Operation;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Path,
    Query,
    Body,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// Names something that somebody may have.
    Thing(&'static str),
    /// The same, of which there can be one alone in all of the deployment: who asks for one
    /// that is taken is told so, and nothing else.
    Taken(&'static str),
    /// Means the same for everybody. These values are tried.
    Plain(&'static [&'static str]),
}

#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) meaning: Meaning,
}

impl Parameter {
    /// Whether it is a text that is searched for.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.meaning, Meaning::Thing("text"))
    }

    /// A plain value as its place has it.
    pub(super) fn plain(&self, value: &str) -> Value {
        match self.place {
            Place::Body => serde_json::from_str(value).unwrap_or_else(|_| json!(value)),
            Place::Path | Place::Query => json!(value),
        }
    }
}

/// The meaning of parameters that mean the same in every operation.
fn everywhere(name: &str) -> Option<Meaning> {
    use Meaning::{Plain, Thing};
    Some(match name {
        "domain" | "domain_name" => Thing("domain"),
        "webhook_id" | "webhook_ids" => Thing("webhook_id"),
        "id" | "alert_setting_id" => Thing("id"),
        "key_id" => Thing("key_id"),
        "subaccount_id" => Thing("subaccount_id"),
        "resend_id" => Thing("resend_id"),
        "event_id" => Thing("event_id"),
        "delivery_id" => Thing("delivery_id"),
        "target_id" => Thing("target_id"),
        "url" => Thing("url"),
        "emails" => Thing("emails"),
        "contact_email" => Thing("email"),
        "settings" => Thing("alert destination"),
        "search" | "subject" | "recipient" | "recipients" | "from" | "to" | "message-id"
        | "tags" | "list" | "attachment" => Thing("text"),
        "format" => Plain(&["ndjson", "csv"]),
        "include_subaccounts" => Plain(&["true"]),
        "begin" => Plain(&["1760000000"]),
        "ascending" => Plain(&["yes"]),
        "order" => Plain(&["success_rate"]),
        "closed" | "enabled" => Plain(&["true"]),
        "skip" => Plain(&["1"]),
        "limit" => Plain(&["1"]),
        // The same again, or settings without a name in them.
        "end"
        | "pretty"
        | "event"
        | "size"
        | "severity"
        | "event_type"
        | "event_types"
        | "reason"
        | "status"
        | "resolution"
        | "sort"
        | "state"
        | "kind"
        | "role"
        | "expiration"
        | "description"
        | "channel"
        | "paused"
        | "policy"
        | "headers"
        | "legacy_payload"
        | "message"
        | "alert"
        | "outcomes"
        | "since"
        | "per_second"
        | "generation"
        | "webhook_name"
        | "webhooks_redact_pii"
        | "encrypt_incoming_message"
        | "message_ttl"
        | "require_tls"
        | "skip_verification"
        | "spam_action"
        | "use_automatic_sender_security"
        | "web_prefix"
        | "web_scheme"
        | "wildcard"
        | "overlap_seconds"
        | "note"
        | "inactive_session_timeout"
        | "absolute_session_timeout"
        | "logout_redirect_url"
        | "ai_insights"
        | "email_preview"
        | "inbox_placement"
        | "sending"
        | "validations"
        | "validations_bulk"
        | "start"
        | "duration"
        | "events"
        | "metric_events"
        | "include_totals"
        | "include_aggregates" => Plain(&[]),
        _ => return None,
    })
}

/// The meaning of a parameter of an operation.
fn meaning(operation: &Operation, name: &str) -> Option<Meaning> {
    use Meaning::{Plain, Taken, Thing};
    Some(match (operation.id.as_str(), name) {
        // Notes about the caller's own key.
        ("create_key", "email" | "user_name") => Plain(&[]),
        // One of the names of events.
        ("create_domain_webhook", "id") => Plain(&[]),
        ("create_domain" | "create_domain_v3", "name") => Taken("domain"),
        // Names of accounts may be there twice.
        ("update_account" | "create_subaccount", "name") => Thing("name"),
        ("list_subaccounts", "filter") => Thing("text"),
        ("list_logs", "filter") => Thing("logs of an account"),
        ("list_logs", "pagination") => Thing("page of logs"),
        ("list_events" | "follow_events", "page") => Thing(page_of("events")),
        ("list_failures" | "export_failures", "page") => Thing(page_of("failures")),
        ("why", "page") => Thing(page_of("why")),
        ("list_webhooks", "page") => Thing(page_of("webhooks")),
        // Everything of the account itself.
        ("delete_account_webhooks" | "resend_event", "all") => Plain(&[]),
        _ => return everywhere(name),
    })
}

/// All of an operation; those that mean nothing here yet are added to the unknown ones.
pub(super) fn of(
    description: &Value,
    operation: &Operation,
    unknown: &mut Vec<String>,
) -> Vec<Parameter> {
    let method = operation.method.to_lowercase();
    let described = &description["paths"][&operation.path][&method];
    let mut found: Vec<(String, Place)> = Vec::new();
    for parameter in described["parameters"].as_array().into_iter().flatten() {
        let place = match parameter["in"].as_str() {
            Some("path") => Place::Path,
            Some("query") => Place::Query,
            // The account to act for, which the walk goes through by itself.
            Some("header") => continue,
            other => panic!("{operation} has a parameter in {other:?}"),
        };
        found.push((parameter["name"].as_str().expect("a name").to_owned(), place));
    }
    for content in described["requestBody"]["content"].as_object().into_iter().flatten() {
        properties(description, &content.1["schema"], &mut |name| {
            if !found.iter().any(|(known, place)| known == name && *place == Place::Body) {
                found.push((name.to_owned(), Place::Body));
            }
        });
    }
    let mut all = Vec::new();
    for (name, place) in found {
        match meaning(operation, &name) {
            Some(meaning) => all.push(Parameter { name, place, meaning }),
            None => unknown.push(format!("{name} of {operation}")),
        }
    }
    if operation.id == "list_logs" {
        let (name, place) = ("filter".to_owned(), Place::Body);
        all.push(Parameter { name, place, meaning: Meaning::Thing("logs of a domain") });
    }
    all
}

/// Goes through the names at the top of a schema.
fn properties(description: &Value, schema: &Value, see: &mut impl FnMut(&str)) {
    if let Some(path) = schema["$ref"].as_str() {
        let schema = description.pointer(path.trim_start_matches('#')).expect("a schema");
        return properties(description, schema, see);
    }
    for several in ["allOf", "oneOf", "anyOf"] {
        for one in schema[several].as_array().into_iter().flatten() {
            properties(description, one, see);
        }
    }
    for (name, _) in schema["properties"].as_object().into_iter().flatten() {
        see(name);
    }
}

/// A value as an address has it.
pub(super) fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A query that is written by hand.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Of these an operation takes one.
const ALTERNATIVES: [&str; 3] = ["url", "alert_setting_id", "target_id"];

pub(super) fn set_in_query(query: &mut Vec<(String, String)>, name: &str, value: &Value) {
    let is_alternative = ALTERNATIVES.contains(&name);
    query.retain(|(other, _)| {
        other != name && !(is_alternative && ALTERNATIVES.contains(&other.as_str()))
    });
    query.push((name.to_owned(), as_text(value)));
}

pub(super) fn set_in_body(body: &mut Option<Value>, name: &str, value: &Value) {
    let body = body.get_or_insert_with(|| json!({}));
    let fields = body.as_object_mut().expect("an object");
    if ALTERNATIVES.contains(&name) {
        fields.retain(|other, _| !ALTERNATIVES.contains(&other.as_str()));
    }
    // Some calls take several at once.
    let is_list = fields.get(name).is_some_and(Value::is_array) && !value.is_array();
    fields.insert(name.to_owned(), if is_list { json!([value]) } else { value.clone() });
}
