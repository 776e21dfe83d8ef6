//! Many writers at once.

use std::sync::Arc;

use protocol::v1;
use testkit::TestEnv;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::world::{World, send};

const WRITERS: usize = 20;
const BASE: &str = "/v3/domains/mail.demo.example/webhooks";

/// Lets all writers begin at the same moment, and collects what they return.
async fn race<T, F>(write: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(WRITERS));
    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        let (start, write) = (Arc::clone(&start), write(n));
        writers.spawn(async move {
            start.wait().await;
            write.await
        });
    }
    writers.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_creates_one_wins() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let statuses = race(|n| {
        let url = format!("https://hooks.example.net/{n}");
        let request = world.call("POST", BASE).form(&[("id", "clicked"), ("url", &url)]);
        async move { send(request).await.status }
    })
    .await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 19, "{statuses:?}");
    let [(_, urls)] = &world.webhooks("mail.demo.example").await[..] else { panic!("one id") };
    assert_eq!(urls.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost_and_the_last_document_is_the_last_state() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let ids = ["accepted", "delivered", "opened", "clicked", "complained"];
    for id in ids {
        let form = [("id", id), ("url", "https://hooks.example.net/")];
        send(world.call("POST", BASE).form(&form)).await.expect_status(200);
    }
    let before = world.domain_document("mail.demo.example").await.version;
    let statuses = race(|n| {
        let urls = [0, 1, 2].map(|m| format!("https://hooks.example.net/{n}/{m}"));
        let form: Vec<_> = urls.iter().map(|url| ("url", url.as_str())).collect();
        let path = format!("{BASE}/{}", ids[n % ids.len()]);
        let request = world.call("PUT", &path).form(&form);
        async move { send(request).await.status }
    })
    .await;
    assert_eq!(statuses, vec![200; WRITERS]);

    // Every change was counted, every answer waited for its document, and what
    // the delivery path sees is what the database holds.
    let document = world.domain_document("mail.demo.example").await;
    assert_eq!(document.version, before + WRITERS as u64);
    let mut seen: Vec<String> = document
        .webhooks
        .iter()
        .map(|webhook| format!("{}|{}", webhook.event_type, webhook.urls.join(" ")))
        .collect();
    seen.sort();
    assert_eq!(seen, rows(&env));
    assert!(document.webhooks.iter().all(|webhook| webhook.urls.len() == 3));
    assert_eq!(env.sql("SELECT count(*) FROM settings_outbox").trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_never_gets_a_fourth_url_for_a_type() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let codes =
        race(|n| {
            let mut admin = world.admin();
            let request = v1::CreateAccountWebhookRequest {
                account_name: "demo".into(),
                url: format!("https://hooks.example.net/{n}"),
                event_types: vec!["clicked".into(), "opened".into()],
                description: String::new(),
            };
            async move {
                admin.create_account_webhook(request).await.map_err(|status| status.code()).err()
            }
        })
        .await;
    assert_eq!(codes.iter().filter(|code| code.is_none()).count(), 3, "{codes:?}");
    let refused = Some(tonic::Code::FailedPrecondition);
    assert_eq!(codes.iter().filter(|code| **code == refused).count(), 17, "{codes:?}");
    assert_eq!(world.account_document("demo").await.webhooks.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_operators_who_make_an_account_if_absent_all_get_the_same() {
    let env = TestEnv::new();
    let world = World::start(&env).await;
    let ids =
        race(|_| {
            let mut admin = world.admin();
            let request = v1::CreateAccountRequest {
                name: "demo".into(),
                api_key: "key-demo".into(),
                if_absent: true,
                ..v1::CreateAccountRequest::default()
            };
            async move {
                admin.create_account(request).await.map(|account| account.into_inner().account_id)
            }
        })
        .await;
    let first = ids[0].as_ref().expect("made").clone();
    assert!(ids.iter().all(|id| id.as_ref().is_ok_and(|id| *id == first)), "{ids:?}");
    assert_eq!(world.account_document("demo").await.account_id, first);
}

/// What the database holds of domain webhooks: id and URLs.
fn rows(env: &TestEnv) -> Vec<String> {
    let rows = env.sql(
        "SELECT event_type, string_agg(url, ' ' ORDER BY position) FROM domain_webhooks \
         GROUP BY event_type ORDER BY event_type",
    );
    rows.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_never_give_a_type_a_fourth_url_and_never_half_of_a_request() {
    let env = TestEnv::new();
    let worlds = [World::demo(&env).await, World::start(&env).await];
    let v4 = "/v4/domains/mail.demo.example/webhooks";
    let statuses = race(|n| {
        let url = format!("https://hooks.example.net/{n}");
        let world = &worlds[n % 2];
        // Half of them by URL to two types, half of them by id to one.
        let request = if n % 4 < 2 {
            let form =
                [("url", url.as_str()), ("event_types", "opened"), ("event_types", "clicked")];
            world.call("POST", v4).form(&form)
        } else {
            world.call("POST", BASE).form(&[("id", "clicked"), ("url", &url)])
        };
        async move { (n, send(request).await.status) }
    })
    .await;
    assert!(statuses.iter().all(|(_, status)| matches!(status, 200 | 400)), "{statuses:?}");

    let document = worlds[1].domain_document("mail.demo.example").await;
    let urls = |id: &str| {
        let webhook = document.webhooks.iter().find(|webhook| webhook.event_type == id);
        webhook.map(|webhook| webhook.urls.clone()).unwrap_or_default()
    };
    let (opened, clicked) = (urls("opened"), urls("clicked"));
    // Whatever came first, the others filled the type up.
    assert_eq!(clicked.len(), 3, "{document:?}");
    for (n, status) in statuses {
        let url = format!("https://hooks.example.net/{n}");
        let stands = [opened.contains(&url), clicked.contains(&url)];
        let expected = [status == 200 && n % 4 < 2, status == 200];
        assert_eq!(stands, expected, "{url} answered {status}");
    }
    assert_eq!(
        rows(&env),
        [format!("clicked|{}", clicked.join(" ")), format!("opened|{}", opened.join(" "))]
    );
    assert_eq!(env.sql("SELECT count(*) FROM settings_outbox").trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_lose_no_write_of_each_other() {
    let env = TestEnv::new();
    let worlds = [World::demo(&env).await, World::start(&env).await];
    let before = worlds[0].domain_document("mail.demo.example").await.version;
    let ids = ["accepted", "delivered", "opened", "clicked", "complained", "unsubscribed"];
    let statuses = race(|n| {
        // Eighteen pairs of a URL and an id, each written once; and two older ids, with a URL
        // that their types have.
        let path = if n < 18 { n / 6 } else { 0 };
        let (world, url) = (&worlds[n % 2], format!("https://hooks.example.net/{path}"));
        let request = match n {
            18 | 19 => {
                let id = if n == 18 { "deliver" } else { "drop" };
                world.call("POST", BASE).form(&[("id", id), ("url", &url)])
            }
            _ => {
                let form = [("url", url.as_str()), ("event_types", ids[n % 6])];
                world.call("POST", "/v4/domains/mail.demo.example/webhooks").form(&form)
            }
        };
        async move { send(request).await.status }
    })
    .await;
    assert_eq!(statuses, vec![200; WRITERS]);
    for world in &worlds {
        let document = world.domain_document("mail.demo.example").await;
        assert_eq!(document.version, before + WRITERS as u64);
    }
    let counts = env.sql(
        "SELECT event_type, count(*), max(position) FROM domain_webhooks \
         GROUP BY event_type ORDER BY event_type",
    );
    let mut expected: Vec<String> = ids.iter().map(|id| format!("{id}|3|2")).collect();
    expected.extend(["deliver|1|0", "drop|1|0"].map(str::to_owned));
    expected.sort();
    let mut counts: Vec<&str> = counts.lines().collect();
    counts.sort_unstable();
    assert_eq!(counts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_keep_to_the_quota_of_an_account_over_its_domains() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_QUOTA_WEBHOOKS", "5")];
    let clock = chassis::Clock::system;
    let first = World::demo_configured(&env, &settings, clock()).await;
    let worlds = [first, World::configured(&env, &settings, clock()).await];
    worlds[0].domain("second.demo.example", "demo").await;
    let domains = ["mail.demo.example", "second.demo.example"];
    let statuses = race(|n| {
        let world = &worlds[n % 2];
        let url = format!("https://hooks.example.net/{n}");
        let of_domain = |version| format!("/{version}/domains/{}/webhooks", domains[n / 2 % 2]);
        let request = match n % 3 {
            0 => {
                world.call("POST", "/v1/webhooks").form(&[("url", &url), ("event_types", "opened")])
            }
            1 => world.call("POST", &of_domain("v3")).form(&[("id", "clicked"), ("url", &url)]),
            _ => world
                .call("POST", &of_domain("v4"))
                .form(&[("url", &url), ("event_types", "opened")]),
        };
        async move { send(request).await.status }
    })
    .await;
    let made = statuses.iter().filter(|status| **status == 200).count();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 400 | 409)), "{statuses:?}");
    let rows = env.sql(
        "SELECT (SELECT count(*) FROM domain_webhooks) \
         + (SELECT count(*) FROM account_webhook_events)",
    );
    assert_eq!((made, rows.trim()), (5, "5"), "{statuses:?}");
}
