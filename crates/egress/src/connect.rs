//! A layer around the library's connector: its time limit, and what it waits for.

use std::error::Error;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tower::{Layer, Service};

use crate::answer::{Failure, FailureKind};
use crate::progress::{Progress, Stage};

/// Limits connections to a time that begins when the name is resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectLimit(pub(crate) Duration);

impl<S> Layer<S> for ConnectLimit {
    type Service = Limited<S>;

    fn layer(&self, connector: S) -> Limited<S> {
        Limited { connector, limit: self.0 }
    }
}

/// A connector with a limit.
#[derive(Clone, Debug)]
pub(crate) struct Limited<S> {
    connector: S,
    limit: Duration,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<S, R> Service<R> for Limited<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let progress = Progress::of_task();
        progress.reach(Stage::Connecting(Instant::now()));
        let connecting = self.connector.call(request);
        let limit = self.limit;
        Box::pin(progress.clone().of(async move {
            let connection = within(limit, connecting, &progress).await?;
            progress.reach(Stage::Connected);
            Ok(connection)
        }))
    }
}

/// Between two looks at what a connection waits for.
const LEAST: Duration = Duration::from_millis(10);

async fn within<T>(
    limit: Duration,
    connecting: impl Future<Output = Result<T, BoxError>>,
    progress: &Progress,
) -> Result<T, BoxError> {
    let mut connecting = pin!(connecting);
    let mut deadline = Instant::now() + limit;
    loop {
        if let Ok(done) = timeout_at(deadline, connecting.as_mut()).await {
            return done;
        }
        // The resolver has a limit of its own and is not the receiver's: what it
        // took is not part of this time.
        let (since, kind, what) = match progress.stage() {
            Stage::Connecting(since) => (since, FailureKind::ConnectTimeout, "no connection"),
            Stage::Securing(since) => (since, FailureKind::TlsTimeout, "no TLS connection"),
            Stage::Resolving | Stage::Kept | Stage::Connected => {
                deadline = Instant::now() + limit.max(LEAST);
                continue;
            }
        };
        deadline = since + limit;
        if deadline <= Instant::now() {
            let detail = format!("{what} within {} ms", limit.as_millis());
            return Err(Failure::new(kind, detail).into());
        }
    }
}
