//! Addresses that mail is sent to.

use egress::mail::MailAddress;

use crate::bounds::within;

/// Memory, in bytes for each of the text's.
const MULTIPLE: usize = 64;
/// The length to which a relay's reply is cut before addresses are looked for in it, in characters.
const REPLY_CHARS: usize = 300;

/// A line with an address, then what a relay said of it. An address that is taken is taken again
/// as it was read, ends no command and no header, and is in no text in which it was masked.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (line, reply) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(address) = within(line.len(), MULTIPLE, || line.parse::<MailAddress>()) else { return };
    assert_eq!(address.as_str().parse(), Ok(address.clone()), "{line:?}");
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&byte);
    assert!(address.as_str().bytes().all(fits), "{line:?}: {address}");
    let (local, domain) = address.as_str().rsplit_once('@').unwrap_or_default();
    assert!(!local.is_empty() && !local.contains('@') && domain.contains('.'), "{address}");
    assert!(address.as_str().len() <= 254, "{address}");
    let is_like_a_mask = local.len() < 3 || local.contains('*');
    let reply: String = reply.chars().take(REPLY_CHARS).collect();
    let said = format!("{reply}{address}{reply}");
    let masked = within(said.len(), 16, || address.masked_in(&said)).to_ascii_lowercase();
    let is_hidden = !masked.contains(&address.as_str().to_ascii_lowercase());
    assert!(is_hidden || is_like_a_mask, "{masked}");
}
