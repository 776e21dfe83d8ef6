//! What a certificate calls its holder.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// X.520, `id-at-commonName`: 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;

/// The subject's common name; or else the first DNS name, or the first URI, as
/// SPIFFE has it, among the alternative names. Only to be asked of a certificate
/// that was verified.
pub(super) fn name(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    common_name(certificate.subject())
        .or_else(|| certificate.valid_dns_names().next())
        .or_else(|| certificate.valid_uri_names().next())
        .map(Arc::from)
}

/// RFC 5280, 4.1.2.4: a sequence of sets of sequences of an object id and a value.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    while let Some((SET, mut set, rest)) = element(subject) {
        while let Some((SEQUENCE, attribute, others)) = element(set) {
            if let Some((OBJECT_ID, id, value)) = element(attribute)
                && id == COMMON_NAME
                && let Some((UTF8_STRING | PRINTABLE_STRING | IA5_STRING, name, _)) = element(value)
            {
                return std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
            }
            set = others;
        }
        subject = rest;
    }
    None
}

/// The first element of DER: its tag, its content, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // Names are short: one or two bytes tell their length.
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest
            .split_first_chunk()
            .map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn named(change: impl FnOnce(&mut CertificateParams)) -> Option<String> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        name(certificate.der()).map(|name| name.to_string())
    }

    #[test]
    fn the_common_name_comes_before_alternative_ones() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        let long = "x".repeat(200);
        for common in ["mail-pipeline", "Überwachung", long.as_str()] {
            let found = named(|params| {
                params.distinguished_name.push(DnType::OrganizationName, "Example");
                params.distinguished_name.push(DnType::CommonName, common);
                params.subject_alt_names = vec![dns("mail.internal")];
            });
            assert_eq!(found.as_deref(), Some(common));
        }
        let found = named(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Example");
            params.subject_alt_names =
                vec![uri("spiffe://x/y"), dns("a.internal"), dns("b.internal")];
        });
        assert_eq!(found.as_deref(), Some("a.internal"));
        let found = named(|params| params.subject_alt_names = vec![uri("spiffe://example/mail")]);
        assert_eq!(found.as_deref(), Some("spiffe://example/mail"));
        assert_eq!(named(|_| {}), None);
    }

    #[test]
    fn what_is_cut_short_has_no_name() {
        let whole = [SET, 11, SEQUENCE, 9, OBJECT_ID, 3, 0x55, 4, 3, UTF8_STRING, 2, b'm', b'x'];
        assert_eq!(common_name(&whole), Some("mx"));
        for end in 0..whole.len() {
            assert_eq!(common_name(&whole[..end]), None, "{end}");
        }
    }
}
