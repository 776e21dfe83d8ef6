//! A small HTTP client: one connection a request, nothing retried, nothing followed.
//!
//! The product's own client is under test itself, and guards against receivers;
//! a test wants to see exactly what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::Issued;

/// A hanging server must not hang the test.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const BOUNDARY: &str = "testkit-boundary-6b1f4c02";

/// A request that is being put together.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    tls: Option<Arc<ClientConfig>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
}

/// A GET of this URL.
pub fn get(url: impl Into<String>) -> Request {
    Request::new(Method::GET, url)
}

/// A POST to this URL.
pub fn post(url: impl Into<String>) -> Request {
    Request::new(Method::POST, url)
}

/// A PUT to this URL.
pub fn put(url: impl Into<String>) -> Request {
    Request::new(Method::PUT, url)
}

/// A DELETE of this URL.
pub fn delete(url: impl Into<String>) -> Request {
    Request::new(Method::DELETE, url)
}

/// What a request goes over.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Request {
    /// A request with this method.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: Bytes::new(), tls: None }
    }

    /// With this header as well.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Over TLS, whatever the URL says: trusting this root, in PEM, and showing this
    /// certificate, if there is one.
    ///
    /// # Panics
    ///
    /// When these are no certificates.
    pub fn over_tls(self, root_pem: &str, shown: Option<&Issued>) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).expect("a certificate");
        roots.add(root).expect("a certificate of an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(Issued { cert_pem, key_pem }) => {
                let cert = CertificateDer::from_pem_slice(cert_pem.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes());
                config
                    .with_client_auth_cert(vec![cert.expect("a certificate")], key.expect("a key"))
                    .expect("a key that fits its certificate")
            }
        };
        Self { tls: Some(config.into()), ..self }
    }

    /// With HTTP basic authentication.
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{user}:{password}"));
        self.header(AUTHORIZATION.as_str(), &format!("Basic {credentials}"))
    }

    /// With a body of this type, byte for byte.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    /// With a JSON body.
    pub fn json(self, value: &serde_json::Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// With a URL-encoded form; a name may occur more than once.
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body("application/x-www-form-urlencoded", body)
    }

    /// With a multipart form; a name may occur more than once.
    pub fn multipart(self, fields: &[(&str, &str)]) -> Self {
        let mut body = String::new();
        for (name, value) in fields {
            body.push_str(&format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            ));
        }
        body.push_str(&format!("--{BOUNDARY}--\r\n"));
        self.body(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    /// Sends it and reads the whole answer, whatever its status.
    ///
    /// # Errors
    ///
    /// When there is no answer: the connection is refused or closed, or half a
    /// minute has passed.
    pub async fn send(self) -> Result<Response> {
        let what = format!("{} {}", self.method, self.url);
        timeout(ANSWER_WITHIN, self.exchange())
            .await
            .with_context(|| format!("{what}: no answer within {ANSWER_WITHIN:?}"))?
            .context(what)
    }

    async fn exchange(self) -> Result<Response> {
        let uri: Uri = self.url.parse()?;
        let host = uri.host().context("the URL has no host")?;
        let port = uri.port_u16().unwrap_or(80);
        let mut stream: Box<dyn Wire> = Box::new(TcpStream::connect((host, port)).await?);
        if let Some(config) = self.tls {
            let name = ServerName::try_from(host.to_owned())?;
            stream = Box::new(TlsConnector::from(config).connect(name, stream).await?);
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;

        let target = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(target)
            .header(HOST, format!("{host}:{port}"));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body))?;

        let answer = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            // Dropping the sender is what lets the connection end.
            drop(sender);
            anyhow::Ok(Response { status: head.status.as_u16(), headers: head.headers, body })
        };
        // The connection moves only while it is polled; its errors come out of
        // the answer as well.
        let (answer, _) = tokio::join!(answer, connection);
        answer
    }
}

impl Response {
    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("answer {} is no JSON ({error}): {}", self.status, self.text()),
        }
    }

    /// A header as text; `None` when it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// This answer, once its status has been checked.
    ///
    /// # Panics
    ///
    /// When the status is another one; the message has the body.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the body: {}", self.text());
        self
    }
}

/// Sends these bytes and returns all that comes back until the server closes,
/// for comparisons byte for byte. The request should say `Connection: close`.
///
/// # Errors
///
/// When the connection fails or stays open for half a minute.
pub async fn raw(address: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    timeout(ANSWER_WITHIN, exchange).await.context("the server did not close the connection")?
}
