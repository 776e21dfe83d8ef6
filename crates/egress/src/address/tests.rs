use super::*;

fn vet(policy: &AddressPolicy, address: &str) -> Result<(), Forbidden> {
    policy.vet(address.parse().unwrap())
}

fn nets(nets: &[&str]) -> Vec<IpNet> {
    nets.iter().map(|net| net.parse().unwrap()).collect()
}

#[test]
fn special_addresses_are_refused_for_what_they_are() {
    let policy = AddressPolicy::default();
    for (address, purpose) in [
        ("0.0.0.0", "this network"),
        ("0.255.255.255", "this network"),
        ("10.0.0.0", "private use"),
        ("10.255.255.255", "private use"),
        ("100.64.0.1", "shared by carrier-grade NAT"),
        ("100.100.100.200", "shared by carrier-grade NAT"),
        ("100.127.255.255", "shared by carrier-grade NAT"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("168.63.129.16", "a cloud's platform service"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.1", "private use"),
        ("172.31.255.255", "private use"),
        ("192.0.0.192", "protocol assignments"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4 relays"),
        ("192.168.1.1", "private use"),
        ("198.18.0.1", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("198.51.100.7", "documentation"),
        ("203.0.113.9", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::7f00:1", "IPv4-compatible"),
        ("::8.8.8.8", "IPv4-compatible"),
        ("64:ff9b:1::8.8.8.8", "local NAT64"),
        ("100::1", "discard"),
        ("2001::1", "Teredo"),
        ("2001:0:5ef5:79fd::1", "Teredo"),
        ("2001:2::1", "benchmarking"),
        ("2001:1::1", "protocol assignments"),
        ("2001:4:112::1", "protocol assignments"),
        ("2001:1ff:ffff::1", "protocol assignments"),
        ("2001:20::1", "cryptographic identifiers"),
        ("2001:2f:ffff::1", "cryptographic identifiers"),
        ("100:0:0:1::1", "dummy prefix"),
        ("::ffff:0:8.8.8.8", "IPv4-translated"),
        ("2001:db8::7", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("2002:808:808::", "6to4"),
        ("3fff:fff::1", "documentation"),
        ("5f00::1", "segment routing"),
        ("fc00::1", "private use"),
        ("fd00:ec2::254", "private use"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("4000::1", "reserved"),
        ("::1:0:0:1", "reserved"),
        // What the address stands for counts.
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.1.2.3", "private use"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::169.254.169.254", "link-local"),
        ("2606:4700::5efe:10.0.0.1", "private use"),
        ("2606:4700::200:5efe:127.0.0.1", "loopback"),
    ] {
        match vet(&policy, address) {
            Err(Forbidden::SpecialUse { purpose: found, .. }) => {
                assert_eq!(found, purpose, "{address}");
            }
            other => panic!("{address}: {other:?}"),
        }
    }
}

#[test]
fn global_addresses_pass_up_to_the_edges_of_special_ranges() {
    let policy = AddressPolicy::default();
    for address in [
        "1.0.0.0",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.114.0",
        "223.255.255.255",
        "2000::1",
        // 5efe elsewhere than where ISATAP has it.
        "2606:4700:0:5efe::a00:1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700::1111",
        "3ffe::1",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
    ] {
        assert_eq!(vet(&policy, address), Ok(()), "{address}");
    }
}

#[test]
fn the_operator_opens_and_closes_ranges() {
    let policy = AddressPolicy::new(
        nets(&["10.1.0.0/16", "::1/128", "127.0.0.0/8"]),
        nets(&["10.1.9.0/24", "8.8.8.0/24"]),
    );
    for open in ["10.1.0.1", "::ffff:10.1.0.1", "64:ff9b::10.1.0.1", "::1", "127.0.0.1", "8.8.4.4"]
    {
        assert_eq!(vet(&policy, open), Ok(()), "{open}");
    }
    for closed in ["10.1.9.1", "::ffff:10.1.9.1", "8.8.8.8", "64:ff9b::8.8.8.8"] {
        assert_eq!(vet(&policy, closed), Err(Forbidden::Denied), "{closed}");
    }
    assert!(vet(&policy, "10.2.0.1").is_err());
}

#[test]
fn what_an_address_carries_is_vetted_also_where_its_own_range_is_open() {
    let policy = AddressPolicy::new(
        nets(&["2002::/16", "2001::/32", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48"]),
        nets(&["8.8.4.0/24"]),
    );
    for open in [
        "2002:808:808::1",
        // The server is 8.8.8.8, the client 9.9.9.9 with all bits turned.
        "2001:0:808:808:0:0:f6f6:f6f6",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b:1::8.8.8.8",
    ] {
        assert_eq!(vet(&policy, open), Ok(()), "{open}");
    }
    for closed in [
        "2002:a00:1::1",
        "2002:808:404::1",
        "2001:0:a00:1:0:0:f6f6:f6f6",
        "2001:0:808:808:0:0:80ff:fffe",
        "2001:0:808:808:0:0:f7f7:fbfe",
        "::10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::192.168.0.1",
    ] {
        assert!(vet(&policy, closed).is_err(), "{closed}");
    }
}

#[test]
fn a_refusal_names_the_range_and_not_the_address() {
    let refusal = vet(&AddressPolicy::default(), "10.20.30.40").unwrap_err();
    assert_eq!(refusal.to_string(), "addresses in 10.0.0.0/8 (private use) are not allowed");
}
