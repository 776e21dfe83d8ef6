//! Whether this machine has a way to an address, asked of the system without a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses of documentation, which nobody has: whatever leads there leads anywhere.
const ANYWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Whether there is a route to this address, as far as the system knows before it has tried.
pub(crate) fn leads_to(address: IpAddr) -> bool {
    let from: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting it is a matter of this end alone: nothing is sent.
    let socket = UdpSocket::bind(SocketAddr::new(from, 0));
    socket.and_then(|socket| socket.connect(SocketAddr::new(address, 9))).is_ok()
}

/// Whether there is a way out of this machine at all, in either family.
pub(crate) fn lead_anywhere() -> bool {
    ANYWHERE.into_iter().any(leads_to)
}

/// The families that this machine has no way out by, so that nobody is called by them.
pub fn families_without_a_route() -> impl Iterator<Item = &'static str> {
    let names = ["IPv4", "IPv6"].into_iter().zip(ANYWHERE);
    names.filter(|(_, address)| !leads_to(*address)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use testkit::network::{NO_WAY_OUT, ONLY_V4, run_in_a_network};

    use super::*;
    use crate::classify::not_connected;
    use crate::names::{Found, Names};
    use crate::progress::Stage;
    use crate::resolver::VettingResolver;
    use crate::{AddressPolicy, Failure, FailureKind};

    fn resolver(found: &[&str]) -> VettingResolver {
        let found: Vec<IpAddr> = found.iter().map(|text| text.parse().unwrap()).collect();
        let look_up = move |_: &str| -> std::pin::Pin<Box<dyn Future<Output = Found> + Send>> {
            Box::pin(std::future::ready(Ok(found.clone())))
        };
        let names = Names::of(Box::new(look_up), Duration::from_secs(1));
        let everywhere = ["0.0.0.0/0", "::/0"].map(|range| range.parse().unwrap());
        let policy = AddressPolicy::new(everywhere.to_vec(), Vec::new());
        VettingResolver::new(Arc::new(policy), names, None)
    }

    async fn addresses(found: &[&str]) -> Vec<String> {
        let found = resolver(found).addresses("a.example").await.expect("addresses");
        found.iter().map(|address| address.ip().to_string()).collect()
    }

    async fn connecting(to: &str) -> Failure {
        let address: SocketAddr = to.parse().unwrap();
        let error = tokio::net::TcpStream::connect(address).await.expect_err("nobody is there");
        not_connected(Some(&error), Stage::Connecting(tokio::time::Instant::now()))
    }

    #[test]
    fn a_host_with_both_families_is_judged_by_the_one_that_has_a_route() {
        run_in_a_network(ONLY_V4, "routes::tests::with_ipv4_alone");
    }

    #[test]
    fn without_any_route_it_is_our_fault() {
        run_in_a_network(NO_WAY_OUT, "routes::tests::without_a_network");
    }

    #[tokio::test]
    #[ignore = "runs in a network of its own"]
    async fn with_ipv4_alone() {
        let (v4, v6) = ("127.0.0.1", "2606:4700::1111");
        assert_eq!(addresses(&[v6, v4]).await, [v4]);
        assert_eq!(addresses(&[v4]).await, [v4]);
        assert_eq!(addresses(&[v6]).await, [v6]);
        for (to, detail) in [
            ("127.0.0.1:9", "the connection was refused"),
            ("[2606:4700::1111]:443", "there is no route to the host"),
            ("10.8.0.1:443", "there is no route to the host"),
            ("10.7.0.1:443", "there is no route to the host"),
        ] {
            assert_eq!(connecting(to).await, Failure::new(FailureKind::Connect, detail), "{to}");
        }
    }

    #[tokio::test]
    #[ignore = "runs in a network of its own"]
    async fn without_a_network() {
        let (v4, v6) = ("8.8.8.8", "2606:4700::1111");
        assert_eq!(addresses(&[v6, v4]).await, [v6, v4]);
        for to in ["8.8.8.8:443", "[2606:4700::1111]:443"] {
            assert_eq!(connecting(to).await.kind, FailureKind::Local, "{to}");
        }
    }
}
