//! Names become addresses here, and every address is vetted.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;

use crate::address::AddressPolicy;
use crate::answer::{Failure, FailureKind};
use crate::names::{Names, NotFound};
use crate::progress::{Progress, Stage};
use crate::proxy::EgressProxy;
use crate::routes;

/// The most addresses of a family that are tried. A name may have hundreds, and
/// none must make us knock at hundreds of doors.
const MAX_OF_A_FAMILY: usize = 4;

/// A resolver, with every answer vetted.
#[derive(Clone, Debug)]
pub(crate) struct VettingResolver {
    policy: Arc<AddressPolicy>,
    names: Names,
    proxy: Option<EgressProxy>,
    /// Whether this machine has a way to an address.
    has_route: fn(IpAddr) -> bool,
}

/// The words for a name that does not exist, and for one that leads where receivers may not
/// be. The same for both, or whoever asks would learn which internal names there are.
const LEADS_NOWHERE: &str = "the host's name does not exist or has no address";

impl VettingResolver {
    pub(crate) fn new(
        policy: Arc<AddressPolicy>,
        names: Names,
        proxy: Option<EgressProxy>,
    ) -> Self {
        Self { policy, names, proxy, has_route: routes::leads_to }
    }

    /// Addresses of a name, each of which may be connected to.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, Failure> {
        // Behind a proxy, addresses that stand in the URL are asked for as well.
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let mut addresses = match literal {
            Ok(address) => vec![address],
            Err(_) => match self.names.addresses(name).await {
                Ok(addresses) => addresses,
                Err(not_found) => return Err(self.whose_fault(name, &not_found).await),
            },
        };
        if addresses.is_empty() {
            return Err(Failure::new(FailureKind::Dns, LEADS_NOWHERE));
        }
        // No customer decides on this name, and it has both families here, whatever the machine
        // and its operator have.
        let may_go = |address: &IpAddr| self.policy.vet(*address).is_ok();
        if name.trim_end_matches('.').eq_ignore_ascii_case("localhost")
            && addresses.iter().any(may_go)
        {
            addresses.retain(may_go);
        }
        // One bad address spoils the name: whoever controls it could otherwise
        // have us try the good one first and the bad one next.
        for address in &addresses {
            self.policy.vet(*address).map_err(|_| Failure::new(FailureKind::Dns, LEADS_NOWHERE))?;
        }
        let (mut of_v4, mut of_v6) = (0, 0);
        if self.proxy.is_some() {
            // The library tells the proxy IPv6 addresses in a form that is none.
            of_v6 = MAX_OF_A_FAMILY;
            if !addresses.iter().any(IpAddr::is_ipv4) {
                let detail =
                    "the proxy on the way out is told IPv4 addresses, and the host has none";
                return Err(Failure::new(FailureKind::Proxy, detail));
            }
        }
        let is_tried = |address: &IpAddr| {
            let count = if address.is_ipv4() { &mut of_v4 } else { &mut of_v6 };
            *count += 1;
            *count <= MAX_OF_A_FAMILY
        };
        let mut tried: Vec<IpAddr> = addresses.into_iter().filter(is_tried).collect();
        let is_mixed = tried.iter().any(IpAddr::is_ipv4) && tried.iter().any(IpAddr::is_ipv6);
        if is_mixed {
            // A family without a way there would be tried last, and be what is told.
            let with_route: Vec<IpAddr> =
                tried.iter().copied().filter(|address| (self.has_route)(*address)).collect();
            if !with_route.is_empty() {
                tried = with_route;
            }
        }
        Ok(tried.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }

    /// The fault is the receiver's where its name is missing, or where names of others are
    /// answered; and ours where names in general are not.
    async fn whose_fault(&self, name: &str, not_found: &NotFound) -> Failure {
        let is_theirs = match not_found {
            NotFound::NoSuchName => true,
            NotFound::Unanswered(_) => {
                let is_theirs =
                    self.names.are_answered_but(name).await && !chassis::mutant("silence_is_ours");
                if is_theirs {
                    self.names.leave_alone(name, not_found);
                }
                is_theirs
            }
            NotFound::Resolver(_) => false,
        };
        let kind = if is_theirs { FailureKind::Dns } else { FailureKind::DnsOurs };
        Failure::new(kind, not_found.to_string())
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
            let is_proxy = this.proxy.as_ref().is_some_and(|proxy| proxy.has_name(&name));
            let found = if is_proxy {
                let found = this.names.addresses_of_ours(&name).await;
                let at_port_0 = |address| SocketAddr::new(address, 0);
                found
                    .map(|addresses| addresses.into_iter().map(at_port_0).collect())
                    .map_err(|error| Failure::new(FailureKind::Proxy, error.to_string()))
            } else {
                this.addresses(&name).await
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::time::Duration;

    use super::*;
    use crate::names::Found;

    fn resolver(look_up: impl Fn() -> Found + Send + Sync + 'static) -> VettingResolver {
        let look_up = move |_: &str| -> Pin<Box<dyn Future<Output = Found> + Send>> {
            Box::pin(std::future::ready(look_up()))
        };
        let names = Names::of(Box::new(look_up), Duration::from_secs(1));
        let has_route = |_| true;
        VettingResolver { policy: Arc::default(), names, proxy: None, has_route }
    }

    fn at(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn at_port_0(addresses: &[IpAddr]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect()
    }

    #[tokio::test]
    async fn all_addresses_of_a_good_name_are_handed_on() {
        let good = at(&["8.8.8.8", "2606:4700::1111"]);
        let expected = at_port_0(&good);
        let found = resolver(move || Ok(good.clone())).addresses("a.example").await;
        assert_eq!(found, Ok(expected));
    }

    #[tokio::test]
    async fn of_two_families_the_one_without_a_route_is_left_out() {
        let both = at(&["8.8.8.8", "2606:4700::1111"]);
        let left = async |has_route: fn(IpAddr) -> bool| {
            let found = both.clone();
            let resolver = VettingResolver { has_route, ..resolver(move || Ok(found.clone())) };
            resolver.addresses("a.example").await
        };
        assert_eq!(left(|address| address.is_ipv4()).await, Ok(at_port_0(&both[..1])));
        assert_eq!(left(|address| address.is_ipv6()).await, Ok(at_port_0(&both[1..])));
        // Without any, connecting says what is wrong.
        assert_eq!(left(|_| false).await, Ok(at_port_0(&both)));
    }

    #[tokio::test]
    async fn of_many_addresses_all_are_vetted_and_a_few_are_tried() {
        let mut many: Vec<IpAddr> = Vec::new();
        for n in 0..200 {
            many.extend(at(&[&format!("2606:4700::{n:x}"), &format!("8.8.8.{n}")]));
        }
        let good = many.clone();
        let found = resolver(move || Ok(good.clone())).addresses("a.example").await;
        assert_eq!(found, Ok(at_port_0(&many[..8])));
        many.extend(at(&["127.0.0.1"]));
        let failure = resolver(move || Ok(many.clone())).addresses("a.example").await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Dns);
    }

    #[tokio::test]
    async fn one_bad_address_spoils_the_name() {
        for bad in ["127.0.0.1", "10.0.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1"] {
            let mixed = at(&["8.8.8.8", bad, "2606:4700::1111"]);
            let failure =
                resolver(move || Ok(mixed.clone())).addresses("a.example").await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Dns, "{bad}");
            assert!(!failure.detail.contains("10.0.0.1"), "{}", failure.detail);
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_told_like_one_that_does_not_exist() {
        let missing = Err(NotFound::NoSuchName);
        let mut told = Vec::new();
        for found in [missing, Ok(vec![]), Ok(at(&["10.0.0.1"])), Ok(at(&["8.8.8.8", "::1"]))] {
            told.push(resolver(move || found.clone()).addresses("a.example").await.unwrap_err());
        }
        assert!(told.iter().all(|failure| *failure == told[0]), "{told:?}");
        assert_eq!(told[0].kind, FailureKind::Dns);
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_the_receivers_fault() {
        let failure = resolver(|| Ok(vec![])).addresses("a.example").await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Dns);
    }

    #[tokio::test]
    async fn whose_fault_it_is_that_a_name_is_not_found() {
        for (not_found, kind) in [
            (NotFound::NoSuchName, FailureKind::Dns),
            // Nothing says that names in general are answered.
            (NotFound::Unanswered("do not answer"), FailureKind::DnsOurs),
            (NotFound::Resolver("Too many open files".into()), FailureKind::DnsOurs),
        ] {
            let given = not_found.clone();
            let failure =
                resolver(move || Err(given.clone())).addresses("a.example").await.unwrap_err();
            assert_eq!(failure, Failure::new(kind, not_found.to_string()));
        }
    }
}
