//! Which addresses a receiver may have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

mod carried;

/// Decides about addresses. Without any rules of the operator, receivers may
/// have globally reachable unicast addresses only.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

/// Why an address is refused.
///
/// Names the range, not the address: a customer who sees this must not learn
/// where an internal name leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Forbidden {
    /// It is in a range that is set aside.
    #[error("addresses in {range} ({purpose}) are not allowed")]
    SpecialUse {
        /// The range.
        range: IpNet,
        /// What the range is for.
        purpose: &'static str,
    },
    /// The operator has closed it.
    #[error("the operator of this service has closed that address")]
    Denied,
}

impl AddressPolicy {
    /// `allow` opens ranges that are special; `deny` closes further ones and
    /// is stronger than `allow`.
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self { allow, deny }
    }

    /// Whether a receiver may have this address.
    ///
    /// # Errors
    /// Why it may not.
    pub fn vet(&self, address: IpAddr) -> Result<(), Forbidden> {
        let address = address.to_canonical();
        // Through a gateway the connection ends at the IPv4 address that the
        // IPv6 one carries, so that both must pass, also where the operator has
        // opened the range of the IPv6 one.
        let carried = carried::ipv4_addresses(address).map(|found| found.map(IpAddr::V4));
        for face in [Some(address)].into_iter().chain(carried).flatten() {
            if self.deny.iter().any(|range| range.contains(&face)) {
                return Err(Forbidden::Denied);
            }
            if self.allow.iter().any(|range| range.contains(&face)) {
                continue;
            }
            if let Some((range, purpose)) = special_use(face) {
                return Err(Forbidden::SpecialUse { range, purpose });
            }
        }
        Ok(())
    }
}

/// The range that sets an address aside, and what for.
fn special_use(address: IpAddr) -> Option<(IpNet, &'static str)> {
    match address {
        IpAddr::V4(v4) => SPECIAL_V4
            .iter()
            .find(|(range, _)| range.contains(&v4))
            .map(|(range, purpose)| (IpNet::V4(*range), *purpose)),
        IpAddr::V6(v6) => SPECIAL_V6
            .iter()
            .find(|(range, _)| range.contains(&v6))
            .map(|(range, purpose)| (IpNet::V6(*range), *purpose))
            // Whatever is neither global unicast nor NAT64 is reserved, or will
            // mean something that nobody knows yet.
            .or_else(|| {
                let known = GLOBAL_UNICAST.contains(&v6) || NAT64.contains(&v6);
                (!known).then_some((IpNet::V6(ALL_V6), "reserved"))
            }),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// From its first three groups; no special range needs more but the lowest ones.
const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);
const ALL_V6: Ipv6Net = v6(0, 0, 0, 0);

/// IANA's registry of special-purpose IPv4 addresses, but for ranges that are
/// globally reachable, and what clouds have taken for themselves.
const SPECIAL_V4: [(Ipv4Net, &str); 17] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private use"),
    (v4(100, 64, 0, 0, 10), "shared by carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(168, 63, 129, 16, 32), "a cloud's platform service"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private use"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relays"),
    (v4(192, 168, 0, 0, 16), "private use"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// IANA's registry of special-purpose IPv6 addresses, and deprecated forms that
/// carry an IPv4 address. Mapped addresses are taken for what they map first.
const SPECIAL_V6: [(Ipv6Net, &str); 19] = [
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (v6(0, 0, 0, 96), "IPv4-compatible"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), "IPv4-translated"),
    (v6(0x64, 0xff9b, 1, 48), "local NAT64"),
    (v6(0x100, 0, 0, 64), "discard"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0), 64), "dummy prefix"),
    (v6(0x2001, 0, 0, 32), "Teredo"),
    (v6(0x2001, 2, 0, 48), "benchmarking"),
    (v6(0x2001, 0x20, 0, 28), "cryptographic identifiers"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation"),
    (v6(0x2001, 0, 0, 23), "protocol assignments"),
    (v6(0x2002, 0, 0, 16), "6to4"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
    (v6(0x5f00, 0, 0, 16), "segment routing"),
    (v6(0xfc00, 0, 0, 7), "private use"),
    (v6(0xfe80, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 10), "site-local"),
    (v6(0xff00, 0, 0, 8), "multicast"),
];

#[cfg(test)]
mod tests;
