//! A settings service of its own for each test.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusConfig, Settings};
use chassis::{Clock, Env, Readiness, Tasks};
use egress::EgressConfig;
use protocol::v1;
use protocol::v1::admin_client::AdminClient;
use settings_api::{Server, SettingsApi, SettingsApiConfig};
use store::{Store, StoreConfig};
use testkit::Mailbox;
use testkit::http::{self, Request, Response};
use tonic::transport::Channel;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The service, its doors, and the documents as the delivery path sees them.
pub(crate) struct World {
    pub(crate) admin: AdminClient<Channel>,
    pub(crate) bus: Bus,
    pub(crate) tasks: Tasks,
    settings: Settings,
    pub(crate) base: String,
    database_url: String,
    /// Takes every mail, where a test names no other relay.
    _mailbox: Mailbox,
}

/// Where the servers are.
pub(crate) struct Servers<'a> {
    pub(crate) nats_url: &'a str,
    pub(crate) database_url: &'a str,
    pub(crate) region: &'a str,
}

impl<'a> From<&'a testkit::TestEnv> for Servers<'a> {
    fn from(env: &'a testkit::TestEnv) -> Self {
        let testkit::TestEnv { nats_url, database_url, region, .. } = env;
        Self { nats_url, database_url, region }
    }
}

impl World {
    /// Starts the service and waits until it is ready.
    pub(crate) async fn start<'a>(servers: impl Into<Servers<'a>>) -> Self {
        Self::configured(servers, &[], Clock::system()).await
    }

    /// The same with these settings, by this clock.
    pub(crate) async fn configured<'a>(
        servers: impl Into<Servers<'a>>,
        settings: &[(&str, &str)],
        clock: Clock,
    ) -> Self {
        let Servers { nats_url, database_url, region } = servers.into();
        let secret_key = "5e".repeat(32);
        let mailbox = Mailbox::start().await;
        let relay = mailbox.url();
        let always = [
            ("POSTRIDER_NATS_URL", nats_url),
            ("POSTRIDER_REGION", region),
            ("POSTRIDER_DATABASE_URL", database_url),
            ("POSTRIDER_HTTP_ADDR", "127.0.0.1:0"),
            ("POSTRIDER_ADMIN_ADDR", "127.0.0.1:0"),
            ("POSTRIDER_SECRET_KEY", &secret_key),
            ("POSTRIDER_EGRESS_ALLOW_CIDRS", "127.0.0.0/8"),
            ("POSTRIDER_SMTP_URL", &relay),
            ("POSTRIDER_MAIL_FROM", "Postrider <alerts@example.net>"),
        ];
        // Of two settings of the same name the later one counts.
        let pairs = always.iter().chain(settings);
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut env = Env::from_pairs(pairs);
        let (config, bus_config) = (SettingsApiConfig::read(&mut env), BusConfig::read(&mut env));
        let egress = EgressConfig::read(&mut env);
        let known = env.settings().to_vec();
        env.finish(&known).expect("the settings are right");

        let (tasks, readiness) = (Tasks::new(), Readiness::default());
        let bus = Bus::connect(bus_config, clock.clone(), &tasks).await.expect("a broker");
        let settings = Settings::watch(bus.clone(), &tasks).await.expect("the bucket");
        let egress = egress::Client::new(egress).expect("a client");
        let api = SettingsApi::new(&config, bus.clone(), egress, clock).expect("parts that fit");

        let server = Server::bind(&config).await.expect("two free ports");
        let base = format!("http://{}", server.http_addr().expect("bound").expect("an HTTP door"));
        let admin = format!("http://{}", server.admin_addr().expect("bound"));
        readiness.expect(settings_api::READINESS);
        let serving = server.serve(api, readiness.clone(), tasks.clone());
        tasks.spawn(async move { serving.await.expect("served until the stop") });
        testkit::eventually(DEADLINE, "readiness, and all documents", || {
            let is_ready = readiness.missing().is_empty() && settings.is_complete();
            async move { is_ready.then_some(()) }
        })
        .await;
        let admin = AdminClient::connect(admin).await.expect("the admin door");
        let database_url = database_url.to_owned();
        Self { admin, bus, tasks, settings, base, database_url, _mailbox: mailbox }
    }

    /// With account `demo`, key `key-demo` and domain `mail.demo.example`.
    pub(crate) async fn demo<'a>(servers: impl Into<Servers<'a>>) -> Self {
        Self::demo_configured(servers, &[], Clock::system()).await
    }

    /// The same with these settings, by this clock.
    pub(crate) async fn demo_configured<'a>(
        servers: impl Into<Servers<'a>>,
        settings: &[(&str, &str)],
        clock: Clock,
    ) -> Self {
        let world = Self::configured(servers, settings, clock).await;
        world.account("demo", "").await;
        world.domain("mail.demo.example", "demo").await;
        world
    }

    /// Makes an account whose key is `key-NAME`; returns its id.
    pub(crate) async fn account(&self, name: &str, parent_name: &str) -> String {
        let request = v1::CreateAccountRequest {
            name: name.to_owned(),
            parent_name: parent_name.to_owned(),
            api_key: format!("key-{name}"),
            if_absent: false,
        };
        let answer = self.admin().create_account(request).await.expect("made");
        answer.into_inner().account_id
    }

    /// Makes a domain; returns its id.
    pub(crate) async fn domain(&self, name: &str, account_name: &str) -> String {
        let request = v1::CreateDomainRequest {
            name: name.to_owned(),
            account_name: account_name.to_owned(),
            if_absent: false,
        };
        self.admin().create_domain(request).await.expect("made").into_inner().domain_id
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        self.admin.clone()
    }

    /// Where it is called.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The store that archive writes to.
    pub(crate) fn store(&self) -> Store {
        let url = self.database_url.parse().expect("a URL");
        Store::open(&StoreConfig { url, max_connections: 4 })
    }

    /// A request without a key.
    pub(crate) fn anonymous(&self, method: &str, path: &str) -> Request {
        let url = format!("{}{path}", self.base);
        match method {
            "GET" => http::get(url),
            "POST" => http::post(url),
            "PUT" => http::put(url),
            "DELETE" => http::delete(url),
            other => Request::new(other.parse().expect("a method"), url),
        }
    }

    /// A request with the key of `demo`.
    pub(crate) fn call(&self, method: &str, path: &str) -> Request {
        self.anonymous(method, path).basic_auth("api", "key-demo")
    }

    /// The document of an account, as of every change answered before.
    pub(crate) async fn account_document(&self, name: &str) -> Arc<v1::AccountDocument> {
        self.settings.fence().await.expect("the watch catches up");
        self.settings.read(|documents| documents.account_named(name).cloned()).expect("a document")
    }

    /// The document of a domain, as of every change answered before.
    pub(crate) async fn domain_document(&self, name: &str) -> Arc<v1::DomainDocument> {
        self.settings.fence().await.expect("the watch catches up");
        self.settings.read(|documents| documents.domain_named(name).cloned()).expect("a document")
    }

    /// What the delivery path sees of a domain's webhooks.
    pub(crate) async fn webhooks(&self, domain: &str) -> Vec<(String, Vec<String>)> {
        let document = self.domain_document(domain).await;
        let webhooks = document.webhooks.iter();
        webhooks.map(|webhook| (webhook.event_type.clone(), webhook.urls.clone())).collect()
    }

    /// Stops the service; panics when it does not end.
    pub(crate) async fn stop(self) {
        self.tasks.stop();
        assert!(self.tasks.wait(DEADLINE).await, "the service has stopped");
    }
}

/// Checks an answer to the last byte, with the headers that every answer has.
#[track_caller]
pub(crate) fn assert_answer(response: &Response, status: u16, body: &str) {
    let text = response.text();
    assert_eq!((response.status, text.as_str()), (status, format!("{body}\n").as_str()));
    assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"));
    assert_common_headers(response);
}

/// Checks an error that has a message alone.
#[track_caller]
pub(crate) fn assert_message(response: &Response, status: u16, message: &str) {
    assert_answer(response, status, &format!(r#"{{"message":"{message}"}}"#));
}

#[track_caller]
pub(crate) fn assert_common_headers(response: &Response) {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("strict-transport-security", "max-age=63072000"),
        ("x-xss-protection", "1; mode=block"),
    ] {
        assert_eq!(response.header(name), Some(value), "{name}");
    }
}

pub(crate) async fn send(request: Request) -> Response {
    request.send().await.expect("an answer")
}
