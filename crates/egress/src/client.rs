//! The one way out.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use reqwest::{Client as Http, Request, Response, redirect, retry};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use crate::address::AddressPolicy;
use crate::answer::{Answer, Attempt, Failure, FailureKind};
use crate::classify::{classify, has_hung_up, too_late};
use crate::connect::ConnectLimit;
use crate::names::{Found, Names};
use crate::progress::{Progress, Stage};
use crate::proxy::EgressProxy;
use crate::request::SignedRequest;
use crate::resolver::VettingResolver;
use crate::retry_after::retry_after;
use crate::target::{UrlError, loggable, loggable_url};
use crate::{snippet, tls};

/// A timer that fires so much later than it was set for tells of this process.
const WOKE_LATE: Duration = Duration::from_millis(250);
/// For what has come meanwhile to be read.
const CATCHES_UP: Duration = Duration::from_millis(250);

/// Most header fields of an answer; with all that proxies and frameworks add some have more than a
/// hundred. The head as a whole is bounded too, by the HTTP library, at about 400 KiB.
pub(crate) const MAX_ANSWER_HEADERS: usize = 250;

/// What the connection has to say itself. From anybody else it would move the
/// end of the request, or name another host.
pub(crate) const OF_THE_CONNECTION: [HeaderName; 8] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// How requests are made.
#[derive(Clone, Debug)]
pub struct EgressConfig {
    /// Special-use ranges that receivers may be in after all.
    pub allow: Vec<IpNet>,
    /// Ranges that receivers may never be in; stronger than `allow`.
    pub deny: Vec<IpNet>,
    /// For a name to be found, at most half of the total.
    pub dns_timeout: Duration,
    /// For the connection once the name is resolved, TLS included.
    pub connect_timeout: Duration,
    /// For everything, from the call to the last byte that is read.
    pub total_timeout: Duration,
    /// How much of an answer's body is read and kept, in bytes.
    pub max_response_body_bytes: usize,
    /// The `User-Agent` of every request.
    pub user_agent: String,
    /// Further root certificates, in PEM; may be empty.
    pub extra_ca_pem: Vec<u8>,
    /// Connections kept open to one host without a request on them.
    pub max_idle_per_host: usize,
    /// How long they are kept. With the number above it bounds what hosts that
    /// answer once and never again can hold.
    pub idle_timeout: Duration,
    /// The servers that names are looked up at; the system's where there are none.
    pub name_servers: Vec<SocketAddr>,
    /// The way out, where there is but one.
    pub proxy: Option<EgressProxy>,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            dns_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(10),
            max_response_body_bytes: 4 * 1_024,
            user_agent: concat!("postrider/", env!("CARGO_PKG_VERSION")).to_owned(),
            extra_ca_pem: Vec::new(),
            // Many customers' URLs share a host, and a connection that finds no room
            // here is made anew for the next request: a quarter of what one costs.
            max_idle_per_host: 512,
            // Below the five seconds after which common servers hang up: a
            // request on a connection that is just being closed fails.
            idle_timeout: Duration::from_secs(4),
            name_servers: Vec::new(),
            proxy: None,
        }
    }
}

/// Why there is no client for this configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EgressError {
    /// The extra root certificates cannot be read.
    #[error("the extra root certificates cannot be used: {0}")]
    ExtraCa(String),
    /// No resolver can be set up.
    #[error("names cannot be looked up: {0}")]
    Names(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The HTTP library refuses the configuration.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(String),
}

/// Calls receivers. Clones share one pool of connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    /// Keeps no connection, so that each request has a new one.
    unpooled: Http,
    policy: Arc<AddressPolicy>,
    resolver: VettingResolver,
    proxy: Option<EgressProxy>,
    total_timeout: Duration,
    max_response_body_bytes: usize,
}

impl Client {
    /// How long a request may take in all.
    pub fn total_timeout(&self) -> Duration {
        self.total_timeout
    }

    /// Makes a client of its own pool.
    ///
    /// # Errors
    /// When the configuration cannot work.
    pub fn new(config: EgressConfig) -> Result<Self, EgressError> {
        let names = Names::of_servers(&config.name_servers, names_within(&config));
        let names = names.map_err(|error| EgressError::Names(error.to_string()))?;
        Self::with_names(config, names)
    }

    /// The same, with another way to look names up. What it says is vetted all the same.
    ///
    /// # Errors
    /// When the configuration cannot work.
    pub fn with_look_up(
        config: EgressConfig,
        look_up: impl Fn(&str) -> Found + Send + Sync + 'static,
    ) -> Result<Self, EgressError> {
        let look_up = move |name: &str| -> Pin<Box<dyn Future<Output = Found> + Send>> {
            Box::pin(std::future::ready(look_up(name)))
        };
        let names = Names::of(Box::new(look_up), names_within(&config));
        Self::with_names(config, names)
    }

    fn with_names(config: EgressConfig, names: Names) -> Result<Self, EgressError> {
        let policy = Arc::new(AddressPolicy::new(config.allow.clone(), config.deny.clone()));
        let dns_timeout = names_within(&config);
        let resolver = VettingResolver::new(Arc::clone(&policy), names, config.proxy.clone());
        let tls = tls::receivers_config(&config.extra_ca_pem)?;
        let http = |max_idle_per_host| {
            #[expect(clippy::disallowed_methods, reason = "this is the one place")]
            let builder = Http::builder();
            let builder = match &config.proxy {
                Some(proxy) => builder.no_proxy().proxy(
                    reqwest::Proxy::all(proxy.url())
                        .map_err(|error| EgressError::Http(error.to_string()))?,
                ),
                None => builder.no_proxy(),
            };
            builder
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(resolver.clone())
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .referer(false)
                .user_agent(&config.user_agent)
                .connector_layer(ConnectLimit(config.connect_timeout))
                // Around ours, which says more; the library divides it among
                // the addresses of a name. It counts from before the name is
                // resolved.
                .connect_timeout(dns_timeout + config.connect_timeout)
                // As they are documented: there are receivers that compare them as they are.
                .http1_title_case_headers()
                // A field that is none, such as a warning of PHP, hides no status.
                .http1_ignore_invalid_headers_in_responses(true)
                .http1_max_headers(MAX_ANSWER_HEADERS)
                .pool_max_idle_per_host(max_idle_per_host)
                .pool_idle_timeout(config.idle_timeout)
                .build()
                .map_err(|error| EgressError::Http(error.to_string()))
        };
        Ok(Self {
            http: http(config.max_idle_per_host)?,
            unpooled: http(0)?,
            policy,
            resolver,
            proxy: config.proxy,
            total_timeout: config.total_timeout,
            max_response_body_bytes: config.max_response_body_bytes,
        })
    }

    /// Parses a URL and says whether it may be a receiver's, as far as that can
    /// be told without the network.
    ///
    /// # Errors
    /// See [`AddressPolicy::vet_url`].
    pub fn vet_url(&self, url: &str) -> Result<Url, UrlError> {
        let url = self.policy.vet_url(url)?;
        let is_proxy =
            |proxy: &EgressProxy| url.host_str().is_some_and(|host| proxy.has_name(host));
        if self.proxy.as_ref().is_some_and(is_proxy) {
            return Err(UrlError::Invalid("the URL leads to the operator's own proxy"));
        }
        Ok(url)
    }

    /// Looks the host of a URL up, without calling it: whether a request to it
    /// would find an address that it may go to.
    ///
    /// # Errors
    /// Why it would not. A name that leads where receivers may not be fails as one
    /// that does not exist: the difference would say which internal names there are.
    pub async fn look_up(&self, url: &str) -> Result<(), Failure> {
        match self.vet_url(url)?.host() {
            Some(Host::Domain(name)) => self.resolver.addresses(name).await.map(|_| ()),
            // Addresses have been vetted with the URL.
            Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => Ok(()),
        }
    }

    /// Posts a body, byte for byte, with its headers. A user name and a
    /// password in the URL become Basic authentication.
    ///
    /// Asks once. The same call again asks the receiver again. Where a connection that was
    /// kept open has been closed, the receiver is asked over a new one, and `sign` makes that
    /// request too, with a token of its own: the receiver may have read the first.
    ///
    /// # Errors
    /// That of `sign`.
    pub async fn post_signed<E>(
        &self,
        url: &str,
        sign: impl Fn() -> Result<SignedRequest, E>,
    ) -> Result<Attempt, E> {
        self.send(url, |url| {
            let SignedRequest { headers, body } = sign()?;
            let request = self.http.request(Method::POST, url).body(body).build();
            Ok(request.map(|mut request| {
                fill(request.headers_mut(), &headers);
                request
            }))
        })
        .await
    }

    /// The same of a request that is the same each time.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Attempt {
        let request = || SignedRequest { headers: headers.to_vec(), body: body.clone() };
        let Ok(attempt) = self.post_signed(url, || Ok::<_, Infallible>(request())).await;
        attempt
    }

    /// Gets `url`, as the check of an alert's URL does.
    pub async fn get(&self, url: &str) -> Attempt {
        let Ok(attempt) =
            self.send(url, |url| Ok::<_, Infallible>(self.http.get(url).build())).await;
        attempt
    }

    async fn send<E>(
        &self,
        url: &str,
        request: impl Fn(Url) -> Result<Result<Request, reqwest::Error>, E>,
    ) -> Result<Attempt, E> {
        let started = Instant::now();
        let deadline = started + self.total_timeout;
        // The library does not ask the resolver for addresses that stand in
        // the URL, so that these are vetted here.
        let (shown_url, answer) = match self.vet_url(url) {
            Ok(url) => (loggable_url(&url), self.ask(url, request, deadline).await?),
            Err(refused) => (loggable(url), Answer::Failed(refused.into())),
        };
        Ok(Attempt { answer, shown_url, duration: started.elapsed() })
    }

    async fn ask<E>(
        &self,
        url: Url,
        request: impl Fn(Url) -> Result<Result<Request, reqwest::Error>, E>,
        deadline: Instant,
    ) -> Result<Answer, E> {
        let unanswered = match self.ask_over(&self.http, request(url.clone())?, deadline).await {
            Ok(response) => return Ok(self.read(response, deadline).await),
            // The receiver has hung up on a connection that was kept open, most
            // often because it keeps them for a shorter time than we do, and
            // not on this request: it is asked over a new one, or it would fail
            // by chance and be charged for it. If it has read the request, it gets
            // another one, as the same attempt of the same delivery. Not when its time
            // is up: this process was frozen then, and somebody else may have asked since.
            Err(Unanswered { is_stale: true, .. })
                if Instant::now() < deadline || chassis::mutant("thaw_asks_again") =>
            {
                match self.ask_over(&self.unpooled, request(url)?, deadline).await {
                    Ok(response) => return Ok(self.read(response, deadline).await),
                    Err(unanswered) => unanswered,
                }
            }
            Err(unanswered) => unanswered,
        };
        Ok(Answer::Failed(self.or_the_proxys(unanswered.failure).await))
    }

    /// Whose fault it was that no connection came about in time.
    async fn or_the_proxys(&self, failure: Failure) -> Failure {
        match &self.proxy {
            Some(proxy) if failure.kind == FailureKind::ConnectTimeout && !proxy.greets().await => {
                Failure::new(FailureKind::Proxy, "the proxy on the way out does not answer")
            }
            _ => failure,
        }
    }

    async fn ask_over(
        &self,
        http: &Http,
        request: Result<Request, reqwest::Error>,
        deadline: Instant,
    ) -> Result<Response, Unanswered> {
        let request = request.map_err(|error| {
            let failure = classify(&error, Stage::Kept);
            Unanswered { is_stale: false, failure }
        })?;
        let progress = Progress::new();
        let mut asking = std::pin::pin!(progress.clone().of(http.execute(request)));
        let mut asked = timeout_at(deadline, &mut asking).await;
        let woke = Instant::now();
        if asked.is_err() && woke - deadline > WOKE_LATE && !chassis::mutant("thaw_is_charged") {
            // This process was frozen, or starved: what came meanwhile is here, unread.
            asked = timeout_at(woke + CATCHES_UP, &mut asking).await;
        }
        let stage = progress.stage();
        match asked {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Unanswered {
                is_stale: stage != Stage::Connected && has_hung_up(&error),
                failure: classify(&error, stage),
            }),
            Err(_) => {
                let failure = too_late(stage, self.total_timeout.as_millis());
                Err(Unanswered { is_stale: false, failure })
            }
        }
    }

    /// Reads what is kept of the body and no more. A connection whose answer
    /// was not read to its end is closed, not drained.
    async fn read(&self, mut response: Response, deadline: Instant) -> Answer {
        let mut bytes = Vec::new();
        while bytes.len() < self.max_response_body_bytes {
            // Too late or broken off: the status has been received, and it is
            // the answer.
            let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await else { break };
            let room = self.max_response_body_bytes - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Answer::Response {
            status: response.status().as_u16(),
            snippet: snippet::readable(&bytes, self.max_response_body_bytes),
            retry_after: retry_after(response.headers()),
        }
    }
}

/// A slow resolver must be found out before the whole time is up, which the receiver would be
/// charged with.
fn names_within(config: &EgressConfig) -> Duration {
    config.dns_timeout.min(config.total_timeout / 2)
}

/// Adds these headers, but for those that the connection has to say itself. Of one that
/// was there, for a password in the URL, theirs counts.
fn fill(request: &mut HeaderMap, headers: &[(HeaderName, HeaderValue)]) {
    if headers.iter().any(|(name, _)| *name == AUTHORIZATION) {
        request.remove(AUTHORIZATION);
    }
    request.reserve(headers.len());
    for (name, value) in headers {
        if !OF_THE_CONNECTION.contains(name) {
            request.append(name.clone(), value.clone());
        }
    }
}

/// A request that got no answer.
struct Unanswered {
    failure: Failure,
    /// Whether its connection had been kept open, and was not.
    is_stale: bool,
}

impl From<UrlError> for Failure {
    fn from(error: UrlError) -> Self {
        let kind = match error {
            UrlError::Invalid(_) => FailureKind::InvalidUrl,
            UrlError::Blocked(_) => FailureKind::Blocked,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests;
