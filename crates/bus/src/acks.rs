//! Acks that are sent together.
//!
//! Each on its own would wake this process's connection and the broker once more, and at an
//! ordinary load waking up is most of what a delivery costs. So they are gathered for a
//! moment. A process that dies meanwhile has done what it acks; whoever is handed it again
//! finds that out, as after an ack that was lost on its way.
//!
//! The broker confirms those of which nothing else tells that they are done. It is asked
//! about the last one of each stream alone: a stream's acks are worked off in the order in
//! which one connection brings them, so that its answer stands for all before it. Where
//! there is none, or the connection was made anew meanwhile, each is repeated until it is
//! confirmed. An ack that is on its way while a stream changes its leader gets lost without a
//! notice here: the next leader answers for the last one. Its message comes back after a lease.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Request, Subject};
use bytes::Bytes;
use chassis::Tasks;
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::{Bus, BusError, Pulled};

/// How long acks are gathered before they are sent.
const SENT_AFTER: Duration = Duration::from_millis(25);
/// How long acks are gathered before the broker is asked about the last of them.
const CONFIRMED_AFTER: Duration = Duration::from_secs(1);
/// Acks that wait for their confirmation, at most. Beyond that, who acks waits.
const OPEN: usize = 65_536;
/// How long one ack waits for its confirmation.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Leases after which an ack is given up. Its message may come back then, and has to be found
/// to be done.
const GIVEN_UP_AFTER: u32 = 10;
/// As long at a stop.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Sends acks. Cheap to clone.
#[derive(Clone)]
pub struct Acks(Arc<Inner>);

struct Inner {
    bus: Bus,
    tasks: Tasks,
    /// The crash point behind each that was sent.
    sent_point: &'static str,
    open: Arc<Semaphore>,
    gathered: Mutex<Vec<Ack>>,
    unconfirmed: Mutex<Vec<Unconfirmed>>,
}

/// The ack of one message: where it goes.
struct Ack {
    reply: Subject,
    /// Of those that are to be confirmed.
    confirmed: Option<Confirmed>,
}

/// The message of an ack that is to be confirmed, and its place among the open ones.
struct Confirmed {
    /// The message's.
    subject: String,
    _place: OwnedSemaphorePermit,
}

/// An ack that was sent.
struct Unconfirmed {
    reply: Subject,
    of: Confirmed,
    /// The number of the connection that was to bring it.
    connection: u64,
}

impl Acks {
    /// `sent_point` is the crash point behind each ack that was sent.
    pub fn new(bus: Bus, tasks: Tasks, sent_point: &'static str) -> Self {
        let open = Arc::new(Semaphore::new(OPEN));
        let (gathered, unconfirmed) = Default::default();
        Self(Arc::new(Inner { bus, tasks, sent_point, open, gathered, unconfirmed }))
    }

    /// Says that a message is done. One that gets lost means that the message comes back.
    pub fn ack(&self, pulled: &Pulled) {
        self.gather(pulled, None);
    }

    /// As [`Self::ack`], and sees to it that the broker hears of it. Waits only while too
    /// many others do.
    ///
    /// Dying before it is confirmed means that the message comes back.
    pub async fn ack_confirmed(&self, pulled: &Pulled) {
        let Ok(place) = Arc::clone(&self.0.open).acquire_owned().await else { return };
        self.gather(
            pulled,
            Some(Confirmed { subject: pulled.subject().to_owned(), _place: place }),
        );
    }

    fn gather(&self, pulled: &Pulled, confirmed: Option<Confirmed>) {
        pulled.has_answered();
        let Some(reply) = pulled.reply() else { return };
        // Copied: the message's own is a part of its bytes and would hold all of them.
        let ack = Ack { reply: reply.to_owned().into(), confirmed };
        if is_first(&self.0.gathered, ack) {
            let inner = Arc::clone(&self.0);
            self.0.tasks.spawn(async move { inner.send().await });
        }
    }
}

impl Inner {
    /// Sends what comes in a while.
    async fn send(self: Arc<Self>) {
        self.gather_for(SENT_AFTER).await;
        // Before they are sent: a connection that is made meanwhile may not bring them.
        let connection = self.bus.connection();
        for Ack { reply, confirmed } in take(&self.gathered) {
            let ack = Bytes::from(AckKind::Ack);
            if let Err(error) = self.bus.0.client.publish(reply.clone(), ack).await {
                tracing::warn!(%error, "could not answer the broker");
            }
            chassis::crash_point(self.sent_point);
            let Some(of) = confirmed else { continue };
            if is_first(&self.unconfirmed, Unconfirmed { reply, of, connection }) {
                let inner = Arc::clone(&self);
                self.tasks.spawn(async move { inner.confirm().await });
            }
        }
    }

    /// Sees to it that the broker has what is sent in a while.
    async fn confirm(&self) {
        self.gather_for(CONFIRMED_AFTER).await;
        let mut by_stream: BTreeMap<String, Vec<Unconfirmed>> = BTreeMap::new();
        for ack in take(&self.unconfirmed) {
            let stream = self.bus.0.config.names.stream_of(&ack.of.subject);
            by_stream.entry(stream.unwrap_or_default()).or_default().push(ack);
        }
        join_all(by_stream.into_values().map(|acks| self.confirm_in_order(acks))).await;
    }

    /// Sees to it that the broker has all of these, which were sent one after the other.
    async fn confirm_in_order(&self, mut acks: Vec<Unconfirmed>) {
        let Some(last) = acks.last() else { return };
        if self.ask(last).await.is_ok() {
            let connection = self.bus.connection();
            let outlives = chassis::mutant("acks_outlive_connections");
            acks.retain(|ack| ack.connection != connection && !outlives);
        }
        join_all(acks.iter().map(|ack| self.repeat(ack))).await;
    }

    async fn repeat(&self, ack: &Unconfirmed) {
        let (began, mut wait) = (Instant::now(), FIRST_WAIT);
        while let Err(error) = self.ask(ack).await {
            let patience = match self.tasks.is_stopping() {
                true => LAST_PATIENCE,
                false => self.bus.config().lease * GIVEN_UP_AFTER,
            };
            if began.elapsed() > patience {
                metrics::counter!("postrider_acks_unconfirmed_total").increment(1);
                let subject = &ack.of.subject;
                tracing::warn!(%error, subject, "an ack was not confirmed");
                return;
            }
            self.bus.0.clock.sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Acks once more, and waits until the broker has said that it knows. Until then the
    /// message may come back. The broker may know though it does not say so; doing it again
    /// does no harm.
    async fn ask(&self, ack: &Unconfirmed) -> Result<(), BusError> {
        let request = Request::new().payload(AckKind::Ack.into()).timeout(Some(ANSWERED_WITHIN));
        let answer = self.bus.0.client.send_request(ack.reply.clone(), request).await;
        answer.map(drop).map_err(BusError::unavailable)
    }

    /// Waits so long, or until a stop.
    async fn gather_for(&self, long: Duration) {
        tokio::select! {
            () = self.bus.0.clock.sleep(long) => {}
            () = self.tasks.stopping() => {}
        }
    }
}

/// Adds to a list, and says whether it was empty.
fn is_first<T>(list: &Mutex<Vec<T>>, one: T) -> bool {
    let mut list = lock(list);
    list.push(one);
    list.len() == 1
}

fn take<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *lock(list))
}

fn lock<T>(list: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
