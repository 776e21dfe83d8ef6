//! The events of a message.

use protocol::v1::{
    ClientInfo, DeliveryStatus, Envelope, Geolocation, Labels, MessageHeaders, MessageInfo, Route,
    Storage,
};

use super::path::Path;
use super::rules;
use crate::EventType;
use crate::payload::MessageFields;

const MOST_TAGS: usize = 100;
const MOST_VARIABLES: usize = 100;
const MOST_RECIPIENTS: usize = 1_000;
const MOST_ATTACHMENTS: usize = 1_000;
const MOST_ROUTES: usize = 100;

/// SMTP replies have three digits; Mailgun's own codes, such as 605, fit too.
const HIGHEST_CODE: i64 = 999;

/// Checks a message event of this kind.
pub(super) fn check(path: &Path<'_>, event_type: EventType, fields: &MessageFields<'_>) {
    rules::address(path.field("recipient"), fields.recipient);
    message(&path.field("message"), fields.message);
    for (name, value) in [
        ("api_key_id", fields.api_key_id),
        ("primary_dkim", fields.primary_dkim),
        ("reason", fields.reason),
        ("recipient_provider", fields.recipient_provider),
    ] {
        rules::name(path.field(name), value);
    }
    rules::one_of(path.field("method"), fields.method, &["HTTP", "SMTP", "http", "smtp"]);
    rules::epoch_seconds(path.field("delivered_at"), fields.delivered_at);
    rules::ip(path.field("originating_ip"), fields.originating_ip);
    rules::ip(path.field("ip"), fields.ip);
    envelope(&path.field("envelope"), fields.envelope);
    storage(&path.field("storage"), fields.storage);
    labels(&path.field("labels"), fields.labels);
    routes(&path.field("routes"), fields.routes);
    geolocation(&path.field("geolocation"), fields.geolocation);
    client_info(&path.field("client_info"), fields.client_info);
    delivery_status(&path.field("delivery_status"), fields.delivery_status);

    match event_type {
        EventType::Clicked => rules::web_link(path.field("url"), fields.url),
        EventType::TemporaryFail | EventType::PermanentFail => failure(path, fields),
        _ => {}
    }
}

fn failure(path: &Path<'_>, fields: &MessageFields<'_>) {
    if fields.delivery_status.is_none() {
        path.field("delivery_status")
            .fail("is required: what the recipient's server answered, at least code and message");
    }
    rules::required(
        path.field("reason"),
        fields.reason,
        "why it failed, such as bounce, generic, suppress-bounce or old",
    )
}

fn message(path: &Path<'_>, message: Option<&MessageInfo>) {
    let none = MessageInfo::default();
    let message = message.unwrap_or(&none);
    headers(&path.field("headers"), message.headers.as_ref());
    rules::number(path.field("size"), message.size.unwrap_or(0));
    rules::epoch_seconds(path.field("scheduled_for"), message.scheduled_for);

    let recipients = path.field("recipients");
    rules::count(recipients, message.recipients.len(), MOST_RECIPIENTS);
    for (index, recipient) in message.recipients.iter().enumerate() {
        rules::address(recipients.index(index), recipient);
    }
    let attachments = path.field("attachments");
    rules::count(attachments, message.attachments.len(), MOST_ATTACHMENTS);
    for (index, attachment) in message.attachments.iter().enumerate() {
        let path = attachments.index(index);
        rules::text(path.field("filename"), &attachment.filename);
        rules::text(path.field("content_type"), &attachment.content_type);
        rules::number(path.field("size"), attachment.size);
    }
}

fn headers(path: &Path<'_>, headers: Option<&MessageHeaders>) {
    let none = MessageHeaders::default();
    let headers = headers.unwrap_or(&none);
    // A mail may have none.
    rules::text(path.field("message_id"), &headers.message_id);
    rules::text(path.field("from"), &headers.from);
    rules::text(path.field("to"), &headers.to);
    rules::text(path.field("subject"), &headers.subject)
}

fn envelope(path: &Path<'_>, envelope: Option<&Envelope>) {
    let Some(envelope) = envelope else {
        return;
    };
    rules::text(path.field("sender"), &envelope.sender);
    rules::text(path.field("targets"), &envelope.targets);
    rules::text(path.field("mail_from"), &envelope.mail_from);
    rules::name(path.field("sending_host"), &envelope.sending_host);
    rules::ip(path.field("sending_ip"), &envelope.sending_ip);
    rules::one_of(path.field("transport"), &envelope.transport, &["smtp", "http"])
}

fn storage(path: &Path<'_>, storage: Option<&Storage>) {
    let Some(storage) = storage else {
        return;
    };
    rules::link(path.field("url"), &storage.url);
    rules::text(path.field("key"), &storage.key);
    rules::name(path.field("region"), &storage.region);
    rules::name(path.field("env"), &storage.env)
}

fn labels(path: &Path<'_>, labels: Option<&Labels>) {
    let Some(labels) = labels else {
        return;
    };
    let tags = path.field("tags");
    rules::count(tags, labels.tags.len(), MOST_TAGS);
    for (index, tag) in labels.tags.iter().enumerate() {
        rules::name(tags.index(index), tag);
    }
    let variables = path.field("user_variables");
    rules::count(variables, labels.user_variables.len(), MOST_VARIABLES);
    for (name, value) in &labels.user_variables {
        rules::name(variables, name);
        rules::text(variables, value);
    }
    if let Some(list) = &labels.mailing_list {
        let path = path.field("mailing_list");
        rules::name(path.field("address"), &list.address);
        rules::name(path.field("list_id"), &list.list_id);
        rules::name(path.field("sid"), &list.sid);
    }
    if let Some(template) = &labels.template {
        let path = path.field("template");
        rules::name(path.field("name"), &template.name);
        rules::name(path.field("version"), &template.version);
    }
    rules::name(path.field("batch_id"), &labels.batch_id)
}

fn routes(path: &Path<'_>, routes: &[Route]) {
    rules::count(*path, routes.len(), MOST_ROUTES);
    for (index, route) in routes.iter().enumerate() {
        let path = path.index(index);
        rules::name(path.field("id"), &route.id);
        rules::text(path.field("expression"), &route.expression);
        rules::text(path.field("match_recipient"), &route.match_recipient);
    }
}

fn geolocation(path: &Path<'_>, geolocation: Option<&Geolocation>) {
    let Some(geolocation) = geolocation else {
        return;
    };
    rules::name(path.field("country"), &geolocation.country);
    rules::name(path.field("region"), &geolocation.region);
    rules::name(path.field("city"), &geolocation.city);
    rules::name(path.field("timezone"), &geolocation.timezone)
}

fn client_info(path: &Path<'_>, client: Option<&ClientInfo>) {
    let Some(client) = client else {
        return;
    };
    // What the recipient's program says of itself, or was derived from that.
    for (name, value) in [
        ("client_type", &client.client_type),
        ("client_os", &client.client_os),
        ("client_name", &client.client_name),
        ("device_type", &client.device_type),
        ("user_agent", &client.user_agent),
        ("accept_language", &client.accept_language),
    ] {
        rules::text(path.field(name), value);
    }
    rules::name(path.field("bot"), client.bot.as_deref().unwrap_or(""));
    rules::ip(path.field("ip"), &client.ip)
}

fn delivery_status(path: &Path<'_>, status: Option<&DeliveryStatus>) {
    let Some(status) = status else {
        return;
    };
    for (name, code) in [("code", status.code), ("last_code", status.last_code)] {
        rules::between(path.field(name), code.unwrap_or(0).into(), 0, HIGHEST_CODE);
    }
    rules::number(path.field("attempt_no"), status.attempt_no.unwrap_or(0).into());
    rules::number(path.field("retry_seconds"), status.retry_seconds.unwrap_or(0));
    rules::seconds(path.field("session_seconds"), status.session_seconds);
    rules::seconds(
        path.field("first_delivery_attempt_seconds"),
        status.first_delivery_attempt_seconds,
    );
    for (name, value) in [
        ("message", &status.message),
        ("description", &status.description),
        ("mx_host", &status.mx_host),
        ("enhanced_code", &status.enhanced_code),
        ("bounce_code", &status.bounce_code),
        ("last_message", &status.last_message),
    ] {
        rules::text(path.field(name), value);
    }
    rules::one_of(path.field("bounce_type"), &status.bounce_type, &["hard", "soft"])
}
