//! Names become addresses here, and every address is vetted.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::address::AddressPolicy;
use crate::answer::{Failure, FailureKind};
use crate::progress::{Progress, Stage};
use crate::proxy::EgressProxy;

/// The most addresses of a family that are tried. A name may have hundreds, and
/// none must make us knock at hundreds of doors.
const MAX_OF_A_FAMILY: usize = 4;

/// How a name is looked up; blocks. The ports of what it returns do not count.
pub type LookUp = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The system's resolver, with every answer vetted.
#[derive(Clone)]
pub(crate) struct VettingResolver(Arc<Parts>);

impl fmt::Debug for VettingResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VettingResolver").finish_non_exhaustive()
    }
}

struct Parts {
    policy: Arc<AddressPolicy>,
    look_up: Box<LookUp>,
    time_limit: Duration,
    look_ups: Arc<Semaphore>,
    proxy: Option<EgressProxy>,
}

/// The system's own look-up: hosts file, search domains and all.
pub(crate) fn system(name: &str) -> io::Result<Vec<SocketAddr>> {
    (name, 0).to_socket_addrs().map(Iterator::collect)
}

impl VettingResolver {
    pub(crate) fn new(
        policy: Arc<AddressPolicy>,
        look_up: Box<LookUp>,
        time_limit: Duration,
        max_look_ups: usize,
        proxy: Option<EgressProxy>,
    ) -> Self {
        let look_ups = Arc::new(Semaphore::new(max_look_ups));
        Self(Arc::new(Parts { policy, look_up, time_limit, look_ups, proxy }))
    }

    /// Addresses of a name, each of which may be connected to.
    pub(crate) async fn addresses(&self, name: String) -> Result<Vec<SocketAddr>, Failure> {
        // Behind a proxy, addresses that stand in the URL are asked for as well.
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let addresses = match literal {
            Ok(address) => vec![SocketAddr::new(address, 0)],
            Err(_) => self.look_up_in_time(name).await?,
        };
        if addresses.is_empty() {
            return Err(Failure::new(FailureKind::Dns, "the host's name has no address"));
        }
        // One bad address spoils the name: whoever controls it could otherwise
        // have us try the good one first and the bad one next.
        for address in &addresses {
            self.0.policy.vet(address.ip()).map_err(|forbidden| {
                Failure::new(
                    FailureKind::Blocked,
                    format!("the host's name leads where receivers may not be: {forbidden}"),
                )
            })?;
        }
        let (mut of_v4, mut of_v6) = (0, 0);
        if self.0.proxy.is_some() {
            // The library tells the proxy IPv6 addresses in a form that is none.
            of_v6 = MAX_OF_A_FAMILY;
            if !addresses.iter().any(SocketAddr::is_ipv4) {
                let detail =
                    "the proxy on the way out is told IPv4 addresses, and the host has none";
                return Err(Failure::new(FailureKind::Proxy, detail));
            }
        }
        let is_tried = |address: &SocketAddr| {
            let count = if address.is_ipv4() { &mut of_v4 } else { &mut of_v6 };
            *count += 1;
            *count <= MAX_OF_A_FAMILY
        };
        Ok(addresses.into_iter().filter(is_tried).collect())
    }

    async fn look_up_in_time(&self, name: String) -> Result<Vec<SocketAddr>, Failure> {
        let found = timeout(self.0.time_limit, self.look_up(name)).await;
        found.map_err(|_| {
            Failure::new(FailureKind::DnsOurs, "the resolver did not answer in time")
        })?
    }

    /// A look-up cannot be called off. So it keeps its permit until it is
    /// really over, and names whose servers never answer tie up a bounded
    /// number of threads.
    async fn look_up(&self, name: String) -> Result<Vec<SocketAddr>, Failure> {
        let ours = |_| Failure::new(FailureKind::DnsOurs, "the resolver is shutting down");
        let permit = Arc::clone(&self.0.look_ups).acquire_owned().await.map_err(|_| ours(()))?;
        let parts = Arc::clone(&self.0);
        let looked_up = tokio::task::spawn_blocking(move || {
            let found = (parts.look_up)(&name);
            drop(permit);
            found
        });
        looked_up.await.map_err(|_| ours(()))?.map_err(|error| classify(&error))
    }
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let progress = Progress::of_task();
            progress.reach(Stage::Resolving);
            // The operator's own, which nobody else can ask for: see `Client::vet_url`.
            let is_proxy = this.0.proxy.as_ref().is_some_and(|proxy| proxy.has_name(&name));
            let found = if is_proxy {
                let ours = |failure: Failure| Failure::new(FailureKind::Proxy, failure.detail);
                this.look_up_in_time(name).await.map_err(ours)
            } else {
                this.addresses(name).await
            };
            match found {
                Ok(addresses) => {
                    progress.reach(Stage::Connecting(Instant::now()));
                    Ok(Box::new(addresses.into_iter()) as Addrs)
                }
                Err(failure) => Err(Box::new(failure) as Box<dyn Error + Send + Sync>),
            }
        })
    }
}

/// The name's fault or the resolver's.
///
/// The standard library does not hand out the code of `getaddrinfo`, only its
/// text, which is never translated because we set no locale. An unknown text
/// counts as ours: then the receiver is not charged and the delivery comes back.
fn classify(error: &io::Error) -> Failure {
    /// EAI_NONAME and EAI_NODATA of glibc, musl and the BSDs.
    const NO_SUCH_NAME: [&str; 6] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
        "nodename nor servname provided",
        "no address associated with name",
    ];
    let text = error.to_string();
    if NO_SUCH_NAME.iter().any(|known| text.contains(known)) {
        Failure::new(FailureKind::Dns, "the host's name does not exist or has no address")
    } else {
        Failure::new(FailureKind::DnsOurs, format!("the resolver could not find out: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(
        look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> VettingResolver {
        VettingResolver::new(Arc::default(), Box::new(look_up), Duration::from_secs(1), 1, None)
    }

    fn at(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    #[tokio::test]
    async fn all_addresses_of_a_good_name_are_handed_on() {
        let good = at(&["8.8.8.8", "2606:4700::1111"]);
        let expected = good.clone();
        let found = resolver(move |_| Ok(good.clone())).addresses("a.example".into()).await;
        assert_eq!(found, Ok(expected));
    }

    #[tokio::test]
    async fn of_many_addresses_all_are_vetted_and_a_few_are_tried() {
        let mut many: Vec<SocketAddr> = Vec::new();
        for n in 0..200 {
            many.extend(at(&[&format!("2606:4700::{n:x}"), &format!("8.8.8.{n}")]));
        }
        let good = many.clone();
        let found = resolver(move |_| Ok(good.clone())).addresses("a.example".into()).await;
        assert_eq!(found.as_deref(), Ok(&many[..8]));
        many.extend(at(&["127.0.0.1"]));
        let failure =
            resolver(move |_| Ok(many.clone())).addresses("a.example".into()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Blocked);
    }

    #[tokio::test]
    async fn one_bad_address_spoils_the_name() {
        for bad in ["127.0.0.1", "10.0.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1"] {
            let mixed = at(&["8.8.8.8", bad, "2606:4700::1111"]);
            let failure = resolver(move |_| Ok(mixed.clone()))
                .addresses("a.example".into())
                .await
                .unwrap_err();
            assert_eq!(failure.kind, FailureKind::Blocked, "{bad}");
            assert!(!failure.detail.contains("10.0.0.1"), "{}", failure.detail);
        }
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_the_receivers_fault() {
        let failure = resolver(|_| Ok(vec![])).addresses("a.example".into()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Dns);
    }

    #[tokio::test]
    async fn a_look_up_that_hangs_is_our_fault_and_keeps_its_permit() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let slow = resolver(move |_| {
            let _released = held.lock().unwrap().recv();
            Ok(vec![])
        });
        for _ in 0..2 {
            let failure = slow.addresses("a.example".into()).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::DnsOurs);
            assert_eq!(slow.0.look_ups.available_permits(), 0);
        }
        release.send(()).unwrap();
        drop(slow.0.look_ups.acquire().await.unwrap());
    }

    #[test]
    fn errors_of_the_resolver_are_told_from_missing_names() {
        for (text, kind) in [
            ("failed to lookup address information: Name or service not known", FailureKind::Dns),
            (
                "failed to lookup address information: No address associated with hostname",
                FailureKind::Dns,
            ),
            (
                "failed to lookup address information: Temporary failure in name resolution",
                FailureKind::DnsOurs,
            ),
            (
                "failed to lookup address information: Non-recoverable failure in name resolution",
                FailureKind::DnsOurs,
            ),
            ("Too many open files (os error 24)", FailureKind::DnsOurs),
        ] {
            assert_eq!(classify(&io::Error::other(text)).kind, kind, "{text}");
        }
    }
}
