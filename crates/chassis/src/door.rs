//! Doors: how many connections come in, and how long each may keep one waiting; for callers
//! inside also TLS, certificates of clients and tokens, each off unless its files are named.
//!
//! What must always hold:
//! - who may not come in is told so before anything of a request is read;
//! - files that change are read again while the process runs, and what is wrong
//!   in them changes nothing: what was right before stays;
//! - a client that is slow with its handshake holds up nobody else;
//! - a connection, a head, a body and an answer that is not read each have an end; and so
//!   has what all of them hold together;
//! - a name that was proven is never replaced by one that was merely given.

mod bodies;
mod files;
mod gate;
mod incoming;
mod messages;
mod names;
mod origin;
mod pace;
mod serve;
mod tls;
mod tokens;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tonic::{Request, Status};

use self::files::Kept;
use self::gate::Gate;
use self::tls::Tls;
use self::tokens::Tokens;
use crate::{Clock, Env, Tasks};

pub use self::gate::{Limits, network};
pub use self::incoming::{Connection, Incoming};
pub use self::messages::{Counting, Messages};
pub use self::origin::is_from_same_origin;

/// How often files are looked at: they are few and small. Kubernetes itself takes
/// about a minute to bring a Secret that has changed to a pod.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The names of a door's settings.
#[derive(Debug)]
pub struct DoorSettings {
    /// What metrics and logs call it.
    door: &'static str,
    cert: &'static str,
    key: &'static str,
    client_ca: &'static str,
    tokens: &'static str,
}

/// The door at which events are handed over.
pub static INGEST: DoorSettings = DoorSettings {
    door: "ingest",
    cert: "POSTRIDER_INGEST_TLS_CERT",
    key: "POSTRIDER_INGEST_TLS_KEY",
    client_ca: "POSTRIDER_INGEST_CLIENT_CA",
    tokens: "POSTRIDER_INGEST_TOKENS_FILE",
};

/// The door of the service `Admin`.
pub static ADMIN: DoorSettings = DoorSettings {
    door: "admin",
    cert: "POSTRIDER_ADMIN_TLS_CERT",
    key: "POSTRIDER_ADMIN_TLS_KEY",
    client_ca: "POSTRIDER_ADMIN_CLIENT_CA",
    tokens: "POSTRIDER_ADMIN_TOKENS_FILE",
};

/// What is spoken behind a door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speaks {
    /// HTTP/2, as gRPC does.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// Who may come in. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    name: &'static str,
    limits: Limits,
    gate: Gate,
    tls: Option<Kept<Tls>>,
    tokens: Option<Kept<Tokens>>,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// What its certificate calls it, where one is asked for.
    pub name: Option<Arc<str>>,
}

/// Who calls: the name of the token, or else that of the certificate. `None`
/// where the door asks for neither.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Caller(pub Option<Arc<str>>);

/// A call without a token that is taken here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unauthenticated {
    /// It has none, or something else in its place.
    #[error("a token is needed here: send it in the header `authorization: Bearer TOKEN`")]
    NoToken,
    /// It has one that is not known.
    #[error(
        "the token in the header `authorization` is none of those that are taken here; it may have been replaced"
    )]
    WrongToken,
}

impl Unauthenticated {
    /// For metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
        }
    }
}

impl From<Unauthenticated> for Status {
    fn from(error: Unauthenticated) -> Self {
        Self::unauthenticated(error.to_string())
    }
}

impl Door {
    /// A door for everybody, with the limits that the settings say.
    pub fn open(env: &mut Env, name: &'static str) -> Self {
        Self::with_limits(name, Limits::read(env))
    }

    /// A door for everybody, with these limits.
    pub fn with_limits(name: &'static str, limits: Limits) -> Self {
        let gate = Gate::new(name, &limits);
        Self(Arc::new(Inner { name, limits, gate, tls: None, tokens: None }))
    }

    /// Reads the settings of a door, and the files that they name.
    pub fn read(env: &mut Env, settings: &'static DoorSettings) -> Self {
        let cert = env.optional(
            settings.cert,
            "Path of the certificate that is shown to callers, in PEM, with those between it and the root. TLS alone is spoken then. Read again when it changes.",
            path,
        );
        let key = env.optional(
            settings.key,
            "Path of that certificate's private key, in PEM. Read again when it changes.",
            path,
        );
        let client_ca = env.optional(
            settings.client_ca,
            "Path of roots, in PEM: callers then have to show a certificate from one of them. Read again when it changes.",
            path,
        );
        let tokens = env.optional(
            settings.tokens,
            "Path of a file with a line `name:token` for each token that is taken: callers then have to send one. Read again when it changes.",
            path,
        );
        env.check(cert.is_some() == key.is_some(), || {
            format!("{} and {} belong together: set both or neither", settings.cert, settings.key)
        });
        env.check(client_ca.is_none() || cert.is_some(), || {
            format!(
                "{}: certificates of callers need TLS; set {}",
                settings.client_ca, settings.cert
            )
        });
        let tls = cert.zip(key).and_then(|(cert, key)| {
            let mut files = vec![(settings.cert, cert), (settings.key, key)];
            files.extend(client_ca.map(|client_ca| (settings.client_ca, client_ca)));
            noted(env, Kept::open(files, tls::make))
        });
        let tokens = tokens
            .and_then(|file| noted(env, Kept::open(vec![(settings.tokens, file)], tokens::make)));
        let (name, limits) = (settings.door, Limits::read(env));
        let gate = Gate::new(name, &limits);
        Self(Arc::new(Inner { name, limits, gate, tls, tokens }))
    }

    /// Looks after the files until the process ends, and says what is not secured.
    pub fn keep(&self, clock: Clock, tasks: &Tasks) {
        let door = self.name();
        let Inner { tls, tokens, .. } = &*self.0;
        if tls.is_none() && tokens.is_some() {
            tracing::warn!(door, "tokens come in the clear here: there is no TLS at this door");
        }
        if tls.is_none() && tokens.is_none() {
            return;
        }
        let this = self.clone();
        tasks.background(async move {
            loop {
                clock.sleep(LOOK_EVERY).await;
                // A disk that hangs is to hang a thread that nobody needs.
                let looked = this.clone();
                let _ = tokio::task::spawn_blocking(move || looked.look()).await;
            }
        });
    }

    /// Reads the files again, if they have changed. What is wrong is logged, and
    /// changes nothing.
    pub fn look(&self) {
        let Inner { name: door, tls, tokens, .. } = &*self.0;
        let looked = [
            ("certificates", tls.as_ref().and_then(Kept::look)),
            ("tokens", tokens.as_ref().and_then(Kept::look)),
        ];
        for (what, looked) in looked {
            match looked {
                None => {}
                Some(Ok(())) => {
                    tracing::info!(door, what, "files have changed and are in use");
                }
                Some(Err(error)) => tracing::error!(
                    door,
                    what,
                    error,
                    "files have changed and cannot be used; those from before stay"
                ),
            }
        }
    }

    /// Its name in metrics and logs.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Whether TLS is spoken here.
    pub fn is_tls(&self) -> bool {
        self.0.tls.is_some()
    }

    /// The connections of a listener, secured as this door is.
    pub fn incoming(&self, listener: TcpListener, speaks: Speaks, clock: Clock) -> Incoming {
        Incoming::new(self.clone(), listener, speaks, clock)
    }

    /// Says who calls, given the header `authorization`.
    ///
    /// # Errors
    /// When tokens are asked for and this is none of them.
    pub fn admit(
        &self,
        peer: Option<&Peer>,
        authorization: Option<&str>,
    ) -> Result<Caller, Unauthenticated> {
        let Some(tokens) = &self.0.tokens else {
            return Ok(Caller(peer.and_then(|peer| peer.name.clone())));
        };
        let named = match authorization.map(bearer) {
            None | Some(None) => Err(Unauthenticated::NoToken),
            Some(Some(token)) => tokens.get().name_of(token).ok_or(Unauthenticated::WrongToken),
        };
        named.map(|name| Caller(Some(name))).inspect_err(|error| self.refused(error.as_str()))
    }

    /// Lets calls into a gRPC service, with the [`Caller`] in their extensions.
    pub fn interceptor(
        &self,
    ) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone + use<> {
        let door = self.clone();
        move |mut request| {
            let header = request.metadata().get("authorization");
            let header = header.and_then(|header| header.to_str().ok());
            let caller = door.admit(request.extensions().get(), header)?;
            request.extensions_mut().insert(caller);
            Ok(request)
        }
    }

    /// How to speak TLS now; `None` where it is not spoken.
    fn tls(&self, speaks: Speaks) -> Option<Arc<ServerConfig>> {
        self.0.tls.as_ref().map(|tls| tls.get().config(speaks))
    }

    fn refused(&self, why: &'static str) {
        let door = self.name();
        metrics::counter!("postrider_callers_refused_total", "door" => door, "why" => why)
            .increment(1);
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.0.name).finish()
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("expected the path of a file".into()) } else { Ok(text.into()) }
}

fn noted<T>(env: &mut Env, opened: Result<T, String>) -> Option<T> {
    opened.map_err(|problem| env.check(false, || problem)).ok()
}

/// The token in a header `Bearer TOKEN` (RFC 6750, 2.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests;
