//! Certificates, good ones and bad ones.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::habit::Certificate;
use crate::authority::Authority;

/// The name that good certificates are for. It leads nowhere by itself.
pub const NAME: &str = "zoo.example";

/// A server with a certificate of this kind, for these protocols.
pub(super) fn acceptor(authority: &Authority, kind: Certificate, alpn: &[&str]) -> TlsAcceptor {
    let names = match kind {
        Certificate::OtherName => vec!["elsewhere.example".to_owned()],
        _ => vec![NAME.to_owned(), "127.0.0.1".to_owned()],
    };
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, "an animal");
    match kind {
        Certificate::Expired => {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        Certificate::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
        Certificate::SelfSignedAuthority => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        _ => {}
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = match kind {
        Certificate::SelfSigned | Certificate::SelfSignedAuthority => {
            params.self_signed(&key).expect("a certificate")
        }
        Certificate::UnknownAuthority => {
            Authority::called("an authority of nowhere").sign(&params, &key)
        }
        _ => authority.sign(&params, &key),
    };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a key that fits its certificate");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}
