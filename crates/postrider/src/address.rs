//! Where the operator's commands find the services, and how they prove who asks.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use chassis::Env;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::cli::Credentials;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection whose calls carry a token, if there is one.
pub(crate) type Connection = InterceptedService<Channel, Token>;

/// A service that an operator's command calls.
pub(crate) struct Service {
    name: &'static str,
    /// The setting that says where it listens.
    setting: &'static str,
    default: &'static str,
}

pub(crate) const ADMIN: Service =
    Service { name: "Admin", setting: "POSTRIDER_ADMIN_ADDR", default: "127.0.0.1:9092" };
pub(crate) const INGEST: Service =
    Service { name: "Ingest", setting: "POSTRIDER_INGEST_GRPC_ADDR", default: "127.0.0.1:9090" };

impl Service {
    /// At the address from the command line, or where the environment says that the service
    /// listens, or at its default.
    fn address(&self, given: Option<&str>) -> String {
        match given {
            Some(address) => address.to_owned(),
            None => Env::of_process().read(self.setting, self.default, ""),
        }
    }

    /// Connects to it.
    pub(crate) async fn connect(
        &self,
        given: Option<&str>,
        credentials: &Credentials,
    ) -> anyhow::Result<Connection> {
        connect(&self.address(given), self.setting, credentials).await
    }

    /// Why a call has failed, if something else answers at this address.
    pub(crate) fn is_elsewhere(
        &self,
        given: Option<&str>,
        status: &Status,
    ) -> Option<anyhow::Error> {
        let Self { name, setting, default } = self;
        let text = with_causes(status);
        let is_elsewhere = match status.code() {
            // Another gRPC service, or HTTP of any kind.
            Code::Unimplemented => true,
            Code::Cancelled | Code::Internal | Code::Unknown | Code::Unavailable => {
                NO_GRPC.iter().any(|no| text.contains(no))
            }
            _ => false,
        };
        is_elsewhere.then(|| {
            let address = self.address(given);
            anyhow!(
                "{address} does not answer as the {name} service does ({text}); if it is another \
                 door, --addr or {setting} say where the service is (usually {default})"
            )
        })
    }
}

/// How the library tells an answer that is not gRPC, or none at all: HTTP/1.1 servers hang up
/// on the first bytes of HTTP/2, sooner or later.
const NO_GRPC: [&str; 5] = [
    "compression flag",
    "protocol error",
    "grpc-status header missing",
    "operation was canceled",
    "transport error",
];

/// The words of a status and of all that has led to it.
pub(crate) fn with_causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn connect(
    address: &str,
    setting: &'static str,
    credentials: &Credentials,
) -> anyhow::Result<Connection> {
    // First, so that a wrong file is told without any service.
    let token = Token::read(credentials)?;
    let url = to_url(address, asks_for_tls(credentials));
    let mut endpoint = Endpoint::from_shared(url.clone())
        .with_context(|| format!("{address} is no address; expected http://host:port"))?
        .connect_timeout(CONNECT_TIMEOUT);
    if url.starts_with("https://") {
        endpoint = endpoint.tls_config(tls(credentials)?).context("cannot speak TLS")?;
    } else {
        ensure!(
            !asks_for_tls(credentials),
            "{url} is not spoken to over TLS, but certificates were given; \
             the address begins with https:// then"
        );
    }
    let channel = endpoint.connect().await.with_context(|| {
        format!("cannot reach {url}; is the service running there? --addr or {setting} say where")
    })?;
    Ok(InterceptedService::new(channel, token))
}

/// What stands in the header `authorization` of each call.
#[derive(Clone)]
pub(crate) struct Token(Option<MetadataValue<Ascii>>);

impl Token {
    /// From a file that holds a token, or that holds lines `name:token` as the
    /// services read them: the first one is taken.
    fn read(credentials: &Credentials) -> anyhow::Result<Self> {
        let Some(file) = &credentials.token_file else { return Ok(Self(None)) };
        let text = String::from_utf8(read(file)?)
            .with_context(|| format!("{} is no text", file.display()))?;
        let token =
            first_token(&text).with_context(|| format!("{} holds no token", file.display()))?;
        let mut header: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .with_context(|| format!("{} holds no token", file.display()))?;
        header.set_sensitive(true);
        Ok(Self(Some(header)))
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

fn first_token(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    // A token has no colon.
    Some(line.rsplit_once(':').map_or(line, |(_, token)| token))
}

fn asks_for_tls(credentials: &Credentials) -> bool {
    credentials.ca.is_some() || credentials.client_cert.is_some()
}

/// With the roots that were given, or else with those that Mozilla trusts.
fn tls(credentials: &Credentials) -> anyhow::Result<ClientTlsConfig> {
    let mut tls = ClientTlsConfig::new();
    tls = match &credentials.ca {
        Some(ca) => tls.ca_certificate(Certificate::from_pem(read(ca)?)),
        None => tls.with_enabled_roots(),
    };
    if let (Some(cert), Some(key)) = (&credentials.client_cert, &credentials.client_key) {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    if let Some(name) = &credentials.server_name {
        tls = tls.domain_name(name);
    }
    Ok(tls)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// A listen address becomes one that can be called.
fn to_url(address: &str, is_tls: bool) -> String {
    if address.contains("://") {
        return address.to_owned();
    }
    let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    format!("{}://{address}", if is_tls { "https" } else { "http" })
}

#[cfg(test)]
mod tests {
    use super::{first_token, to_url};

    #[test]
    fn listen_addresses_become_urls() {
        assert_eq!(to_url("127.0.0.1:9092", false), "http://127.0.0.1:9092");
        assert_eq!(to_url("0.0.0.0:9092", false), "http://127.0.0.1:9092");
        assert_eq!(to_url("[::]:9092", true), "https://[::1]:9092");
        assert_eq!(to_url("https://admin.internal:443", false), "https://admin.internal:443");
    }

    #[test]
    fn a_token_stands_alone_or_after_its_name() {
        assert_eq!(first_token("0123456789abcdef\n"), Some("0123456789abcdef"));
        assert_eq!(first_token("# mine\n\nops:0123456789abcdef\nold:x"), Some("0123456789abcdef"));
        assert_eq!(first_token("# nothing\n"), None);
    }
}
