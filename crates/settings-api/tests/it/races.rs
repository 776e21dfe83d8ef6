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
    let rows = env.sql(
        "SELECT event_type, string_agg(url, ' ' ORDER BY position) FROM domain_webhooks \
         GROUP BY event_type ORDER BY event_type",
    );
    let mut seen: Vec<String> = document
        .webhooks
        .iter()
        .map(|webhook| format!("{}|{}", webhook.event_type, webhook.urls.join(" ")))
        .collect();
    seen.sort();
    assert_eq!(seen, rows.lines().collect::<Vec<_>>());
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
