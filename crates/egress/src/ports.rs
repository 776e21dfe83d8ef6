//! Ports that belong to other protocols.

/// Whether nothing but another protocol than HTTP listens there.
///
/// A mail server that gets a POST takes its lines for commands, and lists the
/// address that they came from as that of a spammer. Browsers keep away from
/// the same ports for the same reason (Fetch Standard, "port blocking").
pub(crate) fn is_of_another_protocol(port: u16) -> bool {
    OTHERS.binary_search(&port).is_ok()
}

/// In order.
const OTHERS: [u16; 82] = [
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465,
    512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
    995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
    6669, 6679, 6697, 10080,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_and_shells_are_not_for_http() {
        assert!(OTHERS.is_sorted());
        for port in [22, 25, 465, 587, 6667, 10_080] {
            assert!(is_of_another_protocol(port), "{port}");
        }
        for port in [80, 443, 3_000, 5_000, 8_000, 8_080, 8_090, 8_443, 65_535] {
            assert!(!is_of_another_protocol(port), "{port}");
        }
    }
}
