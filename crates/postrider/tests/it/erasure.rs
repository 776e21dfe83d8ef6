//! Erasure of an account: afterwards nothing anywhere says whose it was.

use std::fmt::Write as _;

use protocol::v1::{
    CreateAccountRequest, CreateDomainRequest, EraseAccountRequest, Event, GetAccountRequest,
};
use testkit::{Gate, Reply, eventually};

use crate::system::{SOON, System, example};

/// Stands in everything that belongs to the account.
const MARKER: &str = "marker";
const DOMAIN: &str = "mail.marker.example";
/// What the tests of the whole take their deliveries' waits from.
const WAIT: &[(&str, &str)] = &[("SEND_RETRY_SCHEDULE", "6s,1s,1s"), ("EGRESS_TIMEOUT", "20s")];

impl System {
    /// An account and its subaccount with settings, history and a delivery that
    /// waits, all of them marked. Returns the account's id and the subaccount's.
    async fn marked(&self) -> (String, String) {
        let create = async |name: &str, parent: &str| {
            let request = CreateAccountRequest {
                name: name.into(),
                parent_name: parent.into(),
                api_key: format!("key-{name}"),
                if_absent: false,
            };
            let made = self.admin().await.create_account(request).await.expect("made");
            made.into_inner().account_id
        };
        let account_id = create(MARKER, "").await;
        let sub_id = create("marker-sub", MARKER).await;
        self.create_domain(DOMAIN, MARKER).await;
        self.create_domain("mail.marker-sub.example", "marker-sub").await;
        self.add_account_webhook(MARKER, &self.receiver.url("/marker/taken"), &["clicked"]).await;
        let says = || Reply::status(503).body("marker says no");
        self.receiver.on_post("/marker/waits", [says()]);
        let waits = self.receiver.url("/marker/waits");
        for (account, domain) in [(MARKER, DOMAIN), ("marker-sub", "mail.marker-sub.example")] {
            self.add_domain_webhook(account, domain, "clicked", &[&waits]).await;
            self.publish(marked_event(domain)).await;
        }
        self.add_alert(MARKER, "ip_listed", &self.receiver.url("/marker/alert")).await;
        self.receiver.wait_for_posts("/marker/taken", 2, SOON).await;
        self.receiver.wait_for_posts("/marker/waits", 2, SOON).await;
        eventually(SOON, "the history of both", || async {
            let attempts = self.sql("SELECT count(*) FROM attempts WHERE url LIKE '%marker%'");
            (attempts.trim() == "4").then_some(())
        })
        .await;
        (account_id, sub_id)
    }

    async fn close_and_erase(&self) {
        self.set_status(MARKER, "closed").await;
        let request = EraseAccountRequest { account_name: MARKER.into() };
        self.admin().await.erase_account(request).await.expect("erased");
    }

    /// Where the marker still stands: tables, streams, documents.
    async fn traces(&self) -> Vec<String> {
        let tables = self.sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' \
             AND table_name <> '_sqlx_migrations'",
        );
        let mut traces = Vec::new();
        for table in tables.lines() {
            // Bytes are printed in hex.
            let hex = hex(MARKER.as_bytes());
            let found = self.sql(&format!(
                "SELECT count(*) FROM {table} t \
                 WHERE t::text LIKE '%{MARKER}%' OR t::text LIKE '%{hex}%'"
            ));
            if found.trim() != "0" {
                traces.push(format!("{} rows of {table}", found.trim()));
            }
        }
        let nats_url = self.setting("NATS_URL");
        for stream in testkit::broker::streams(nats_url).await {
            if !stream.contains(self.setting("REGION")) {
                continue;
            }
            for (subject, data) in testkit::broker::messages(nats_url, &stream).await {
                if data.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()) {
                    traces.push(format!("a message on {subject}"));
                }
            }
        }
        traces
    }

    async fn wait_until_no_trace_is_left(&self) {
        eventually(SOON, "the last trace to be gone", || async {
            let traces = self.traces().await;
            eprintln!("traces: {traces:?}");
            // Asked twice, because what is under way leaves traces a moment later.
            let gone = traces.is_empty() && self.is_settled().await;
            (gone && self.traces().await.is_empty()).then_some(())
        })
        .await;
    }

    /// Whether no delivery is under way and history has all that was.
    async fn is_settled(&self) -> bool {
        let (nats_url, region) = (self.setting("NATS_URL"), self.setting("REGION"));
        let info = async |question: String| {
            testkit::broker::jetstream(nats_url, &question, &serde_json::json!({})).await
        };
        let deliveries = info(format!("STREAM.INFO.{region}_DELIVERIES_0")).await;
        let archive = info(format!("CONSUMER.INFO.{region}_OUTCOMES.{region}_archive")).await;
        deliveries["state"]["messages"] == 0
            && archive["num_pending"] == 0
            && archive["num_ack_pending"] == 0
            && self.sql("SELECT count(*) FROM erasures WHERE purged < found").trim() == "0"
    }
}

fn marked_event(domain: &str) -> Event {
    let id = format!("marker-{domain}");
    Event { id, account: String::new(), domain: domain.into(), ..example("clicked") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[tokio::test]
async fn nothing_of_an_erased_account_is_left_and_nothing_comes_back() {
    let system = System::start(WAIT).await;
    let (account_id, _) = system.marked().await;
    // An attempt that is under way all the while.
    let gate = Gate::new();
    let late = Reply::status(503).body("marker is late").behind(&gate);
    system.receiver.on_post("/marker/late", [late]);
    system.add_account_webhook(MARKER, &system.receiver.url("/marker/late"), &["opened"]).await;
    let opened = Event { id: "marker-late".into(), domain: DOMAIN.into(), ..example("opened") };
    system.publish(Event { account: String::new(), ..opened }).await;
    system.receiver.wait_for_posts("/marker/late", 1, SOON).await;

    let before = system.traces().await;
    for place in ["accounts", "domains", "events", "attempts", "routing_decisions"] {
        assert!(before.iter().any(|trace| trace.ends_with(&format!("of {place}"))), "{before:?}");
    }
    for place in [".events.", ".outcomes.", ".retry.", ".account.", ".domain."] {
        assert!(before.iter().any(|trace| trace.contains(place)), "{place}: {before:?}");
    }
    let demo = system.sql("SELECT count(*) FROM accounts WHERE name = 'demo'");
    assert_eq!(demo.trim(), "1");

    system.close_and_erase().await;
    let posts = |path: &str| system.receiver.posts(path).len();
    let waited = posts("/marker/waits");
    gate.open();
    system.wait_until_no_trace_is_left().await;
    // What waited has ended without another try, that of the subaccount too.
    assert_eq!((posts("/marker/waits"), posts("/marker/late")), (waited, 1));
    for table in ["events", "routing_decisions", "attempts", "ends", "undelivered"] {
        assert_eq!(system.sql(&format!("SELECT count(*) FROM {table}")).trim(), "0", "{table}");
    }
    let shown = GetAccountRequest { account_name: account_id.clone() };
    let shown = system.admin().await.get_account(shown).await.expect("shown").into_inner();
    assert_eq!((shown.status.as_str(), shown.label.as_str()), ("closed", ""));

    // Others have the name and the domain from now on, and their own history.
    // Not its key, which nobody is to have again.
    let heir = CreateAccountRequest { name: MARKER.into(), ..CreateAccountRequest::default() };
    let heir = system.admin().await.create_account(heir).await.expect("made").into_inner();
    assert_ne!(heir.account_id, account_id);
    let request =
        CreateDomainRequest { name: DOMAIN.into(), account_name: MARKER.into(), if_absent: false };
    system.admin().await.create_domain(request).await.expect("made again");
    let url = system.receiver.url("/new-owner");
    system.add_account_webhook(MARKER, &url, &["clicked"]).await;
    system
        .publish(Event { account: MARKER.into(), id: "theirs".into(), ..marked_event(DOMAIN) })
        .await;
    system.receiver.wait_for_posts("/new-owner", 1, SOON).await;
    system.wait_for_end("theirs", "delivered").await;
}

#[tokio::test]
async fn an_erasure_survives_every_death() {
    let mut system = System::start(WAIT).await;
    system.marked().await;
    system.set_status(MARKER, "closed").await;
    system.process("all").terminate(SOON).await;

    // It dies with the answer: the operator is told nothing, and all of it goes on.
    system.run("all", Some("settings.committed=return")).await;
    let request = EraseAccountRequest { account_name: MARKER.into() };
    let answer = system.admin().await.erase_account(request).await;
    assert!(answer.is_err(), "answered although it died");
    for point in ["settings.committed", "erasure.purged", "erasure.part_erased"] {
        let process = system.process("all");
        assert!(!process.wait(SOON).await.success(), "ended in order");
        let reached = format!("crash point {point} reached");
        assert!(process.log().contains(&reached), "{point}: {}", process.log());
        let next = match point {
            "settings.committed" => Some("erasure.purged=return"),
            "erasure.purged" => Some("erasure.part_erased=2*off->return"),
            _ => None,
        };
        // One that is to die may never be ready.
        match next {
            Some(_) => drop(system.begin("all", next)),
            None => system.run("all", None).await,
        }
    }
    system.wait_until_no_trace_is_left().await;
    let erased = "SELECT count(*) FROM accounts WHERE erased_at IS NOT NULL";
    assert_eq!(system.sql(erased).trim(), "2");
}
