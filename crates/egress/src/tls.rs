//! How connections are secured.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::client::EgressError;

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
}
