//! A certificate for a mailbox.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

/// What a mailbox on 127.0.0.1 secures its connections with, and the root that
/// vouches for it, in PEM.
///
/// # Panics
///
/// When no key can be made.
pub fn loopback_certificate() -> (TlsAcceptor, String) {
    let names = vec!["127.0.0.1".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a key that fits its certificate");
    (TlsAcceptor::from(Arc::new(config)), certified.cert.pem())
}
