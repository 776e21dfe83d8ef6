//! IPv4 addresses inside IPv6 ones: where the packets really go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 addresses that this address carries, by any of the ways that have
/// ever been standardised. Mapped addresses are IPv4 addresses to the kernel and
/// are taken for such before.
pub(super) fn ipv4_addresses(address: IpAddr) -> [Option<Ipv4Addr>; 2] {
    let IpAddr::V6(address) = address else { return [None, None] };
    let octets = address.octets();
    let at = |start: usize| {
        Ipv4Addr::new(octets[start], octets[start + 1], octets[start + 2], octets[start + 3])
    };
    match address.segments() {
        // Unspecified and loopback look like IPv4-compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None, None],
        // IPv4-compatible (RFC 4291), IPv4-translated (RFC 2765), NAT64 (RFC
        // 6052), and NAT64 of a network's own (RFC 8215) as far as it uses the
        // form that all use.
        [0, 0, 0, 0, 0, 0, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [0x64, 0xff9b, 1, ..] => [Some(at(12)), None],
        // 6to4 (RFC 3056): the router.
        [0x2002, ..] => [Some(at(2)), None],
        // Teredo (RFC 4380): the server, and the client with all bits turned.
        [0x2001, 0, ..] => [Some(at(4)), Some(Ipv4Addr::from_bits(!at(12).to_bits()))],
        _ => [is_isatap(address).then(|| at(12)), None],
    }
}

/// RFC 5214: under any prefix, an interface's identifier of this form.
fn is_isatap(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, ..])
}
