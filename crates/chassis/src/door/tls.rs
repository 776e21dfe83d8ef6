//! Certificates: ours, and the roots of callers'.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Error as TlsError, InconsistentKeys, RootCertStore, ServerConfig};

use super::Speaks;

/// How TLS is spoken, with the certificates of one moment.
pub(super) struct Tls {
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

impl Tls {
    pub(super) fn config(&self, speaks: Speaks) -> Arc<ServerConfig> {
        match speaks {
            Speaks::Grpc => Arc::clone(&self.grpc),
            Speaks::Http => Arc::clone(&self.http),
        }
    }
}

/// From the certificate, its key, and the roots of callers, if they need one.
pub(super) fn make(files: &[(&'static str, Vec<u8>)]) -> Result<Tls, String> {
    let [(cert_setting, cert), (key_setting, key), client_ca @ ..] = files else {
        return Err("a certificate has a key".into());
    };
    let chain = certificates(cert_setting, cert)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| format!("{key_setting}: expected a private key in PEM: {error}"))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match client_ca {
        [(setting, pem), ..] => {
            let mut roots = RootCertStore::empty();
            for root in certificates(setting, pem)? {
                roots.add(root).map_err(|error| format!("{setting}: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = verifier.build().map_err(|error| format!("{setting}: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
        [] => builder.with_no_client_auth(),
    };
    let mut grpc = builder.with_single_cert(chain, key).map_err(|error| match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("{key_setting}: this key is not that of the certificate in {cert_setting}")
        }
        error => format!("{cert_setting}, {key_setting}: {error}"),
    })?;
    // Callers keep their connections. Each new one is judged by the certificates of
    // its own moment, rather than by those of an earlier session.
    grpc.session_storage = Arc::new(NoServerSessionStorage {});
    grpc.send_tls13_tickets = 0;
    let mut http = grpc.clone();
    grpc.alpn_protocols = vec![b"h2".to_vec()];
    http.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { grpc: grpc.into(), http: http.into() })
}

fn certificates(setting: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{setting}: expected certificates in PEM, found none")),
        Err(error) => Err(format!("{setting}: expected certificates in PEM: {error}")),
    }
}
