//! Mail to customers, handed to the operator's own relay (RFC 5321).
//!
//! The relay is named by the operator, never by a customer, so that it may have
//! a private address: nothing of the vetting of receivers applies to it. What
//! customers choose are the recipients, and these can reach neither the
//! dialogue with the relay nor the headers: see [`MailAddress`].
//!
//! What must always hold:
//! - Each recipient has an answer of its own. A relay may take a mail for some
//!   of its recipients and refuse others; [`Accepted`] and [`MailFailure`] say
//!   which.
//! - A relay that cannot be reached, does not let us in or is broken is our
//!   fault, never the recipient's.
//! - The same mail has the same Message-ID each time that it is sent. When a
//!   connection breaks after the mail and before the answer, the relay may have
//!   it, and the mail is sent again: whoever reads it may see it twice, and can
//!   tell that it is the same.
//! - The password is in no error and in no log, and is sent over a connection
//!   that is not secured only if the operator has switched TLS off.
//!
//! The messages are composed by lettre. The dialogue is our own: lettre's stops
//! at the first recipient that is refused, does not say which it was, and takes
//! what a stranger put in before TLS for the relay's first answer after it.
//!
//! Deliberately absent: retries, queues, bounces that come back later by mail,
//! DKIM (the relay's), templates, logging.

mod address;
mod connection;
mod message;
mod outcome;
mod relay;
mod reply;
mod settings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::Clock;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

pub use address::{AddressError, MailAddress, Sender};
pub use outcome::{Accepted, MailFailure, MailFailureKind, Refusal};
pub use relay::{Login, Relay, RelayError, RelayTls};
pub use reply::RelayReply;

use crate::{EgressError, tls};
use connection::Connection;

/// How mail is sent.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// Where it is handed in.
    pub relay: Relay,
    /// Whom it is from.
    pub sender: Sender,
    /// For a connection, TLS and login included.
    pub connect_timeout: Duration,
    /// For a mail in all, the wait for a free connection included.
    pub total_timeout: Duration,
    /// Further root certificates that the relay's may come from, in PEM; may be
    /// empty.
    pub extra_ca_pem: Vec<u8>,
    /// Connections to the relay at one time.
    pub max_connections: usize,
    /// How long a connection is kept without a mail on it.
    pub idle_timeout: Duration,
}

impl MailConfig {
    /// The defaults, for this relay and this sender.
    pub fn new(relay: Relay, sender: Sender) -> Self {
        Self {
            relay,
            sender,
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(20),
            extra_ca_pem: Vec::new(),
            max_connections: 4,
            // RFC 5321, 4.5.3.2.7 gives a client five minutes between commands;
            // relays under load give less.
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// A mail to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mail {
    /// What its Message-ID is made of; the same whenever the same mail is sent
    /// again, such as the id of its delivery. Any text will do.
    pub id: String,
    /// All who get it. Each can see the others.
    pub to: Vec<MailAddress>,
    /// One line. What is no part of a line becomes a space, and what is very
    /// long is cut.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The same as HTML, for those who prefer it.
    pub html: Option<String>,
    /// For the header `X-Postrider-Delivery`.
    pub delivery: Option<String>,
    /// For the header `List-Id`, by which those who get it can sort it.
    pub list: Option<MailList>,
}

/// The list that a mail belongs to (RFC 2919): those who get the same mails.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailList {
    /// Stays the same for as long as the list is the same. Dots part it; what a
    /// name of a host could not have becomes a dash. The sender's domain is put
    /// behind it.
    pub id: String,
    /// For people, in ASCII.
    pub name: String,
}

/// Sends mail. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Mailer {
    shared: Arc<Shared>,
}

struct Shared {
    config: MailConfig,
    clock: Clock,
    tls: TlsConnector,
    /// One for each connection that may be.
    slots: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

/// A connection that has no mail on it.
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Mailer {
    /// Makes a mailer of its own connections. Connects to nothing yet.
    ///
    /// # Errors
    /// When the configuration cannot work.
    pub fn new(config: MailConfig, clock: Clock) -> Result<Self, EgressError> {
        let tls = TlsConnector::from(Arc::new(tls::client_config(&config.extra_ca_pem)?));
        let slots = Semaphore::new(config.max_connections.max(1));
        let shared = Shared { config, clock, tls, slots, idle: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Hands one mail for all its recipients to the relay.
    ///
    /// Asks once. If it succeeds, the relay has the mail, for those in
    /// [`Accepted::taken`] and for nobody else.
    ///
    /// # Errors
    /// Nobody gets the mail, or it is not known whether anybody does: see
    /// [`MailFailure`].
    pub async fn send(&self, mail: &Mail) -> Result<Accepted, MailFailure> {
        let limit = self.shared.config.total_timeout;
        match timeout(limit, self.shared.send(mail)).await {
            Ok(result) => result,
            // The connection went with the future, whatever state it was in.
            Err(_) => Err(MailFailure::timeout(limit)),
        }
    }
}

impl Shared {
    async fn send(&self, mail: &Mail) -> Result<Accepted, MailFailure> {
        let sender = &self.config.sender;
        let recipients = message::recipients(mail);
        let message = message::compose(sender, mail, &recipients, self.clock.now().into())?;
        let _slot = self.slots.acquire().await.map_err(|_| MailFailure::stopped())?;
        let mut connection = self.begin(sender.address()).await?;
        let result = connection.transfer(&recipients, &message).await;
        if connection.is_ready() {
            self.lock_idle().push(Idle { connection, since: Instant::now() });
        }
        result
    }

    /// A connection on which a mail from this address has begun.
    ///
    /// The first command of a mail is also the question whether an idle
    /// connection still works. Nothing has been handed over by then, so that it
    /// can safely be put to another connection.
    async fn begin(&self, sender: &MailAddress) -> Result<Connection, MailFailure> {
        let limit = self.config.connect_timeout;
        while let Some(mut connection) = self.take_idle() {
            if matches!(timeout(limit, connection.begin(sender)).await, Ok(Ok(()))) {
                return Ok(connection);
            }
        }
        let open = async {
            let mut connection = Connection::open(&self.config.relay, &self.tls).await?;
            connection.begin(sender).await?;
            Ok(connection)
        };
        timeout(limit, open).await.unwrap_or_else(|_| Err(MailFailure::unconnected(limit)))
    }

    /// What has grown old is closed without QUIT: nothing waits for its answer.
    fn take_idle(&self) -> Option<Connection> {
        let idle = &mut *self.lock_idle();
        idle.retain(|idle| idle.since.elapsed() < self.config.idle_timeout);
        // The newest first: those that are not needed grow old.
        idle.pop().map(|idle| idle.connection)
    }

    /// A panic elsewhere leaves nothing half-done here.
    fn lock_idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
