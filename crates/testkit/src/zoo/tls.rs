//! Certificates, good ones and bad ones.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate as Signed, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::habit::Certificate;

/// The name that good certificates are for. It leads nowhere by itself.
pub const NAME: &str = "zoo.example";

pub(super) struct Authority {
    certificate: Signed,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::called("the zoo's authority")
    }
}

impl Authority {
    fn called(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate of an authority");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(super) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A server with a certificate of this kind, for these protocols.
    pub(super) fn acceptor(&self, kind: Certificate, alpn: &[&str]) -> TlsAcceptor {
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
            Certificate::SelfSigned | Certificate::SelfSignedAuthority => params.self_signed(&key),
            Certificate::UnknownAuthority => {
                params.signed_by(&key, &Self::called("an authority of nowhere").issuer)
            }
            _ => params.signed_by(&key, &self.issuer),
        };
        let certificate = certificate.expect("a certificate");
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
}
