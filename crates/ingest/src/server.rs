//! Both listeners.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bus::{Bus, Settings};
use chassis::door::Speaks;
use chassis::ops::bind;
use chassis::{Clock, Tasks};
use protocol::door::IngestServer;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::service::interceptor::InterceptedService;
use tonic_health::server::HealthReporter;

use crate::acceptor::Acceptor;
use crate::grpc::Service;
use crate::{IngestConfig, http};

/// Calls that one gRPC connection may have open at once.
const STREAMS_PER_CONNECTION: u32 = 256;
/// How many requests of the largest size are read at once; of smaller ones, more.
const LARGEST_AT_ONCE: usize = 3;
/// Of all requests that are read at once: what is too large is to be answered as such.
const LEAST_BODY_BYTES: usize = 64 * 1024 * 1024;
/// A connection that is silent this long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How often it is looked at whether an event would be stored now.
pub(crate) const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// Both doors, bound but not open yet.
#[derive(Debug)]
pub struct Server {
    config: IngestConfig,
    grpc: TcpListener,
    http: TcpListener,
}

impl Server {
    /// Binds both ports.
    ///
    /// # Errors
    /// When the settings do not fit the broker, or a port is taken.
    pub async fn bind(config: IngestConfig, bus: &Bus) -> anyhow::Result<Self> {
        config.check_against(bus.max_payload_bytes())?;
        let grpc = bind("POSTRIDER_INGEST_GRPC_ADDR", config.grpc_addr).await?;
        let http = bind("POSTRIDER_INGEST_HTTP_ADDR", config.http_addr).await?;
        Ok(Self { config, grpc, http })
    }

    /// Where the gRPC service is reached.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn grpc_addr(&self) -> std::io::Result<SocketAddr> {
        self.grpc.local_addr()
    }

    /// Where the HTTP twin is reached.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn http_addr(&self) -> std::io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// Serves until a stop is asked for, then answers what is in flight.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn serve(
        self,
        bus: Bus,
        settings: Settings,
        clock: Clock,
        tasks: Tasks,
    ) -> anyhow::Result<()> {
        let (grpc_addr, http_addr) = (self.grpc_addr()?, self.http_addr()?);
        let acceptor = Acceptor::new(bus.clone(), settings.clone(), clock.clone(), &self.config);
        let IngestConfig { max_request_bytes, door, .. } = self.config;
        tracing::info!(?grpc_addr, ?http_addr, tls = door.is_tls(), "ingest takes events");
        door.keep(clock.clone(), &tasks);

        let (health, health_service) = tonic_health::server::health_reporter();
        let stop = tasks.stop_token();
        let reporting = report_health(health, bus, settings, clock.clone(), tasks.clone());

        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(protocol::DESCRIPTORS)
                .with_service_name("postrider.v1.Ingest")
        };
        let service = IngestServer::new(Service::new(acceptor.clone(), tasks.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(max_request_bytes);
        let body_bytes = (LARGEST_AT_ONCE * max_request_bytes).max(LEAST_BODY_BYTES);
        let grpc = tonic::transport::Server::builder()
            .layer(door.messages(body_bytes, max_request_bytes))
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_adaptive_window(Some(true))
            .add_service(InterceptedService::new(service, door.interceptor()))
            // Whoever looks whether it is well has no token.
            .add_service(health_service)
            .add_service(InterceptedService::new(reflection().build_v1()?, door.interceptor()))
            .add_service(InterceptedService::new(reflection().build_v1alpha()?, door.interceptor()))
            .serve_with_incoming_shutdown(
                door.incoming(self.grpc, Speaks::Grpc, clock.clone()).into_stream(),
                stop.clone().cancelled_owned(),
            );

        let app = http::router(acceptor, door.clone(), max_request_bytes);
        let http = door.serve(self.http, app, body_bytes, clock, stop);

        tokio::try_join!(
            async { grpc.await.context("the gRPC door of ingest failed") },
            async {
                http.await;
                anyhow::Ok(())
            },
            async {
                reporting.await;
                anyhow::Ok(())
            },
        )?;
        tracing::info!("ingest has answered everything and takes no more events");
        Ok(())
    }
}

/// Tells gRPC health checks whether an event would be stored now.
async fn report_health(
    health: HealthReporter,
    bus: Bus,
    settings: Settings,
    clock: Clock,
    tasks: Tasks,
) {
    loop {
        if bus.is_connected() && settings.is_complete() {
            health.set_serving::<IngestServer<Service>>().await;
        } else {
            health.set_not_serving::<IngestServer<Service>>().await;
        }
        tokio::select! {
            () = clock.sleep(HEALTH_EVERY) => {}
            () = tasks.stopping() => break,
        }
    }
    health.set_not_serving::<IngestServer<Service>>().await;
}
