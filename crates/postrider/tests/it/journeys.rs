//! A journey for every way in which an event can end, made by the real system, and
//! compared with files. A change is accepted with `INSTA_UPDATE=always`, and read.
//!
//! Three ends take an hour when all is well. For these a delivery is put into the
//! broker as one that has been on its way for that long, as a resend of one that
//! went well; all that then happens to it is as it is.

mod normal;

use std::time::Duration;

use bus::{Bus, BusConfig};
use chassis::{Clock, Env, Tasks};
use prost::Message as _;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{
    AcceptedEvent, AlertTarget, Channel, Delivery, Event, Level, MessageTarget, PublishRequest,
    Target,
};
use serde_json::{Value, json};
use testkit::{Act, Gate, Mailbox, Reply, Stage, eventually, http};

use self::normal::Normal;
use crate::system::{SOON, System, example};

/// The platform, and the relay of its mails.
struct World {
    system: System,
    mailbox: Mailbox,
    /// Some tries are not answered before it opens.
    gate: Gate,
}

/// An event whose journey is looked at: name of the file and id, the key of its
/// account, and how many deliveries it comes to.
struct Case {
    name: &'static str,
    key: &'static str,
    deliveries: usize,
}

const fn case(name: &'static str, deliveries: usize) -> Case {
    Case { name, key: "key-demo", deliveries }
}

const CASES: [Case; 20] = [
    case("delivered-at-once", 1),
    case("delivered-after-a-retry", 1),
    case("rejected", 1),
    case("exhausted", 1),
    case("exhausted-by-its-breaker", 2),
    case("waiting", 1),
    case("duplicate", 1),
    case("deleted", 1),
    case("domain-disabled", 1),
    case("domain-was-disabled", 0),
    Case { name: "account-not-open", key: "key-demo-sub", deliveries: 1 },
    case("held-while-paused", 1),
    case("poisoned", 2),
    case("no-match", 0),
    case("resent", 2),
    case("resent-although-delivered", 2),
    case("alert-exhausted", 1),
    case("held-while-disabled", 1),
    case("mail-in-part", 1),
    case("expired", 2),
];

#[tokio::test]
async fn there_is_a_journey_for_every_way_to_end() {
    let world = World::start().await;
    world.prepare().await;
    world.change_settings().await;
    world.send_again().await;
    world.make_old().await;
    let mut normal = Normal::new(&world.system.receiver.url(""));
    for case in &CASES {
        let journey = world.settled(case).await;
        insta::assert_json_snapshot!(case.name, normal.of(journey));
    }
}

/// The domain of a case that has one.
fn domain_of(name: &str) -> String {
    format!("{name}.demo.example")
}

fn clicked(name: &str) -> Event {
    Event { id: name.into(), domain: domain_of(name), ..example("clicked") }
}

impl World {
    async fn start() -> Self {
        let mailbox = Mailbox::start().await;
        let relay = mailbox.url();
        let system = System::start(&[
            ("SEND_RETRY_SCHEDULE", "1s"),
            ("ALERTS_RETRY_SCHEDULE", "1s"),
            ("SMTP_URL", &relay),
            ("SMTP_TIMEOUT", "2s"),
            ("SMTP_CONNECT_TIMEOUT", "1s"),
            ("MAIL_FROM", "Postrider <alerts@example.net>"),
        ])
        .await;
        Self { system, mailbox, gate: Gate::new() }
    }

    /// Makes what each case needs, and publishes its event.
    async fn prepare(&self) {
        let Self { system, mailbox, gate } = self;
        system.create_account("demo-sub", Some("demo")).await;
        let busy = Reply::status(429).header("Retry-After", "600");
        for (name, replies) in [
            ("delivered-at-once", vec![Reply::status(200)]),
            ("delivered-after-a-retry", vec![Reply::status(500).body("later"), Reply::status(200)]),
            ("rejected", vec![Reply::status(406)]),
            ("exhausted", vec![Reply::status(500)]),
            ("exhausted-by-its-breaker", vec![Reply::status(200), busy]),
            ("deleted", vec![Reply::status(500).behind(gate)]),
            ("domain-disabled", vec![Reply::status(500).behind(gate)]),
            ("account-not-open", vec![Reply::status(500).behind(gate)]),
            ("held-while-paused", vec![Reply::status(200)]),
            ("poisoned", vec![Reply::status(200)]),
            ("resent", vec![Reply::status(500), Reply::status(500), Reply::status(200)]),
            ("resent-although-delivered", vec![Reply::status(200)]),
        ] {
            let account = if name == "account-not-open" { "demo-sub" } else { "demo" };
            let path = format!("/{name}");
            let url = system.receiver.url(&path);
            system.receiver.on_post(&path, replies);
            system.create_domain(&domain_of(name), account).await;
            system.add_domain_webhook(account, &domain_of(name), "clicked", &[&url]).await;
            if name == "held-while-paused" {
                let body = json!({"url": url, "paused": true});
                self.call("PUT", "/postrider/v1/urls/paused", &body).await;
            }
            self.publish(clicked(name)).await;
        }
        system.create_domain(&domain_of("no-match"), "demo").await;
        self.publish(clicked("no-match")).await;

        let both = system.receiver.url("/both");
        system.create_domain(&domain_of("duplicate"), "demo").await;
        system.add_account_webhook("demo", &both, &["opened"]).await;
        system.add_domain_webhook("demo", &domain_of("duplicate"), "opened", &[&both]).await;
        let (id, domain) = ("duplicate".into(), domain_of("duplicate"));
        self.publish(Event { id, domain, ..example("opened") }).await;

        system.receiver.on_post("/alert", [Reply::status(500)]);
        system.add_alert("demo", "validation_job", &system.receiver.url("/alert")).await;
        self.publish(Event { id: "alert-exhausted".into(), ..example("validation_job") }).await;

        let gone = Act::reply(550, "5.1.1 <gone@shop.example>: no such user");
        mailbox.on_recipient("gone@shop.example", [gone]);
        for (event_type, name, emails) in [
            ("ip_delisted", "mail-in-part", &["gone@shop.example", "ops@shop.example"][..]),
            ("ip_listed", "expired", &["ops@shop.example"]),
        ] {
            let settings = json!({"emails": emails});
            let body = json!({"event_type": event_type, "channel": "email", "settings": settings});
            self.call("POST", "/v1/alerts/settings/events", &body).await;
            self.publish(Event { id: name.into(), ..example(event_type) }).await;
        }
    }

    /// Changes settings while tries are under way, and publishes what is for the time after.
    async fn change_settings(&self) {
        let Self { system, gate, .. } = self;
        for name in ["deleted", "domain-disabled", "account-not-open"] {
            system.receiver.wait_for_posts(&format!("/{name}"), 1, SOON).await;
        }
        let path = format!("/v3/domains/{}/webhooks/clicked", domain_of("deleted"));
        let delete = http::delete(system.url(&path)).basic_auth("api", "key-demo");
        delete.send().await.expect("answered").expect_status(200);
        system.set_domain_disabled(&domain_of("domain-disabled"), true).await;
        let id = "domain-was-disabled".into();
        self.publish(Event { id, ..clicked("domain-disabled") }).await;
        system.set_status("demo-sub", "disabled").await;
        gate.open();
        system.wait_for_end("account-not-open", "suppressed").await;
        // Its calls are answered again.
        system.set_status("demo-sub", "open").await;

        // Settings show it a moment before fanout knows.
        eventually(SOON, "the alert to be disabled", || async {
            let settings = system.alert_settings("demo").await;
            let all = settings["events"].as_array().cloned().unwrap_or_default();
            all.iter().any(|setting| setting["disabled_at"].is_string()).then_some(())
        })
        .await;
        for number in 0.. {
            let id = format!("early-{number}");
            self.publish(Event { id: id.clone(), ..example("validation_job") }).await;
            let verdict = eventually(SOON, "its routing", || async {
                let journey = self.journey("key-demo", &id).await?;
                journey["routings"][0]["decisions"][0]["verdict"].as_str().map(str::to_owned)
            })
            .await;
            if verdict == "disabled" {
                break;
            }
        }
        self.publish(Event { id: "held-while-disabled".into(), ..example("validation_job") }).await;

        // Its target, which has taken one, wants to be left alone from now on.
        self.system.wait_for_end("exhausted-by-its-breaker", "delivered").await;
        let domain = domain_of("exhausted-by-its-breaker");
        self.publish(Event { id: "waiting".into(), domain, ..example("clicked") }).await;
    }

    /// Sends two events again, each call twice.
    async fn send_again(&self) {
        self.system.wait_for_end("resent", "exhausted").await;
        self.system.wait_for_end("resent-although-delivered", "delivered").await;
        for (name, body) in
            [("resent", json!({})), ("resent-although-delivered", json!({"all": true}))]
        {
            let path = format!("/postrider/v1/events/{name}/resend");
            let first = self.call("POST", &path, &body).await;
            assert_eq!(first["sent"].as_array().map(Vec::len), Some(1), "{first}");
            let again = self.call("POST", &path, &body).await;
            assert_eq!(again["sent"], json!([]), "{again}");
            self.system.receiver.wait_for_posts(&format!("/{name}"), 2, SOON).await;
        }
    }

    /// Puts deliveries into the broker that an hour ago were sent again.
    async fn make_old(&self) {
        self.settled(&case("waiting", 1)).await;
        self.system.wait_for_end("poisoned", "delivered").await;
        self.system.wait_for_end("expired", "delivered").await;
        self.mailbox.at(Stage::Sender, [Act::reply(421, "4.3.2 not today")]);
        for name in ["exhausted-by-its-breaker", "poisoned", "expired"] {
            let mut delivery = self.an_hour_later(name).await;
            // When a first hop was due is what the broker says; this one has been parked.
            delivery.hop = 1;
            if name == "poisoned" {
                delivery.accepted_event = b"\xff".as_slice().into();
            }
            self.bus().await.publish_delivery(&delivery).await.expect("stored");
        }
    }

    /// The next delivery of this event to its one target, which was due an hour ago.
    async fn an_hour_later(&self, event_id: &str) -> Delivery {
        let (nats, region) = (self.system.setting("NATS_URL"), self.system.setting("REGION"));
        let events = testkit::broker::messages(nats, &format!("{region}_EVENTS")).await;
        let mut events = events.iter().map(|(_, bytes)| AcceptedEvent::decode(&**bytes));
        let is_it = |accepted: &AcceptedEvent| {
            accepted.event.as_ref().is_some_and(|event| event.id == event_id)
        };
        let accepted = events.find_map(|event| event.ok().filter(is_it)).expect("an event");
        let account_id = accepted.account_id.clone();
        let journey = self.journey("key-demo", event_id).await.expect("a journey");
        let delivery = &journey["deliveries"][0];
        let (target, level) = match delivery["alert_setting_id"].as_str() {
            Some(setting_id) => {
                let kind = AlertTarget {
                    account_id,
                    setting_id: setting_id.to_owned(),
                    setting_generation: 1,
                    channel: Channel::Email.into(),
                };
                let id = model::alert_target_id(setting_id);
                (Target { id, kind: Some(TargetKind::Alert(kind)) }, Level::Alert)
            }
            None => {
                let url = delivery["url"].as_str().expect("a URL").to_owned();
                let id = model::message_target_id(&account_id, &url);
                let kind = TargetKind::Message(MessageTarget { account_id, url });
                (Target { id, kind: Some(kind) }, Level::Domain)
            }
        };
        let hour = chrono::TimeDelta::hours(1);
        let first = model::delivery_id(&accepted.event_key, &accepted.acceptance, &target.id);
        let delivery_id = model::next_delivery_id(&first, &accepted.event_key, &target.id, 0);
        let delivery_id = delivery_id.expect("an id");
        Delivery {
            delivery_id,
            event_key: accepted.event_key.clone(),
            target: Some(target),
            generation: 1,
            first_due: Some((Clock::system().now() - hour).into()),
            level: level.into(),
            accepted_event: accepted.encode_to_vec().into(),
            ..Delivery::default()
        }
    }

    async fn bus(&self) -> Bus {
        let names = ["NATS_URL", "REGION", "LEASE", "DELIVERIES_DEDUP_WINDOW"];
        let settings =
            names.map(|name| (format!("POSTRIDER_{name}"), self.system.setting(name).to_owned()));
        let config = BusConfig::read(&mut Env::from_pairs(settings));
        Bus::connect(config, Clock::system(), &Tasks::new()).await.expect("a broker")
    }

    async fn publish(&self, event: Event) {
        let mut request = tonic::Request::new(PublishRequest { events: vec![event] });
        let caller = "the golden files".parse().expect("a name");
        request.metadata_mut().insert("x-postrider-caller", caller);
        self.system.ingest().await.publish(request).await.expect("accepted");
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = self.system.url(path);
        let request = if method == "POST" { http::post(url) } else { http::put(url) };
        let request = request.basic_auth("api", "key-demo").json(body);
        request.send().await.expect("answered").expect_status(200).json()
    }

    /// The journey of an event, once history has the event.
    async fn journey(&self, key: &str, event_id: &str) -> Option<Value> {
        let path = format!("/postrider/v1/events/{event_id}/journey");
        let answer = http::get(self.system.url(&path)).basic_auth("api", key).send().await;
        let answer = answer.expect("answered");
        (answer.status != 404).then(|| answer.expect_status(200).json())
    }

    /// The same, once history has all of it.
    async fn settled(&self, case: &Case) -> Value {
        let Case { name, key, deliveries } = case;
        eventually(Duration::from_secs(20), &format!("the journey of {name}"), || async {
            let journey = self.journey(key, name).await?;
            let told = journey["deliveries"].as_array()?;
            let is_there = journey["routings"].as_array().is_some_and(|all| !all.is_empty());
            let is_settled = is_there && told.len() == *deliveries && told.iter().all(is_settled);
            is_settled.then_some(journey)
        })
        .await
    }
}

/// Whether all tries of a delivery are told that its end counts; or, as nothing
/// else here, that it waits for a target that is left alone.
fn is_settled(delivery: &Value) -> bool {
    let Some(attempts) = delivery["attempts"].as_array() else { return false };
    let charged = attempts.iter().filter(|attempt| attempt["charged"] == true).count();
    match delivery["end"]["attempts"].as_u64() {
        Some(counted) => u64::try_from(charged).is_ok_and(|charged| charged == counted),
        None => attempts.last().is_some_and(|attempt| attempt["reason"] == "breaker_open"),
    }
}
