//! Acks of which the broker is asked afterwards whether it has them.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Request, Subject};

use crate::{Bus, BusError, Pulled};

/// How long one ack waits for its confirmation.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);

/// A message that is done, as far as this process knows. Nothing is left of it but where its
/// ack goes.
pub struct Acked {
    bus: Bus,
    stream: String,
    subject: String,
    reply: Subject,
    /// The number of the connection that brought the ack.
    connection: u64,
}

impl Pulled {
    /// Says that it is done, once, as [`Pulled::ack`] does.
    ///
    /// # Errors
    /// [`BusError::Malformed`] where it has nowhere to say it.
    pub async fn into_acked(self, bus: &Bus) -> Result<Acked, BusError> {
        // Before it is sent: a connection that is made meanwhile may not bring it.
        let connection = bus.connection();
        self.ack().await;
        // Copied, because the message's own are parts of its bytes and would hold them.
        let reply = self.reply().ok_or_else(|| BusError::Malformed("no reply subject".into()))?;
        let stream = bus.0.config.names.stream_of(self.subject()).unwrap_or_default();
        Ok(Acked {
            bus: bus.clone(),
            stream,
            subject: self.subject().to_owned(),
            reply: reply.to_owned().into(),
            connection,
        })
    }
}

impl Acked {
    /// The stream that the message is of.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The message's subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Acks once more, and waits until the broker has said that it knows. Until then the
    /// message may come back.
    ///
    /// # Errors
    /// When the broker did not confirm. It may know all the same; doing it again does no harm.
    pub async fn confirm(&self) -> Result<(), BusError> {
        let ack = Request::new().payload(AckKind::Ack.into()).timeout(Some(CONFIRMED_WITHIN));
        let client = &self.bus.0.client;
        client.send_request(self.reply.clone(), ack).await.map_err(BusError::unavailable)?;
        Ok(())
    }

    /// Whether the connection that brought the ack stands still. Then what was confirmed
    /// behind it, of the same stream, stands for it: a stream's acks are worked off in the
    /// order in which a connection brings them.
    pub fn is_of_this_connection(&self) -> bool {
        self.connection == self.bus.connection()
    }
}
