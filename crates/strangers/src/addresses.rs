//! Addresses of machines, in every notation that a URL may have them in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use egress::AddressPolicy;

use crate::bounds::within;

/// Memory, in bytes for each of a URL's.
const MULTIPLE: usize = 32;

/// Bytes for the notation, then those of an address. Whatever the notation, a URL is refused when
/// its address is; and no address is taken that a naive reader of the registries refuses.
pub(crate) fn check(input: &[u8]) {
    let Some((how, rest)) = input.split_first_chunk::<4>() else { return };
    let policy = AddressPolicy::default();
    if let Some((octets, _)) = rest.split_first_chunk::<16>() {
        let address = Ipv6Addr::from(*octets);
        same(&policy, address.into(), &format!("[{}]", of_six(address, *how)));
    }
    let Some((octets, _)) = rest.split_first_chunk::<4>() else { return };
    let address = Ipv4Addr::from(*octets);
    same(&policy, address.into(), &of_four(address, *how));
    // A gateway leads to the IPv4 address that an IPv6 address carries.
    if !is_public(address.into()) {
        for carrier in carriers(address, *how) {
            assert!(policy.vet(carrier.into()).is_err(), "{carrier} leads to {address}");
            let host = format!("[{}]", of_six(carrier, *how));
            assert!(policy.vet_url(&format!("http://{host}/")).is_err(), "{host}");
        }
    }
}

fn same(policy: &AddressPolicy, address: IpAddr, host: &str) {
    let is_taken = policy.vet(address).is_ok();
    assert!(!is_taken || is_public(address), "{address} is taken");
    for url in [format!("http://{host}/"), format!("HTTPS://user:pw@{host}:8443/a?b#c")] {
        let vetted = within(url.len(), MULTIPLE, || policy.vet_url(&url));
        assert_eq!(vetted.is_ok(), is_taken, "{url} is {address}: {vetted:?}");
    }
}

/// The IPv6 addresses that carry this one.
fn carriers(address: Ipv4Addr, how: [u8; 4]) -> [Ipv6Addr; 7] {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let net = u16::from_be_bytes([how[0], how[1]]);
    [
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, net, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, net, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, 0x808, 0x808, net, 0, !high, !low),
        Ipv6Addr::new(0x2606, 0x4700, net, 0, 0, 0x5efe, high, low),
    ]
}

fn of_six(address: Ipv6Addr, how: [u8; 4]) -> String {
    let groups = address.segments().map(|group| format!("{group:x}"));
    let wide = address.segments().map(|group| format!("{group:04X}"));
    let [.., high, low] = address.segments();
    let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
    match how[0] % 4 {
        0 => address.to_string(),
        1 => groups.join(":"),
        2 => wide.join(":"),
        _ => format!("{}:{a}.{b}.{c}.{d}", groups[..6].join(":")),
    }
}

fn of_four(address: Ipv4Addr, how: [u8; 4]) -> String {
    let octets = address.octets().map(u32::from);
    let [a, b, c, d] = octets;
    let parts = match how[0] % 4 {
        0 => vec![a, b, c, d],
        1 => vec![a, b, c << 8 | d],
        2 => vec![a, b << 16 | c << 8 | d],
        _ => vec![address.to_bits()],
    };
    let number = |(place, number): (usize, &u32)| match (how[1] >> (2 * place)) & 3 {
        0 => number.to_string(),
        1 => format!("0x{number:x}"),
        2 => format!("0{number:o}"),
        _ => format!("0X{number:08X}"),
    };
    let text = parts.iter().enumerate().map(number).collect::<Vec<_>>().join(".");
    let text = if how[2] & 1 == 1 { text + "." } else { text };
    let spelled = |c: char| match how[3] % 4 {
        // Characters that are not escaped, and those that the standard maps to the same.
        1 => format!("%{:02x}", u32::from(c)),
        2 if c.is_ascii_digit() => {
            char::from_u32(u32::from(c) - u32::from('0') + u32::from('０')).unwrap_or(c).to_string()
        }
        3 if c == '.' => "。".to_owned(),
        _ => c.to_string(),
    };
    text.chars().map(spelled).collect()
}

/// Whether an address is one of the public network, as far as the standard library knows and
/// the registries say of what it does not know.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            let is_nat64 = (a, b, c) == (0x64, 0xff9b, 0);
            let four =
                Ipv4Addr::from_bits(u32::try_from(address.to_bits() & 0xffff_ffff).unwrap_or(0));
            (is_nat64 && is_public(four.into()))
                || ((0x2000..0x4000).contains(&a)
                    && !(a == 0x2001 && b < 0x200)
                    && !(a == 0x2001 && b == 0xdb8)
                    && a != 0x2002
                    && !(a == 0x3fff && b < 0x1000))
        }
    }
}
