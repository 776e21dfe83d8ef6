//! The two doors.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::door::Speaks;
use chassis::{Door, Readiness, Tasks, ops};
use store::StoreError;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;

use crate::{Beside, READINESS, SettingsApi, SettingsApiConfig, admin, routes};

/// Of all requests that are being read or worked on, together.
const BODY_BYTES: usize = 64 * 1_024 * 1_024;
/// Of all messages of operators that are being read or worked on: each has a few kilobytes.
const ADMIN_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// How long to wait for a database that is not there yet.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// Both doors, bound and not serving yet.
pub struct Server {
    http: Option<TcpListener>,
    door: Door,
    admin: TcpListener,
    admin_door: Door,
    beside: Beside,
}

impl Server {
    /// Binds both listeners.
    ///
    /// # Errors
    /// When a port is taken; says which setting to change.
    pub async fn bind(config: &SettingsApiConfig) -> anyhow::Result<Self> {
        let http = Some(ops::bind("POSTRIDER_HTTP_ADDR", config.http_addr).await?);
        Ok(Self { http, ..Self::bind_admin(config).await? })
    }

    /// Binds the listener of `Admin` alone, for a process that serves
    /// [`router`](crate::router) together with others.
    ///
    /// # Errors
    /// When the port is taken; says which setting to change.
    pub async fn bind_admin(config: &SettingsApiConfig) -> anyhow::Result<Self> {
        let admin = ops::bind("POSTRIDER_ADMIN_ADDR", config.admin_addr).await?;
        let (door, admin_door) = (config.door.clone(), config.admin_door.clone());
        Ok(Self { http: None, door, admin, admin_door, beside: Box::new(|calls| calls) })
    }

    /// The server with something else at the customers' door, too.
    #[must_use]
    pub fn with(self, beside: Beside) -> Self {
        Self { beside, ..self }
    }

    /// Where customers call, if this server answers them.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn http_addr(&self) -> std::io::Result<Option<SocketAddr>> {
        self.http.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Where operators call.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn admin_addr(&self) -> std::io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Brings the schema up to date, then serves until a stop is asked for and
    /// answers what is in flight. Publishes what is in the outbox, disables
    /// what is exhausted and erases what is left of erased accounts, meanwhile.
    ///
    /// # Errors
    /// When the database is another region's, a migration cannot be applied, or
    /// a listener fails.
    pub async fn serve(
        self,
        api: SettingsApi,
        readiness: Readiness,
        tasks: Tasks,
    ) -> anyhow::Result<()> {
        migrate(&api, &tasks).await?;
        let ours = api.on_reserve();
        let relay = async {
            ours.relay(&readiness, &tasks).await;
            Ok(())
        };
        let exhausted = async {
            ours.disable_exhausted(&tasks).await;
            Ok(())
        };
        let resends = async {
            Box::pin(api.run_resends(&tasks)).await;
            Ok(())
        };
        let notices = async {
            Box::pin(ours.send_notices(&tasks)).await;
            Ok(())
        };
        let erasure = async {
            ours.erase(&tasks).await;
            Ok(())
        };
        let guard = async {
            Box::pin(ours.guard_bucket(&tasks)).await;
            Ok(())
        };
        let gauges = async {
            api.tell_gauges(&tasks).await;
            Ok(())
        };
        let http = async {
            let Some(listener) = self.http else { return Ok(()) };
            let app = (self.beside)(routes::whole(api.clone()));
            let (clock, stop) = (api.clock.clone(), tasks.stop_token());
            self.door.serve(listener, app, BODY_BYTES, clock, stop).await;
            Ok(())
        };
        let admin = async {
            let door = self.admin_door;
            door.keep(api.clock.clone(), &tasks);
            let service = admin::service(ours.clone());
            tonic::transport::Server::builder()
                .layer(door.messages(ADMIN_MESSAGE_BYTES, ADMIN_MESSAGE_BYTES))
                .add_service(InterceptedService::new(service, door.interceptor()))
                .serve_with_incoming_shutdown(
                    door.incoming(self.admin, Speaks::Grpc, api.clock.clone()).into_stream(),
                    tasks.stop_token().cancelled_owned(),
                )
                .await
                .map_err(anyhow::Error::from)
        };
        tokio::try_join!(
            Box::pin(relay),
            exhausted,
            resends,
            notices,
            Box::pin(erasure),
            Box::pin(gauges),
            guard,
            Box::pin(http),
            Box::pin(admin)
        )?;
        readiness.set(READINESS, false);
        Ok(())
    }
}

/// Waits for the database, which may start later than this process.
async fn migrate(api: &SettingsApi, tasks: &Tasks) -> anyhow::Result<()> {
    while !tasks.is_stopping() {
        match api.migrate().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "the database is not there yet");
            }
            // Whoever may bring it up to date may come later.
            Err(error @ StoreError::NotMigrated { .. }) => {
                tracing::warn!(%error, "the database is not ready yet");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = api.clock.sleep(DATABASE_RETRY) => {}
            () = tasks.stopping() => {}
        }
    }
    Ok(())
}
