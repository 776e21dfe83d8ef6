//! One pull: what the broker hands out for it, and how it says that this is all.

use std::pin::Pin;
use std::time::{Duration, Instant};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::context::Context;
use async_nats::{Message, StatusCode, Subscriber};
use chassis::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::ReadyChunks;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;

use crate::BusError;
use crate::consume::Pulled;

/// Clocks of this process and of the broker agree within this.
pub(crate) const CLOCK_MARGIN: TimeDelta = TimeDelta::seconds(5);

/// How long the end of a pull may be late before it is taken for lost.
const END_IS_LATE: Duration = Duration::from_secs(5);
/// How long a message may be behind the end of its pull: with copies, the broker tells the
/// end at once and hands a message out when its followers know that it does.
const MESSAGE_IS_BEHIND: Duration = Duration::from_secs(2);

/// How many messages were left when the broker ended a pull.
const LEFT: &str = "Nats-Pending-Messages";
/// How the broker ends a pull that has had its messages and not its bytes, or whose next
/// message is more than what is left of its bytes.
const IN_ORDER: [&str; 2] = ["Batch Completed", "Message Size Exceeds MaxBytes"];

/// The limits of one pull.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub messages: usize,
    /// Zero for no limit.
    pub bytes: usize,
    pub within: Duration,
}

/// One pull, handing out messages as they come.
///
/// Not async-nats' `Batch`: that stops listening at the first word that is no message, and
/// what comes behind it would be missed for a whole lease.
pub struct Pull {
    pub(crate) messages: ReadyChunks<Subscriber>,
    pub(crate) context: Context,
    /// A pull does not survive its connection.
    pub(crate) connected: watch::Receiver<DateTime<Utc>>,
    /// See [`crate::floors::Found::since`].
    pub(crate) since: DateTime<Utc>,
    pub(crate) lease: Duration,
    pub(crate) asked: Asked,
    pub(crate) asked_at: Instant,
    pub(crate) came: Came,
    /// When it is given up.
    pub(crate) patience: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(crate) clock: Clock,
}

/// The count of what a pull was handed.
#[derive(Debug, Default)]
pub(crate) struct Came {
    messages: usize,
    bytes: usize,
    /// How many the broker has handed out in all, once it has said that this is the end.
    all: Option<usize>,
    failed: bool,
}

impl Asked {
    pub(crate) fn patience(self, clock: &Clock) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        sleep(clock, self.within + END_IS_LATE)
    }
}

impl Pull {
    /// The messages that have come meanwhile, at least one; `None` when this
    /// pull is over. An error ends it too.
    pub async fn next(&mut self) -> Option<Result<Vec<Pulled>, BusError>> {
        let surely_since = (*self.connected.borrow()).max(self.since) + CLOCK_MARGIN;
        while !self.is_over() {
            let chunk = tokio::select! {
                biased;
                chunk = self.messages.next() => chunk?,
                // Its answer would go to a connection that is no more.
                _ = self.connected.changed() => {
                    return Some(Err(BusError::Unavailable("the connection was made anew".into())));
                }
                () = &mut self.patience => {
                    tracing::warn!(asked = ?self.asked, came = ?self.came, "the broker did not end a pull");
                    return None;
                }
            };
            let mut pulled = Vec::with_capacity(chunk.len());
            for message in chunk {
                match message.status {
                    None | Some(StatusCode::OK) => {
                        self.came.messages += 1;
                        self.came.bytes += message.length;
                        pulled.extend(self.take(message, surely_since));
                    }
                    Some(StatusCode::IDLE_HEARTBEAT) => {}
                    Some(status) => match self.left(status, &message) {
                        Some(left) => {
                            self.came.all = Some(self.asked.messages.saturating_sub(left));
                            self.patience = sleep(&self.clock, MESSAGE_IS_BEHIND);
                        }
                        None => {
                            self.came.failed = true;
                            let why = message.description.as_deref().unwrap_or("no reason given");
                            let error = format!("the broker ended a pull: {status} {why}");
                            // What came before is handed over; the broker repeats the rest.
                            if pulled.is_empty() {
                                return Some(Err(BusError::Unavailable(error)));
                            }
                            tracing::warn!(%error, "pull ended early");
                        }
                    },
                }
            }
            if !pulled.is_empty() {
                return Some(Ok(pulled));
            }
        }
        None
    }

    /// Whether nothing more can come.
    fn is_over(&self) -> bool {
        let Came { messages, bytes, all, failed } = self.came;
        let is_full = self.asked.bytes > 0 && bytes >= self.asked.bytes;
        failed || is_full || messages >= all.unwrap_or(self.asked.messages)
    }

    /// Of what was asked for, what the broker has not handed out, if this is how it ends a
    /// pull.
    fn left(&self, status: StatusCode, message: &Message) -> Option<usize> {
        let description = message.description.as_deref().unwrap_or_default();
        let is_in_order = match status {
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => true,
            StatusCode::REQUEST_TERMINATED => IN_ORDER.contains(&description),
            _ => false,
        };
        let left = || message.headers.as_ref()?.get(LEFT)?.as_str().parse().ok();
        let none_behind = self.asked.messages.saturating_sub(self.came.messages);
        let left = left().filter(|_| !chassis::mutant("nothing_is_behind"));
        is_in_order.then(|| left.unwrap_or(none_behind))
    }

    fn take(&self, message: Message, surely_since: DateTime<Utc>) -> Option<Pulled> {
        let message = async_nats::jetstream::Message { message, context: self.context.clone() };
        let pulled = Pulled::new(message, surely_since, self.lease, |stored_at| {
            // It was handed out after it was stored, and after it was asked for.
            let stood = (self.clock.now() - stored_at).to_std().unwrap_or_default();
            self.asked_at.elapsed().min(stood)
        });
        pulled
            .inspect_err(|error| {
                tracing::error!(%error, "a message without JetStream's reply subject");
            })
            .ok()
    }

    /// Gives back what has come and was not looked at.
    pub async fn release(mut self) {
        while let Some(Some(chunk)) = self.messages.next().now_or_never() {
            for message in chunk.into_iter().filter(|message| message.status.is_none()) {
                let context = self.context.clone();
                let message = async_nats::jetstream::Message { message, context };
                // Not confirmed: what gets lost here comes back when its lease runs out.
                let _ = message.ack_with(AckKind::Nak(None)).await;
            }
        }
    }
}

fn sleep(clock: &Clock, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep(duration).await })
}
