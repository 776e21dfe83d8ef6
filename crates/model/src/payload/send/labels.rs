//! What the sender attached to the message, and the routes that matched it.

use std::borrow::Cow;

use protocol::v1;
use serde::Serialize;

use crate::payload::redact::Redactor;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MailingList<'a> {
    address: &'a str,
    list_id: &'a str,
    sid: &'a str,
}

impl<'a> MailingList<'a> {
    pub(super) fn of(list: &'a v1::MailingList) -> Self {
        Self { address: &list.address, list_id: &list.list_id, sid: &list.sid }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Template<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_text: Option<bool>,
}

impl<'a> Template<'a> {
    pub(super) fn of(template: &'a v1::Template) -> Self {
        Self { name: &template.name, version: &template.version, is_text: template.is_text }
    }
}

#[derive(Serialize)]
pub(super) struct Batch<'a> {
    id: &'a str,
}

impl<'a> Batch<'a> {
    pub(super) fn of(id: &'a str) -> Option<Self> {
        (!id.is_empty()).then_some(Self { id })
    }
}

#[derive(Serialize)]
pub(super) struct Route<'a> {
    id: &'a str,
    expression: Cow<'a, str>,
    #[serde(rename = "match")]
    matched: Matched<'a>,
}

#[derive(Serialize)]
struct Matched<'a> {
    recipient: &'a str,
}

impl<'a> Route<'a> {
    pub(super) fn all(routes: &'a [v1::Route], redactor: Redactor<'a>) -> Vec<Self> {
        let one = |route: &'a v1::Route| Self {
            id: &route.id,
            expression: redactor.text(&route.expression),
            matched: Matched { recipient: redactor.value(&route.match_recipient) },
        };
        routes.iter().map(one).collect()
    }
}
