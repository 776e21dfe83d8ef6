//! Where the operator's commands find the services.

use std::time::Duration;

use anyhow::Context as _;
use chassis::Env;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a service: at the address from the command line, or where the
/// environment says that the service listens, or at its default.
pub(crate) async fn connect(
    given: Option<&str>,
    setting: &'static str,
    default: &'static str,
) -> anyhow::Result<Channel> {
    let address = match given {
        Some(address) => address.to_owned(),
        None => Env::of_process().read(setting, default, ""),
    };
    let url = to_url(&address);
    let endpoint = Endpoint::from_shared(url.clone())
        .with_context(|| format!("{address} is no address; expected http://host:port"))?;
    endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await.with_context(|| {
        format!("cannot reach {url}; is the service running there? --addr or {setting} say where")
    })
}

/// A listen address becomes one that can be called.
fn to_url(address: &str) -> String {
    if address.contains("://") {
        return address.to_owned();
    }
    let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use super::to_url;

    #[test]
    fn listen_addresses_become_urls() {
        assert_eq!(to_url("127.0.0.1:9092"), "http://127.0.0.1:9092");
        assert_eq!(to_url("0.0.0.0:9092"), "http://127.0.0.1:9092");
        assert_eq!(to_url("[::]:9092"), "http://[::1]:9092");
        assert_eq!(to_url("https://admin.internal:443"), "https://admin.internal:443");
    }
}
