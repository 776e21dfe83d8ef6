//! One view of all eight message events.
//!
//! Their messages in the proto differ in which fields they have, as Mailgun
//! documents them. What is done with a field does not differ, so that checking
//! and serialising are written once, for this view.

use protocol::v1::event::Kind;
use protocol::v1::{
    ClientInfo, DeliveryStatus, Envelope, Flags, Geolocation, Labels, MessageInfo, Route, Storage,
};

/// The fields of a message event. One that its kind does not have is empty.
#[derive(Default)]
pub(crate) struct MessageFields<'a> {
    pub(crate) recipient: &'a str,
    pub(crate) message: Option<&'a MessageInfo>,
    pub(crate) envelope: Option<&'a Envelope>,
    pub(crate) flags: Option<&'a Flags>,
    pub(crate) storage: Option<&'a Storage>,
    pub(crate) labels: Option<&'a Labels>,
    pub(crate) delivery_status: Option<&'a DeliveryStatus>,
    pub(crate) reason: &'a str,
    pub(crate) primary_dkim: &'a str,
    pub(crate) recipient_provider: &'a str,
    pub(crate) delivered_at: Option<f64>,
    pub(crate) api_key_id: &'a str,
    pub(crate) method: &'a str,
    pub(crate) originating_ip: &'a str,
    pub(crate) routes: &'a [Route],
    pub(crate) ip: &'a str,
    pub(crate) geolocation: Option<&'a Geolocation>,
    pub(crate) client_info: Option<&'a ClientInfo>,
    pub(crate) url: &'a str,
}

/// Borrows text and sub-messages of the event `$event`; the rest stays empty.
macro_rules! fields {
    ($event:ident; $($text:ident),*; $($part:ident),*) => {
        MessageFields {
            recipient: &$event.recipient,
            message: $event.message.as_ref(),
            labels: $event.labels.as_ref(),
            $($text: &$event.$text,)*
            $($part: $event.$part.as_ref(),)*
            ..MessageFields::default()
        }
    };
}

impl<'a> MessageFields<'a> {
    /// The fields of `kind`; `None` for alerts.
    pub(crate) fn of(kind: &'a Kind) -> Option<Self> {
        Some(match kind {
            Kind::Accepted(event) => fields!(
                event;
                api_key_id, method, originating_ip, routes, recipient_provider;
                envelope, flags, storage
            ),
            Kind::Delivered(event) => fields!(
                event;
                primary_dkim, recipient_provider;
                envelope, flags, storage, delivery_status
            ),
            Kind::TemporaryFail(event) => fields!(
                event;
                primary_dkim, recipient_provider, reason;
                envelope, flags, storage, delivery_status
            ),
            Kind::PermanentFail(event) => fields!(
                event;
                primary_dkim, recipient_provider, reason;
                envelope, flags, storage, delivery_status
            ),
            Kind::Opened(event) => Self {
                delivered_at: event.delivered_at,
                ..fields!(event; ip, recipient_provider; flags, geolocation, client_info)
            },
            Kind::Clicked(event) => Self {
                delivered_at: event.delivered_at,
                ..fields!(event; ip, recipient_provider, url; flags, geolocation, client_info)
            },
            Kind::Unsubscribed(event) => fields!(
                event; ip, recipient_provider; flags, geolocation, client_info
            ),
            Kind::Complained(event) => {
                fields!(event; recipient_provider; envelope, flags, storage)
            }
            Kind::IpListed(_)
            | Kind::IpDelisted(_)
            | Kind::DomainListed(_)
            | Kind::DomainDelisted(_)
            | Kind::ValidationJob(_)
            | Kind::ValidationPreview(_) => return None,
        })
    }
}
