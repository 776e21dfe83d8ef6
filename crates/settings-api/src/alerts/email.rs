//! Addresses of mailboxes.

use crate::domain_name;

/// Mailboxes that one alert setting can have.
pub(super) const MAX_ADDRESSES: usize = 50;

/// Whether mail can be addressed to this: RFC 5321's mailbox without quoted
/// local parts and address literals, at most 254 bytes.
pub(super) fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    text.len() <= 254
        && local.len() <= 64
        && local.split('.').all(atom)
        && domain.is_ascii()
        && domain_name::canonical(domain).is_some()
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn addresses_are_told_from_what_is_none() {
        for address in ["ops@shop.example", "a.b+c@xn--mller-kva.example", "o'neil@localhost"] {
            assert!(is_address(address), "{address}");
        }
        let long = format!("{}@shop.example", "a".repeat(65));
        for wrong in [
            "",
            "ops",
            "@shop.example",
            "ops@",
            "a b@shop.example",
            "a@b@shop.example",
            ".a@b.example",
            "a..b@c.example",
            "ops@shop..example",
            "ops@192.0.2.1",
            "ops@shop.example\r\nBcc: x@y.example",
            "Ops <ops@shop.example>",
            long.as_str(),
        ] {
            assert!(!is_address(wrong), "{wrong:?}");
        }
    }
}
