//! How connections are secured.

use std::sync::Arc;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error as TlsError, NamedGroup, RootCertStore};

use crate::client::EgressError;
use crate::progress;

/// Servers whose TLS sessions are remembered, to be resumed: as many as by default.
const SESSIONS: usize = 256;

/// TLS 1.2 and 1.3 with the roots that Mozilla trusts and those of the operator.
///
/// The roots are compiled in, so that an image needs no certificate store and
/// every replica trusts the same. The provider is given to this configuration
/// alone: nothing depends on which part of the process was started first.
pub(crate) fn client_config(extra_ca_pem: &[u8]) -> Result<ClientConfig, EgressError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(extra_ca_pem) {
        let certificate = certificate.map_err(|error| EgressError::ExtraCa(error.to_string()))?;
        roots.add(certificate).map_err(|error| EgressError::ExtraCa(error.to_string()))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| EgressError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The same for receivers.
pub(crate) fn receivers_config(extra_ca_pem: &[u8]) -> Result<ClientConfig, EgressError> {
    let mut config = client_config(extra_ca_pem)?;
    // One that has only HTTP/2 refuses here, in words, rather than later in
    // bytes that nobody understands.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let sessions = Sessions(ClientSessionMemoryCache::new(SESSIONS));
    config.resumption = Resumption::store(Arc::new(sessions));
    Ok(config)
}

/// The usual store of sessions, which notes that a handshake begins: the store
/// is asked for a hint before the first byte goes out. Nothing else of the
/// library tells when the connection stands and TLS begins.
#[derive(Debug)]
struct Sessions(ClientSessionMemoryCache);

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        progress::securing();
        self.0.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server, session);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.0.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(server, ticket);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(server)
    }
}

/// An error of TLS, for people who run the other end.
pub(crate) fn detail(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(why) => certificate_detail(why).to_owned(),
        TlsError::InvalidMessage(_) => "what came back is not TLS".to_owned(),
        TlsError::PeerIncompatible(_) => {
            "there is no version or cipher of TLS that both sides have (1.2 and 1.3 here)"
                .to_owned()
        }
        TlsError::AlertReceived(alert) => format!("TLS was refused with the alert {alert:?}"),
        other => format!("TLS failed: {other}"),
    }
}

fn certificate_detail(error: &CertificateError) -> &'static str {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "the certificate has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "the certificate is not valid yet",
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "the certificate is for another name"
        }
        E::UnknownIssuer => {
            "the certificate is not from an authority that is trusted here, or the one between is missing"
        }
        E::Revoked => "the certificate has been revoked",
        E::BadSignature => "the certificate's signature is wrong",
        E::BadEncoding => "the certificate cannot be read",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "the certificate is not for servers",
        // Most often one that has signed itself, as the chain would be longer
        // otherwise; the library has no name of its own for it.
        _ => "the certificate cannot be used, as one that has signed itself",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_roots_are_certificates_in_pem() {
        let certificate = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
        assert!(client_config(b"").is_ok());
        assert!(client_config(certificate.cert.pem().as_bytes()).is_ok());
        let broken = certificate.cert.pem().replace("MII", "AAA");
        assert!(matches!(client_config(broken.as_bytes()), Err(EgressError::ExtraCa(_))));
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_in_a_few_words() {
        for (error, words) in [
            (CertificateError::Expired, "expired"),
            (CertificateError::NotValidForName, "another name"),
            (CertificateError::UnknownIssuer, "not from an authority"),
        ] {
            let detail = detail(&TlsError::InvalidCertificate(error));
            assert!(detail.contains(words), "{detail}");
        }
    }
}
