//! What the sender attached to the message, and the routes that matched it.

use std::borrow::Cow;

use protocol::v1;
use serde::Serialize;

use crate::payload::redact::Redactor;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MailingList<'a> {
    address: Cow<'a, str>,
    list_id: Cow<'a, str>,
    sid: Cow<'a, str>,
}

impl<'a> MailingList<'a> {
    pub(super) fn of(list: &'a v1::MailingList, redactor: &Redactor) -> Self {
        Self {
            address: redactor.text(&list.address),
            list_id: redactor.text(&list.list_id),
            sid: redactor.text(&list.sid),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Template<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_text: Option<bool>,
}

impl<'a> Template<'a> {
    pub(super) fn of(template: &'a v1::Template, redactor: &Redactor) -> Self {
        Self {
            name: redactor.text(&template.name),
            version: redactor.text(&template.version),
            is_text: template.is_text,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Batch<'a> {
    id: Cow<'a, str>,
}

impl<'a> Batch<'a> {
    pub(super) fn of(id: &'a str, redactor: &Redactor) -> Option<Self> {
        (!id.is_empty()).then(|| Self { id: redactor.text(id) })
    }
}

#[derive(Serialize)]
pub(super) struct Route<'a> {
    id: Cow<'a, str>,
    expression: Cow<'a, str>,
    #[serde(rename = "match")]
    matched: Matched<'a>,
}

#[derive(Serialize)]
struct Matched<'a> {
    recipient: &'a str,
}

impl<'a> Route<'a> {
    pub(super) fn all(routes: &'a [v1::Route], redactor: &Redactor) -> Vec<Self> {
        let one = |route: &'a v1::Route| Self {
            id: redactor.text(&route.id),
            expression: redactor.about_recipient(&route.expression),
            matched: Matched { recipient: redactor.value(&route.match_recipient) },
        };
        routes.iter().map(one).collect()
    }
}
