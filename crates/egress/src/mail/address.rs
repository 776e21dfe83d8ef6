//! Addresses of people, and whom mail is from.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use lettre::Address;
use lettre::message::Mailbox;
use url::Host;

/// RFC 5321, 4.5.3.1, with room for the angle brackets.
const MAX_ADDRESS_BYTES: usize = 254;
const MAX_LOCAL_BYTES: usize = 64;
const MAX_DOMAIN_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Longest name of a sender, in characters.
const MAX_NAME_CHARS: usize = 100;

/// Why a text is no address that mail can be sent to.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(&'static str);

/// An address that mail can be sent to, such as `ops@shop.example`.
///
/// It holds nothing that could end a command or a header: no space, no quote,
/// no bracket, no control character. A domain in another script becomes its
/// ASCII form (RFC 5890); the part before the `@` must be ASCII, because most
/// relays take nothing else. Neither addresses of machines nor names without a
/// dot are taken: a customer has no say in where our relay connects to, and no
/// mailbox on it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MailAddress(Address);

impl MailAddress {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// The address as those know it again who know it: `o*s@shop.example`.
    pub fn masked(&self) -> String {
        let (local, domain) = (self.0.user(), self.0.domain());
        // Addresses have ASCII only here.
        match local.len() {
            0..3 => format!("{}*@{domain}", local.get(..1).unwrap_or_default()),
            length => {
                let first = local.get(..1).unwrap_or_default();
                let last = local.get(length - 1..).unwrap_or_default();
                format!("{first}{}{last}@{domain}", "*".repeat(length - 2))
            }
        }
    }

    /// A text in which this address, however it is capitalised, is masked.
    pub fn masked_in(&self, text: &str) -> String {
        let (address, mask) = (self.as_str(), self.masked());
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        // Both are the same text but for ASCII letters, so that places in one
        // are places in the other.
        let find = |text: &str| text.to_ascii_lowercase().find(&address.to_ascii_lowercase());
        while let Some(at) = find(rest) {
            masked.push_str(&rest[..at]);
            masked.push_str(&mask);
            rest = &rest[at + address.len()..];
        }
        masked + rest
    }

    pub(super) fn domain(&self) -> &str {
        self.0.domain()
    }

    pub(super) fn inner(&self) -> &Address {
        &self.0
    }
}

impl Display for MailAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MailAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        const FORM: AddressError = AddressError("this is not an address such as name@example.com");
        let (local, domain) = text.rsplit_once('@').ok_or(FORM)?;
        if !local.is_ascii() {
            return Err(AddressError("the part before the @ must be plain ASCII"));
        }
        // RFC 5321, 4.1.2: a dot-string. Quoted strings are allowed there, and
        // hardly anywhere else.
        let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atom_byte);
        if local.len() > MAX_LOCAL_BYTES || !local.split('.').all(is_atom) {
            return Err(FORM);
        }
        let domain = domain_in_ascii(domain)?;
        if local.len() + 1 + domain.len() > MAX_ADDRESS_BYTES {
            return Err(FORM);
        }
        Address::new(local, domain).map(Self).map_err(|_| FORM)
    }
}

/// RFC 5322, 3.2.3.
fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn domain_in_ascii(text: &str) -> Result<String, AddressError> {
    const WRONG: AddressError = AddressError("the part after the @ is not a domain name");
    // The parser would undo percent-encoding, and take the brackets of an address.
    if text.contains(['%', '[']) {
        return Err(WRONG);
    }
    let Ok(Host::Domain(domain)) = Host::parse(text) else { return Err(WRONG) };
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = domain.len() <= MAX_DOMAIN_BYTES && domain.split('.').all(is_label);
    if is_name && domain.contains('.') { Ok(domain) } else { Err(WRONG) }
}

/// Whom mail is from: an address, with a name or without, such as
/// `Postrider <alerts@example.net>`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sender {
    name: Option<String>,
    address: MailAddress,
}

impl Sender {
    /// The address alone.
    pub fn address(&self) -> &MailAddress {
        &self.address
    }

    pub(super) fn mailbox(&self) -> Mailbox {
        Mailbox::new(self.name.clone(), self.address.0.clone())
    }
}

impl FromStr for Sender {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.rsplit_once('<'))
        else {
            return Ok(Self { name: None, address: text.parse()? });
        };
        let name = name.trim();
        let name = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(name);
        // Quotes are put around it where they are needed.
        let is_plain = |c: char| !c.is_control() && !matches!(c, '"' | '\\' | '<' | '>');
        if !name.chars().all(is_plain) || name.chars().count() > MAX_NAME_CHARS {
            return Err(AddressError("the sender's name must be one short line without quotes"));
        }
        let name = (!name.is_empty()).then(|| name.to_owned());
        let sender = Self { name, address: address.parse()? };
        // Whoever composes a message reads it back.
        match sender.mailbox().to_string().parse::<Mailbox>() {
            Ok(_) => Ok(sender),
            Err(_) => Err(AddressError("the sender's name cannot stand in a mail")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_people_are_taken() {
        for (text, expected) in [
            ("ops@shop.example", "ops@shop.example"),
            ("First.Last+tag@Shop.Example", "First.Last+tag@shop.example"),
            ("o'neil@a-b.example", "o'neil@a-b.example"),
            ("ops@bücher.example", "ops@xn--bcher-kva.example"),
        ] {
            assert_eq!(text.parse::<MailAddress>().unwrap().as_str(), expected);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long_local = format!("{}@shop.example", "a".repeat(65));
        let long_domain = format!("a@{}.example", "a".repeat(64));
        let long = format!("a@{}", "a.".repeat(126) + "example");
        for text in [
            "",
            "ops",
            "@shop.example",
            "ops@",
            "ops@shop",
            "ops@localhost",
            "ops@shop.example.",
            "ops@.example",
            "ops@shop..example",
            "ops@-shop.example",
            "ops@192.0.2.1",
            "ops@[192.0.2.1]",
            "ops@[IPv6:::1]",
            "ops@0x7f.1",
            "ops@sh%6Fp.example",
            "ops@shop_a.example",
            ".ops@shop.example",
            "o..ps@shop.example",
            "\"ops\"@shop.example",
            "o ps@shop.example",
            " ops@shop.example",
            "ops@shop.example ",
            "ops@shop.example\r\nRCPT TO:<other@shop.example>",
            "ops\r\n@shop.example",
            "ops@shop.example>\u{0}",
            "ops>@shop.example",
            "a,b@shop.example",
            "ops@shop.example,other@shop.example",
            "ops@shop.example@shop.example",
            "Ops <ops@shop.example>",
            "öps@shop.example",
            &long_local,
            &long_domain,
            &long,
        ] {
            assert!(text.parse::<MailAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_masked_address_is_known_to_those_who_know_it() {
        for (text, expected) in [
            ("a@shop.example", "a*@shop.example"),
            ("ab@shop.example", "a*@shop.example"),
            ("ops@shop.example", "o*s@shop.example"),
            ("first.last@shop.example", "f********t@shop.example"),
        ] {
            let address: MailAddress = text.parse().unwrap();
            assert_eq!(address.masked(), expected);
            let reply = format!("5.1.1 <{text}>: {} is unknown, ü", text.to_ascii_uppercase());
            let masked = format!("5.1.1 <{expected}>: {expected} is unknown, ü");
            assert_eq!(address.masked_in(&reply), masked);
        }
    }

    #[test]
    fn a_sender_may_have_a_name() {
        let parse = |text: &str| text.parse::<Sender>();
        assert_eq!(parse("alerts@example.net").unwrap().name, None);
        assert_eq!(parse("<alerts@example.net>").unwrap().name, None);
        for text in ["Post Rider <alerts@example.net>", "\"Post Rider\" <alerts@example.net>"] {
            let sender = parse(text).unwrap();
            assert_eq!(sender.name.as_deref(), Some("Post Rider"));
            assert_eq!(sender.address().as_str(), "alerts@example.net");
        }
        for text in ["Postrider", "A\r\nBcc: x <a@b.example>", "A\" <a@b.example>", "A <a>"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
