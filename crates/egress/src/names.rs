//! How names are looked up, and whose fault it is when nobody answers.
//!
//! A name whose servers are silent, or say that they cannot answer, tells nothing by itself:
//! the resolver asks them on our behalf, and may be in trouble too. So names that were answered
//! lately are remembered. As long as such a name of another zone is still answered, what is
//! silent is the receiver's.
//!
//! Deliberately absent: a cache of what was found. Connections are kept, and a look-up is rare
//! beside the requests; what is found in a cache would say nothing of the resolver.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use tokio::time::{Instant, timeout};

/// Why a name was not found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotFound {
    /// There is no such name, or it has no address.
    #[error("the host's name does not exist or has no address")]
    NoSuchName,
    /// Its servers are silent, or cannot say.
    #[error("the name servers of the host {0}")]
    Unanswered(&'static str),
    /// The resolver cannot be asked.
    #[error("the resolver cannot be asked: {0}")]
    Resolver(String),
}

/// The result of a look-up.
pub type Found = Result<Vec<IpAddr>, NotFound>;
type LookUp = dyn Fn(&str) -> Pin<Box<dyn Future<Output = Found> + Send>> + Send + Sync;

/// For how long an answer speaks for the resolver.
const SPEAKS_FOR: Duration = Duration::from_secs(5);
/// Names that were answered, the last one of each zone first.
const REMEMBERED: usize = 16;
/// The longest that a name which was answered before may take to be answered again.
const ASKED_AGAIN_WITHIN: Duration = Duration::from_secs(1);
/// How long a name is left alone whose servers did not answer.
const LEFT_ALONE: Duration = Duration::from_secs(10);
/// The most such names. Where there are more, the oldest are asked again.
const MOST_LEFT_ALONE: usize = 10_000;

/// Looks names up. Clones share what they know.
#[derive(Clone)]
pub(crate) struct Names(Arc<Parts>);

struct Parts {
    source: Source,
    time_limit: Duration,
    known: Mutex<Known>,
}

enum Source {
    Resolver(Box<TokioResolver>),
    Other(Box<LookUp>),
}

#[derive(Default)]
struct Known {
    /// Names of different zones, and when they were answered, the latest first.
    answered: VecDeque<(String, Instant)>,
    /// When a name was asked again last, and whether it was answered.
    asked_again: Option<(Instant, bool)>,
    left_alone: HashMap<String, (Instant, NotFound)>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Asks these servers, or those of the system where there are none.
    ///
    /// # Errors
    /// When no resolver can be set up.
    pub(crate) fn of_servers(
        servers: &[SocketAddr],
        time_limit: Duration,
    ) -> Result<Self, NetError> {
        let provider = TokioRuntimeProvider::default();
        let of = |servers: &[SocketAddr], provider| {
            let servers = servers.iter().map(|server| {
                let mut config = NameServerConfig::udp_and_tcp(server.ip());
                let at_port = |connection: &mut ConnectionConfig| connection.port = server.port();
                config.connections.iter_mut().for_each(at_port);
                config
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            TokioResolver::builder_with_config(config, provider)
        };
        let mut builder = if servers.is_empty() {
            // A system that says nothing has one of its own, as the C library has it.
            let own = [([127, 0, 0, 1], 53).into()];
            TokioResolver::builder(provider.clone()).unwrap_or_else(|_| of(&own, provider))
        } else {
            of(servers, provider)
        };
        let options = builder.options_mut();
        // Twice, with time left for what one of two families has brought.
        options.timeout = time_limit / 3;
        options.attempts = 1;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = 0;
        Ok(Self::new(Source::Resolver(Box::new(builder.build()?)), time_limit))
    }

    /// Asks this.
    pub(crate) fn of(look_up: Box<LookUp>, time_limit: Duration) -> Self {
        Self::new(Source::Other(look_up), time_limit)
    }

    fn new(source: Source, time_limit: Duration) -> Self {
        Self(Arc::new(Parts { source, time_limit, known: Mutex::default() }))
    }

    /// The addresses of a customer's name. Search domains do not apply: a name of theirs is
    /// whole.
    pub(crate) async fn addresses(&self, name: &str) -> Found {
        if let Some(not_found) = self.left_alone(name) {
            return Err(not_found);
        }
        let found = self.ask(name, true, self.0.time_limit).await;
        if matches!(found, Ok(_) | Err(NotFound::NoSuchName)) {
            self.known().answered(name);
        }
        found
    }

    /// Asks no more for a name for a while. To be called where nobody but its own servers is to
    /// blame: after an outage of the resolver every name is asked for at once.
    pub(crate) fn leave_alone(&self, name: &str, not_found: &NotFound) {
        self.known().leave_alone(name, not_found);
    }

    /// The addresses of a name of the operator's own, search domains included.
    pub(crate) async fn addresses_of_ours(&self, name: &str) -> Found {
        self.ask(name, false, self.0.time_limit).await
    }

    /// Whether names in general are answered: one of another zone than this was just now, or is
    /// when it is asked again.
    pub(crate) async fn are_answered_but(&self, name: &str) -> bool {
        let other = {
            let known = self.known();
            let other = known.answered.iter().find(|(other, _)| zone(other) != zone(name));
            let Some((other, at)) = other else { return false };
            if at.elapsed() < SPEAKS_FOR {
                return true;
            }
            if let Some((at, is_answered)) = known.asked_again
                && at.elapsed() < SPEAKS_FOR
            {
                return is_answered;
            }
            other.clone()
        };
        let found = self.ask(&other, true, ASKED_AGAIN_WITHIN).await;
        let is_answered = matches!(found, Ok(_) | Err(NotFound::NoSuchName));
        self.known().asked_again = Some((Instant::now(), is_answered));
        is_answered
    }

    async fn ask(&self, name: &str, is_whole: bool, time_limit: Duration) -> Found {
        let found = async {
            let resolver = match &self.0.source {
                Source::Other(look_up) => return look_up(name).await,
                Source::Resolver(resolver) => resolver,
            };
            let name = match is_whole {
                true => format!("{}.", name.trim_end_matches('.')),
                false => name.to_owned(),
            };
            match resolver.lookup_ip(name).await {
                Ok(found) => Ok(found.iter().collect()),
                Err(error) => Err(not_found(&error)),
            }
        };
        let silent = NotFound::Unanswered("do not answer");
        timeout(time_limit, found).await.unwrap_or(Err(silent))
    }

    fn left_alone(&self, name: &str) -> Option<NotFound> {
        let known = self.known();
        let (since, not_found) = known.left_alone.get(name)?;
        (since.elapsed() < LEFT_ALONE).then(|| not_found.clone())
    }

    /// A panic elsewhere leaves nothing half-done here.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn answered(&mut self, name: &str) {
        self.left_alone.remove(name);
        self.answered.retain(|(other, _)| zone(other) != zone(name));
        self.answered.push_front((name.to_owned(), Instant::now()));
        self.answered.truncate(REMEMBERED);
    }

    fn leave_alone(&mut self, name: &str, not_found: &NotFound) {
        if self.left_alone.len() >= MOST_LEFT_ALONE {
            self.left_alone.retain(|_, (since, _)| since.elapsed() < LEFT_ALONE);
        }
        if self.left_alone.len() >= MOST_LEFT_ALONE {
            self.left_alone.clear();
        }
        self.left_alone.insert(name.to_owned(), (Instant::now(), not_found.clone()));
    }
}

/// The part of a name that tells owners apart, roughly: its last two labels.
fn zone(name: &str) -> &str {
    let name = name.trim_end_matches('.');
    let dots = name.rmatch_indices('.').nth(1);
    dots.map_or(name, |(at, _)| &name[at + 1..])
}

fn not_found(error: &NetError) -> NotFound {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => NotFound::NoSuchName,
        NetError::Dns(_) => NotFound::Unanswered("say that they cannot answer"),
        NetError::Timeout => NotFound::Unanswered("do not answer"),
        // A name that no resolver takes, such as one with a label of more than 63 characters.
        NetError::Proto(_) => NotFound::NoSuchName,
        NetError::Io(error) if error.kind() == io::ErrorKind::InvalidInput => NotFound::NoSuchName,
        error => NotFound::Resolver(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
