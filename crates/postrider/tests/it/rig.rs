//! A platform as it is run: three brokers, and two of every role, each a process
//! with ports of its own.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::v1::admin_client::AdminClient;
use protocol::v1::ingest_client::IngestClient;
use protocol::v1::publish_result::Status;
use protocol::v1::{CreateAccountRequest, CreateDomainRequest, Event, PublishRequest};
use serde_json::json;
use testkit::{
    NatsCluster, Postgres, PostgresOptions, Postrider, Receiver, Scratch, eventually, free_port,
    fresh_region,
};

use crate::system::{BINARY, ROLES};

pub(crate) const LONG: Duration = Duration::from_secs(120);
const SECRET_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// One process of a role.
pub(crate) struct Replica {
    pub(crate) role: &'static str,
    _process: Postrider,
    http: SocketAddr,
    admin: SocketAddr,
    ingest: SocketAddr,
}

/// Everything. It ends when it is dropped.
pub(crate) struct Rig {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) receiver: Receiver,
    pub(crate) cluster: NatsCluster,
    pub(crate) region: String,
    _postgres: Postgres,
    settings: Vec<(String, String)>,
    // Last, because fields are dropped in order: the servers' files go after them.
    _scratch: Scratch,
}

impl Rig {
    /// Starts the servers and so many replicas of each role, and makes the demo
    /// account with its domain.
    pub(crate) async fn start(replicas: usize, extra: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new().expect("a directory");
        let cluster = NatsCluster::start(scratch.path()).expect("a cluster");
        let options = PostgresOptions::new(scratch.path().join("postgres"));
        let postgres = Postgres::start(options).expect("a database server");
        let database_url = postgres.create_database("postrider_test").expect("a database");
        let region = fresh_region();
        let settings = [
            ("NATS_URL", cluster.url()),
            ("NATS_REPLICAS", "3".to_owned()),
            ("DATABASE_URL", database_url),
            ("REGION", region.clone()),
            ("SECRET_KEY", SECRET_KEY.to_owned()),
            ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8".to_owned()),
            ("LOG", "info".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
        ];
        let own = settings.map(|(name, value)| (format!("POSTRIDER_{name}"), value));
        let mut settings: Vec<(String, String)> = own.into();
        let extra = extra.iter().map(|(name, value)| (format!("POSTRIDER_{name}"), *value));
        settings.extend(extra.map(|(name, value)| (name, value.to_owned())));
        let migrated = testkit::process::run(BINARY, &["migrate"], settings.clone()).await;
        migrated.expect("the database is migrated");
        let receiver = Receiver::start().await;
        let mut rig = Self {
            replicas: Vec::new(),
            receiver,
            cluster,
            region,
            _postgres: postgres,
            settings,
            _scratch: scratch,
        };
        for role in ROLES {
            for _ in 0..replicas {
                rig.add(role).await;
            }
        }
        let admin = rig.of("settings-api").next().expect("one of them").admin;
        let mut admin = AdminClient::connect(format!("http://{admin}")).await.expect("admin");
        let account = CreateAccountRequest {
            name: "demo".into(),
            parent_name: String::new(),
            api_key: "key-demo".into(),
            if_absent: false,
        };
        admin.create_account(account).await.expect("created");
        let domain = CreateDomainRequest {
            name: "mail.demo.example".into(),
            account_name: "demo".into(),
            if_absent: false,
        };
        admin.create_domain(domain).await.expect("created");
        rig
    }

    /// Starts one more process of a role.
    pub(crate) async fn add(&mut self, role: &'static str) {
        let port = || SocketAddr::from(([127, 0, 0, 1], free_port().expect("a free port")));
        let (ops, http, admin, ingest) = (port(), port(), port(), port());
        let mut settings = self.settings.clone();
        for (name, address) in [
            ("OPS_ADDR", ops),
            ("HTTP_ADDR", http),
            ("ADMIN_ADDR", admin),
            ("INGEST_GRPC_ADDR", ingest),
            ("INGEST_HTTP_ADDR", port()),
        ] {
            settings.push((format!("POSTRIDER_{name}"), address.to_string()));
        }
        let mut process = Postrider::start(BINARY, &[role], settings);
        process.wait_ready(ops, LONG).await;
        self.replicas.push(Replica { role, _process: process, http, admin, ingest });
    }

    pub(crate) fn of(&self, role: &'static str) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(move |replica| replica.role == role)
    }

    /// Points the demo domain's clicks at this URL.
    pub(crate) async fn add_webhook(&self, url: &str) {
        let http = self.of("settings-api").next().expect("one of them").http;
        let calls = format!("http://{http}/v3/domains/mail.demo.example/webhooks");
        let request = testkit::http::post(calls).basic_auth("api", "key-demo");
        let answer = request.form(&[("id", "clicked"), ("url", url)]).send().await;
        answer.expect("answered").expect_status(200);
    }

    /// Doors of all ingests, for a caller that tries one after the other.
    pub(crate) fn doors(&self) -> Vec<SocketAddr> {
        self.of("ingest").map(|replica| replica.ingest).collect()
    }

    /// The node that leads this stream.
    pub(crate) async fn leader(&self, stream: &str) -> usize {
        let subject = format!("STREAM.INFO.{}_{stream}", self.region);
        let url = self.cluster.nodes().iter().find_map(|node| node.pid().map(|_| node.url()));
        let url = url.expect("a node that runs");
        eventually(LONG, "a leader", || async {
            let info = testkit::broker::try_jetstream(&url, &subject, &json!({})).await?;
            let leader = info["cluster"]["leader"].as_str()?.to_owned();
            self.cluster.nodes().iter().position(|node| node.name() == leader)
        })
        .await
    }
}

/// Hands an event over until it is stored, at whichever door is open, as a careful
/// caller would. Returns how long that took.
pub(crate) async fn publish_patiently(doors: &[SocketAddr], event: Event) -> Duration {
    let began = Instant::now();
    let turn = Cell::new(0_usize);
    eventually(LONG, "the event to be stored", || async {
        let door = doors[turn.replace(turn.get() + 1) % doors.len()];
        is_stored(door, event.clone()).await.then_some(())
    })
    .await;
    began.elapsed()
}

async fn is_stored(door: SocketAddr, event: Event) -> bool {
    let Ok(mut ingest) = IngestClient::connect(format!("http://{door}")).await else {
        return false;
    };
    let request = PublishRequest { events: vec![event] };
    let Ok(answer) = ingest.publish(request).await else { return false };
    let results = answer.into_inner().results;
    results.iter().all(|result| matches!(result.status(), Status::Stored | Status::Duplicate))
}
