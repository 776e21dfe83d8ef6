//! Ingest on a broker, with a handful of accounts.

use std::net::SocketAddr;
use std::time::Duration;

use bus::{Bus, BusConfig, Settings};
use chassis::{Clock, Door, Env, Tasks};
use ingest::{IngestConfig, Server};
use model::domain_id;
use prost::Message as _;
use protocol::v1::event::Kind;
use protocol::v1::ingest_client::IngestClient;
use protocol::v1::{
    AcceptedEvent, AccountDocument, AccountStatus, BlocklistedIp, DomainDocument, Event, Opened,
};
use tonic::transport::Channel;

pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const DEMO: &str = "65aa0d3c9f21b70011ee4402";
const SUB: &str = "65aa0d3c9f21b70011ee4403";
const SHUT: &str = "65aa0d3c9f21b70011ee4404";
const SHUT_SUB: &str = "65aa0d3c9f21b70011ee4405";

/// Ingest with its doors on free ports.
pub(crate) struct Platform {
    pub(crate) bus: Bus,
    pub(crate) tasks: Tasks,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) door: Door,
}

impl Platform {
    /// On the shared broker.
    pub(crate) async fn start(extra: &[(&str, &str)]) -> Self {
        Self::start_on(testkit::shared_nats_url(), extra).await
    }

    /// On this broker, in a region of its own.
    pub(crate) async fn start_on(nats_url: &str, extra: &[(&str, &str)]) -> Self {
        let mut pairs = vec![
            ("POSTRIDER_NATS_URL".to_owned(), nats_url.to_owned()),
            ("POSTRIDER_REGION".to_owned(), testkit::fresh_region()),
            ("POSTRIDER_INGEST_GRPC_ADDR".to_owned(), "127.0.0.1:0".to_owned()),
            ("POSTRIDER_INGEST_HTTP_ADDR".to_owned(), "127.0.0.1:0".to_owned()),
        ];
        pairs.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut env = Env::from_pairs(pairs);
        let (bus_config, config) = (BusConfig::read(&mut env), IngestConfig::read(&mut env));
        let known = env.settings().to_vec();
        env.finish(&known).expect("the settings are right");

        let (clock, tasks) = (Clock::system(), Tasks::new());
        let bus = Bus::connect(bus_config, clock.clone(), &tasks).await.expect("a broker");
        put_accounts(&bus).await;
        let settings = Settings::watch(bus.clone(), &tasks).await.expect("loaded");
        let door = config.door.clone();
        let server = Server::bind(config, &bus).await.expect("free ports");
        let (grpc, http) = (server.grpc_addr().expect("bound"), server.http_addr().expect("bound"));
        tasks.spawn(server.serve(bus.clone(), settings, clock, tasks.clone()));
        Self { bus, tasks, grpc, http, door }
    }

    pub(crate) async fn client(&self) -> IngestClient<Channel> {
        IngestClient::connect(format!("http://{}", self.grpc)).await.expect("the door is open")
    }

    /// The next `count` stored events, in the order in which they were stored.
    pub(crate) async fn stored(&self, count: usize) -> Vec<AcceptedEvent> {
        let mut consumer = self.bus.events_consumer("test", 10_000);
        let mut events = Vec::new();
        testkit::within(SOON, "stored events", async {
            while events.len() < count {
                let mut pull = consumer.pull(count - events.len()).await.expect("pulled");
                while let Some(chunk) = pull.next().await {
                    for pulled in chunk.expect("no error") {
                        let event = AcceptedEvent::decode(pulled.payload().clone());
                        events.push(event.expect("an accepted event"));
                        pulled.ack().await;
                    }
                }
            }
        })
        .await;
        events
    }
}

async fn put_accounts(bus: &Bus) {
    let account =
        |account_id: &str, name: &str, parent: &str, status: AccountStatus| AccountDocument {
            account_id: account_id.into(),
            name: name.into(),
            parent_account_id: parent.into(),
            status: status.into(),
            ..AccountDocument::default()
        };
    for document in [
        account(DEMO, "demo", "", AccountStatus::Open),
        account(SUB, "demo-sub", DEMO, AccountStatus::Open),
        account(SHUT, "shut", "", AccountStatus::Disabled),
        account(SHUT_SUB, "shut-sub", SHUT, AccountStatus::Open),
    ] {
        bus.put_account(&document).await.expect("put");
    }
    for (name, account_id) in [("mail.demo.example", DEMO), ("mail.sub.example", SUB)] {
        bus.put_domain(&domain(name, account_id)).await.expect("put");
    }
    let deleted = DomainDocument { deleted: true, ..domain("mail.gone.example", DEMO) };
    bus.put_domain(&deleted).await.expect("put");
}

pub(crate) fn domain(name: &str, account_id: &str) -> DomainDocument {
    DomainDocument {
        domain_id: domain_id(name),
        name: name.into(),
        account_id: account_id.into(),
        ..DomainDocument::default()
    }
}

/// An alert of this account; an empty id leaves it to ingest.
pub(crate) fn alert(account: &str, id: &str) -> Event {
    let listed = BlocklistedIp {
        ip: "192.0.2.44".into(),
        blocklist: "Example BL".into(),
        message: String::new(),
    };
    Event {
        id: id.into(),
        account: account.into(),
        kind: Some(Kind::IpListed(listed)),
        ..Event::default()
    }
}

/// A message event of this domain.
pub(crate) fn opened(domain: &str, id: &str) -> Event {
    let message = serde_json::json!({
        "recipient": "grace@reader.example",
        "message": {"headers": {"message_id": "1@mail.demo.example"}},
    });
    let opened: Opened = serde_json::from_value(message).expect("an opened event");
    Event {
        id: id.into(),
        domain: domain.into(),
        kind: Some(Kind::Opened(opened)),
        ..Event::default()
    }
}
