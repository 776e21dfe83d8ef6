//! A running platform and the doors that tests use.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::v1::admin_client::AdminClient;
use protocol::v1::event::Kind;
use protocol::v1::ingest_client::IngestClient;
use protocol::v1::publish_result::Status;
use protocol::v1::{
    CreateAccountRequest, CreateAccountWebhookRequest, CreateDomainRequest,
    DeleteAccountWebhookRequest, Event, GetSigningKeysRequest, PublishRequest, PublishResult,
    SigningKeys,
};
use serde_json::{Value, json};
use testkit::{OwnServers, Postrider, Receiver, TestEnv, free_port};
use tonic::transport::Channel;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_postrider");
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const ROLES: [&str; 5] = ["settings-api", "ingest", "fanout", "dispatcher", "archive"];

const SECRET_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A platform under test and one receiver. Everything ends when it is dropped.
pub(crate) struct System {
    processes: BTreeMap<&'static str, Postrider>,
    /// Where each process serves its metrics, by its name.
    pub(crate) ops: BTreeMap<&'static str, SocketAddr>,
    settings: Vec<(String, String)>,
    /// Settings of one role alone: role, name, value.
    own_settings: Vec<(&'static str, String, String)>,
    http: SocketAddr,
    admin: SocketAddr,
    ingest: SocketAddr,
    ingest_http: SocketAddr,
    pub(crate) receiver: Receiver,
    env: Option<TestEnv>,
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().expect("a free port")))
}

impl System {
    /// `postrider all` on the shared servers, with the demo account and domain.
    pub(crate) async fn start(extra: &[(&str, &str)]) -> Self {
        let env = TestEnv::new();
        let servers = [
            ("NATS_URL", &env.nats_url),
            ("DATABASE_URL", &env.database_url),
            ("REGION", &env.region),
        ];
        let mut system = Self::prepare(&servers, extra).await;
        system.env = Some(env);
        system.run("all", None).await;
        system.create_account("demo", None).await;
        system.create_domain("mail.demo.example", "demo").await;
        system
    }

    /// Every role as a process of its own, on the shared servers.
    pub(crate) async fn start_apart(extra: &[(&str, &str)]) -> Self {
        let env = TestEnv::new();
        let servers = [
            ("NATS_URL", &env.nats_url),
            ("DATABASE_URL", &env.database_url),
            ("REGION", &env.region),
        ];
        let mut system = Self::prepare(&servers, extra).await;
        system.env = Some(env);
        for role in ROLES {
            system.run(role, None).await;
        }
        system.create_account("demo", None).await;
        system.create_domain("mail.demo.example", "demo").await;
        system
    }

    /// Every role as a process of its own, on servers that may be killed.
    pub(crate) async fn start_separately(servers: &OwnServers, extra: &[(&str, &str)]) -> Self {
        let nats_url = servers.nats.url();
        let servers = [
            ("NATS_URL", &nats_url),
            ("DATABASE_URL", &servers.database_url),
            ("REGION", &servers.region),
        ];
        let mut system = Self::prepare(&servers, extra).await;
        for role in ROLES {
            system.run(role, None).await;
        }
        system.create_account("demo", None).await;
        system.create_domain("mail.demo.example", "demo").await;
        system
    }

    /// Every role as a process of its own, with a user of its own on a broker that
    /// knows users; the region is `us`.
    pub(crate) async fn start_as_users(
        url_of: impl Fn(&str) -> String,
        extra: &[(&str, &str)],
    ) -> Self {
        let env = TestEnv::new();
        let (nobody, region) = (url_of("nobody"), "us".to_owned());
        let servers =
            [("NATS_URL", &nobody), ("DATABASE_URL", &env.database_url), ("REGION", &region)];
        let mut system = Self::prepare(&servers, extra).await;
        system.env = Some(env);
        for role in ROLES {
            system.own_settings.push((role, "POSTRIDER_NATS_URL".to_owned(), url_of(role)));
            if role != "settings-api" {
                let streams = ("POSTRIDER_NATS_STREAMS".to_owned(), "expect".to_owned());
                system.own_settings.push((role, streams.0, streams.1));
            }
            system.run(role, None).await;
        }
        system.create_account("demo", None).await;
        system.create_domain("mail.demo.example", "demo").await;
        system
    }

    /// Every role as a process of its own, those that use the database with a user
    /// of their own there; the schema is made by another one.
    pub(crate) async fn start_as_database_users(
        servers: &OwnServers,
        migrate_url: &str,
        urls: &[(&'static str, &str)],
    ) -> Self {
        let (nats_url, migrate_url) = (servers.nats.url(), migrate_url.to_owned());
        let settings =
            [("NATS_URL", &nats_url), ("DATABASE_URL", &migrate_url), ("REGION", &servers.region)];
        let mut system = Self::prepare(&settings, &[]).await;
        for (role, url) in urls {
            let name = "POSTRIDER_DATABASE_URL".to_owned();
            system.own_settings.push((role, name, (*url).to_owned()));
        }
        for role in ROLES {
            system.run(role, None).await;
        }
        system.create_account("demo", None).await;
        system.create_domain("mail.demo.example", "demo").await;
        system
    }

    /// `postrider all` as the deployment of a region, with a database of its own
    /// on servers that others use too.
    pub(crate) async fn start_region(nats_url: &str, database_url: &str, region: &str) -> Self {
        let (nats_url, database_url) = (nats_url.to_owned(), database_url.to_owned());
        let servers = [
            ("NATS_URL", &nats_url),
            ("DATABASE_URL", &database_url),
            ("REGION", &region.to_owned()),
        ];
        let mut system = Self::prepare(&servers, &[]).await;
        system.run("all", None).await;
        system.create_account("demo", None).await;
        system.create_domain("mail.demo.example", "demo").await;
        system
    }

    async fn prepare(servers: &[(&str, &String)], extra: &[(&str, &str)]) -> Self {
        let (http, admin, ingest, ingest_http) = (loopback(), loopback(), loopback(), loopback());
        let mut settings: Vec<(String, String)> = [
            ("SECRET_KEY", SECRET_KEY.to_owned()),
            ("HTTP_ADDR", http.to_string()),
            ("ADMIN_ADDR", admin.to_string()),
            ("INGEST_GRPC_ADDR", ingest.to_string()),
            ("INGEST_HTTP_ADDR", ingest_http.to_string()),
            ("CONSOLE_ADDR", loopback().to_string()),
            ("API_URL", format!("http://{http}/")),
            ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8".to_owned()),
            ("LEASE", "3s".to_owned()),
            ("DELIVERIES_DEDUP_WINDOW", "30s".to_owned()),
            ("SEND_RETRY_SCHEDULE", "1s,1s,1s".to_owned()),
            ("ALERTS_RETRY_SCHEDULE", "1s,1s".to_owned()),
            ("LOG", "info".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (format!("POSTRIDER_{name}"), value))
        .collect();
        settings.extend(
            servers.iter().map(|(name, value)| (format!("POSTRIDER_{name}"), (*value).clone())),
        );
        for (name, value) in extra {
            let name = format!("POSTRIDER_{name}");
            settings.retain(|(known, _)| *known != name);
            settings.push((name, (*value).to_owned()));
        }
        let migrated = testkit::process::run(BINARY, &["migrate"], settings.clone()).await;
        migrated.expect("the database is migrated");
        let processes = BTreeMap::new();
        let receiver = Receiver::start().await;
        let own_settings = Vec::new();
        Self {
            processes,
            ops: BTreeMap::new(),
            settings,
            own_settings,
            http,
            admin,
            ingest,
            ingest_http,
            receiver,
            env: None,
        }
    }

    /// Starts a role and waits until it is ready, with this crash point armed.
    pub(crate) async fn run(&mut self, role: &'static str, crash_point: Option<&str>) {
        let ops = self.begin(role, crash_point);
        let process = self.processes.get_mut(role).expect("it was just started");
        process.wait_ready(ops, SOON).await;
    }

    /// Starts one more process of a role, under a name of its own, and waits until it is
    /// ready. The first one has the role's name.
    pub(crate) async fn run_another(
        &mut self,
        role: &'static str,
        name: &'static str,
        failpoints: Option<&str>,
    ) {
        let ops = self.begin_as(name, role, failpoints);
        self.process(name).wait_ready(ops, SOON).await;
    }

    /// Starts a role without waiting for it. Returns its ops address.
    pub(crate) fn begin(&mut self, role: &'static str, crash_point: Option<&str>) -> SocketAddr {
        self.begin_as(role, role, crash_point)
    }

    fn begin_as(
        &mut self,
        name: &'static str,
        role: &'static str,
        crash_point: Option<&str>,
    ) -> SocketAddr {
        let ops = loopback();
        self.ops.insert(name, ops);
        let mut settings = self.settings.clone();
        settings.push(("POSTRIDER_OPS_ADDR".to_owned(), ops.to_string()));
        for (_, own, value) in self.own_settings.iter().filter(|(of, ..)| *of == role) {
            settings.retain(|(known, _)| known != own);
            settings.push((own.clone(), value.clone()));
        }
        if let Some(crash_point) = crash_point {
            settings.push(("FAILPOINTS".to_owned(), crash_point.to_owned()));
        }
        self.processes.insert(name, Postrider::start(BINARY, &[role], settings));
        ops
    }

    /// Changes a setting of one role, for its processes that start from now on.
    pub(crate) fn set_for(&mut self, role: &'static str, name: &str, value: &str) {
        self.own_settings.push((role, format!("POSTRIDER_{name}"), value.to_owned()));
    }

    /// Changes a setting for processes that start from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let name = format!("POSTRIDER_{name}");
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_owned()));
    }

    /// A setting, as processes that start now would have it.
    pub(crate) fn setting(&self, name: &str) -> &str {
        let name = format!("POSTRIDER_{name}");
        let found = self.settings.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).expect("a setting of the tests")
    }

    pub(crate) fn process(&mut self, role: &str) -> &mut Postrider {
        self.processes.get_mut(role).expect("the role runs")
    }

    /// What all processes have logged.
    pub(crate) fn logs(&self) -> String {
        self.processes.values().map(Postrider::log).collect()
    }

    pub(crate) async fn kill9(&mut self, role: &str) {
        self.process(role).kill9().await;
    }

    /// Rows of the history database: one a line, columns separated by `|`.
    pub(crate) fn sql(&self, statement: &str) -> String {
        self.env.as_ref().expect("on shared servers").sql(statement)
    }

    /// The level of the decision that chose this URL for this event, from history.
    pub(crate) async fn decided_level(&self, event_id: &str, url: &str) -> String {
        let query = format!(
            "SELECT level FROM routing_decisions JOIN events USING (event_key) \
             WHERE event_id = '{event_id}' AND url = '{url}' AND verdict = 'chosen'"
        );
        testkit::eventually(SOON, "the decision in history", || async {
            let level = self.sql(&query);
            (!level.trim().is_empty()).then_some(level)
        })
        .await
    }

    /// Waits until history says that this event's only delivery ended this way.
    pub(crate) async fn wait_for_end(&self, event_id: &str, outcome: &str) {
        let query = format!(
            "SELECT outcome FROM ends JOIN events USING (event_key) WHERE event_id = '{event_id}'"
        );
        let end = testkit::eventually(SOON, &format!("the end of {event_id}"), || async {
            let end = self.sql(&query);
            (!end.trim().is_empty()).then_some(end)
        })
        .await;
        assert_eq!(end.trim(), outcome, "{event_id}");
    }

    /// The URL that fanout chose for this event.
    pub(crate) async fn chosen_url(&self, event_id: &str) -> String {
        let query = format!(
            "SELECT url FROM routing_decisions JOIN events USING (event_key) \
             WHERE event_id = '{event_id}' AND verdict = 'chosen'"
        );
        let url = testkit::eventually(SOON, &format!("the routing of {event_id}"), || async {
            let url = self.sql(&query);
            (!url.trim().is_empty()).then_some(url)
        })
        .await;
        url.trim().to_owned()
    }

    pub(crate) fn ingest_http(&self, path: &str) -> String {
        format!("http://{}{path}", self.ingest_http)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub(crate) async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::connect(format!("http://{}", self.admin))
            .await
            .expect("the admin port answers")
    }

    pub(crate) async fn ingest(&self) -> IngestClient<Channel> {
        IngestClient::connect(format!("http://{}", self.ingest)).await.expect("ingest answers")
    }

    /// Creates an account whose API key is `key-<name>`.
    pub(crate) async fn create_account(&self, name: &str, parent: Option<&str>) {
        let request = CreateAccountRequest {
            name: name.into(),
            parent_name: parent.unwrap_or_default().into(),
            api_key: format!("key-{name}"),
            if_absent: false,
        };
        self.admin().await.create_account(request).await.expect("created");
    }

    pub(crate) async fn create_domain(&self, name: &str, account: &str) {
        let request = CreateDomainRequest {
            name: name.into(),
            account_name: account.into(),
            if_absent: false,
        };
        self.admin().await.create_domain(request).await.expect("created");
    }

    /// A client, if ingest is there at the moment.
    pub(crate) async fn try_ingest(&self) -> Option<IngestClient<Channel>> {
        IngestClient::connect(format!("http://{}", self.ingest)).await.ok()
    }

    pub(crate) async fn signing_keys(&self, account: &str) -> SigningKeys {
        let request = GetSigningKeysRequest { account_name: account.into() };
        self.admin().await.get_signing_keys(request).await.expect("keys").into_inner()
    }

    /// Adds an account-level webhook; returns its id.
    pub(crate) async fn add_account_webhook(
        &self,
        account: &str,
        url: &str,
        types: &[&str],
    ) -> String {
        let request = CreateAccountWebhookRequest {
            account_name: account.into(),
            url: url.into(),
            event_types: types.iter().map(|t| (*t).into()).collect(),
            description: String::new(),
        };
        let made = self.admin().await.create_account_webhook(request).await.expect("created");
        made.into_inner().webhook_id
    }

    pub(crate) async fn delete_account_webhook(&self, account: &str, webhook_id: &str) {
        let request = DeleteAccountWebhookRequest {
            account_name: account.into(),
            webhook_id: webhook_id.into(),
        };
        self.admin().await.delete_account_webhook(request).await.expect("deleted");
    }

    /// Adds a domain webhook through the customer's API.
    pub(crate) async fn add_domain_webhook(
        &self,
        account: &str,
        domain: &str,
        id: &str,
        urls: &[&str],
    ) {
        let mut fields = vec![("id", id)];
        fields.extend(urls.iter().map(|url| ("url", *url)));
        let path = format!("/v3/domains/{domain}/webhooks");
        let request =
            testkit::http::post(self.url(&path)).basic_auth("api", &format!("key-{account}"));
        request.form(&fields).send().await.expect("answered").expect_status(200);
    }

    /// Adds an alert setting through the customer's API; returns its id.
    pub(crate) async fn add_alert(&self, account: &str, event_type: &str, url: &str) -> String {
        let body =
            json!({"event_type": event_type, "channel": "webhook", "settings": {"url": url}});
        let request = testkit::http::post(self.url("/v1/alerts/settings/events"));
        let answer = request.basic_auth("api", &format!("key-{account}")).json(&body).send().await;
        let answer = answer.expect("answered").expect_status(200).json();
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// Saves an alert setting again.
    pub(crate) async fn save_alert(&self, account: &str, id: &str, event_type: &str, url: &str) {
        let body =
            json!({"event_type": event_type, "channel": "webhook", "settings": {"url": url}});
        let request = testkit::http::put(self.url(&format!("/v1/alerts/settings/events/{id}")));
        let request = request.basic_auth("api", &format!("key-{account}")).json(&body);
        request.send().await.expect("answered").expect_status(200);
    }

    pub(crate) async fn delete_alert(&self, account: &str, id: &str) {
        let request = testkit::http::delete(self.url(&format!("/v1/alerts/settings/events/{id}")));
        let request = request.basic_auth("api", &format!("key-{account}"));
        request.send().await.expect("answered").expect_status(200);
    }

    /// The alert settings of an account, as its customer sees them.
    pub(crate) async fn alert_settings(&self, account: &str) -> Value {
        let request = testkit::http::get(self.url("/v1/alerts/settings"));
        let answer = request.basic_auth("api", &format!("key-{account}")).send().await;
        answer.expect("answered").expect_status(200).json()
    }

    /// Publishes one event, which must be accepted.
    pub(crate) async fn publish(&self, event: Event) -> PublishResult {
        let request = PublishRequest { events: vec![event] };
        let answer = self.ingest().await.publish(request).await.expect("accepted").into_inner();
        let result = answer.results.into_iter().next().expect("one result");
        assert!(matches!(result.status(), Status::Stored | Status::Duplicate), "{result:?}");
        result
    }

    /// Publishes many events, which must all be new.
    pub(crate) async fn publish_all(&self, events: impl IntoIterator<Item = Event>) {
        let mut ingest = self.ingest().await;
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let request = PublishRequest { events: events.by_ref().take(500).collect() };
            let answer = ingest.publish(request).await.expect("accepted").into_inner();
            let bad = answer.results.iter().find(|result| result.status() != Status::Stored);
            assert!(bad.is_none(), "{bad:?}");
        }
    }
}

/// The example event of this kind, as it stands in the repository, for `demo`.
pub(crate) fn example(kind: &str) -> Event {
    let path = format!("{}/../../examples/events/{kind}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// An alert of `demo` with this id.
pub(crate) fn alert(id: &str) -> Event {
    Event { id: id.into(), ..example("ip_listed") }
}

/// A `clicked` event of `mail.demo.example` with this id.
pub(crate) fn clicked(id: &str) -> Event {
    Event { id: id.into(), ..example("clicked") }
}

/// A `delivered`-like event that is retried: an `opened` one.
pub(crate) fn opened(id: &str) -> Event {
    Event { id: id.into(), ..example("opened") }
}

/// The event's id in a payload of either family.
pub(crate) fn payload_event_id(body: &Value) -> &str {
    let data = body.get("event-data").or_else(|| body.get("event_data")).expect("event data");
    data["id"].as_str().expect("an id")
}

/// Whether a kind is set at all; keeps examples honest.
pub(crate) fn kind(event: &Event) -> &Kind {
    event.kind.as_ref().expect("the example has a kind")
}
