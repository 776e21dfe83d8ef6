//! Erasing an account: settings at once, history by whoever is alive.

use std::fmt::Write as _;

use model::EventType;
use protocol::v1;
use testkit::{TestEnv, eventually};
use tokio::task::JoinSet;
use tonic::Code;

use crate::lifecycle::{HOOKS, assert_refused, erase, get, status};
use crate::world::{DEADLINE, World, send};

/// Every row of every table, as text.
fn dump(env: &TestEnv) -> String {
    let tables = env.sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' \
         AND table_name <> '_sqlx_migrations' ORDER BY 1",
    );
    tables.lines().fold(String::new(), |mut text, table| {
        let _ = write!(text, "{}", env.sql(&format!("SELECT '{table}', t.* FROM {table} t")));
        text
    })
}

/// A row in every table of history, of this account.
fn history(account_id: &str, n: u32) -> String {
    format!(
        "INSERT INTO events VALUES (gen_random_uuid(), '{account_id}', NULL, 'clicked', \
         'marker-event', now(), now(), {n}, '', '\\x00'); \
         INSERT INTO routing_decisions VALUES ('{n:032}', now(), 0, 'duplicate', 'domain', \
         'x', NULL, 'https://marker.example/', NULL, 'y', NULL, '{account_id}', 1); \
         INSERT INTO attempts VALUES (gen_random_uuid(), gen_random_uuid(), 0, now(), \
         '{account_id}', NULL, 0, 1, true, 1, 'https://marker.example/', 200, 'ok', '', '', NULL); \
         INSERT INTO ends VALUES (gen_random_uuid(), NULL, '{account_id}', NULL, 0, 0, \
         'suppressed', 'marker', now(), 0, NULL, NULL); \
         INSERT INTO undelivered VALUES (gen_random_uuid(), '{account_id}', NULL, 'suppressed', \
         now(), '\\x00');"
    )
}

async fn rows_of(env: &TestEnv, account_id: &str) -> String {
    env.sql(&format!(
        "SELECT (SELECT count(*) FROM events WHERE account_id = '{account_id}'), \
         (SELECT count(*) FROM routing_decisions WHERE account_id = '{account_id}'), \
         (SELECT count(*) FROM attempts WHERE account_id = '{account_id}'), \
         (SELECT count(*) FROM ends WHERE account_id = '{account_id}'), \
         (SELECT count(*) FROM undelivered WHERE account_id = '{account_id}')"
    ))
    .trim()
    .to_owned()
}

#[tokio::test]
async fn a_closed_account_is_erased_with_its_subaccounts_and_nobody_else() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    let sub = world.account("marker-sub", "demo").await;
    let other = world.account("other", "").await;
    world.domain("marker.sub.example", "marker-sub").await;
    let mut admin = world.admin();
    let form = [("id", "clicked"), ("url", "https://marker.example/")];
    send(world.call("POST", HOOKS).form(&form)).await.expect_status(200);
    // Saving one through the API needs a mail relay.
    env.sql(&format!(
        "INSERT INTO alert_settings (setting_id, account_id, event_type, channel, emails, \
         created_at) VALUES (gen_random_uuid(), '{demo}', 'ip_listed', 'email', \
         ARRAY['marker@mail.example'], now())"
    ));
    let webhook = v1::CreateAccountWebhookRequest {
        account_name: "marker-sub".into(),
        url: "https://marker.example/".into(),
        event_types: vec!["clicked".into()],
        description: "marker".into(),
    };
    admin.create_account_webhook(webhook).await.expect("made");
    let key = v1::CreateKeyRequest {
        account_name: "demo".into(),
        description: "marker".into(),
        ..Default::default()
    };
    admin.create_key(key).await.expect("made");
    let update = v1::UpdateAccountRequest {
        account_name: "demo".into(),
        contact_email: Some("marker@demo.example".into()),
        quotas: vec![],
    };
    admin.update_account(update).await.expect("updated");
    for (n, account_id) in (0..).zip([&demo, &sub, &other]) {
        env.sql(&history(account_id, n));
    }
    let signing = async |world: &World, name: &str| {
        let request = v1::GetSigningKeysRequest { account_name: name.into() };
        world.admin().get_signing_keys(request).await.expect("shown").into_inner()
    };
    let keys_before = signing(&world, "demo").await;

    let message = "account demo is not closed; close it first, which is final";
    assert_refused(admin.erase_account(erase("demo")).await, Code::FailedPrecondition, message);
    assert!(dump(&env).contains("marker@demo.example"), "nothing was erased");
    admin.set_account_status(status("demo", "closed", "marker")).await.expect("closed");
    let erased = admin.erase_account(erase("demo")).await.expect("erased").into_inner();
    assert!(erased.erased_at.is_some());
    assert_eq!(erased.name, format!("erased-{demo}"));
    // In force with the answer: nothing of it goes anywhere.
    for id in [&demo, &sub] {
        let document = world.account_document(id).await;
        assert!(document.erased && document.webhooks.is_empty() && document.alerts.is_empty());
    }
    assert_ne!(signing(&world, &demo).await, keys_before);

    // Of the other account everything stays.
    let kept = "1|1|1|1|1";
    eventually(DEADLINE, "the history to be gone", || async {
        let gone = "0|0|0|0|0";
        (rows_of(&env, &demo).await == gone && rows_of(&env, &sub).await == gone).then_some(())
    })
    .await;
    assert_eq!(rows_of(&env, &other).await, kept);
    env.sql(&format!(
        "DELETE FROM routing_decisions WHERE account_id = '{other}'; \
         DELETE FROM events WHERE account_id = '{other}'; \
         DELETE FROM attempts WHERE account_id = '{other}'; \
         DELETE FROM ends WHERE account_id = '{other}'"
    ));
    let left = dump(&env);
    for marker in ["marker", "mail.demo.example", "\ndemo|", "|demo|"] {
        assert!(!left.contains(marker), "{marker}: {left}");
    }

    // Again changes nothing; by its id, because the name is gone.
    assert_refused(admin.erase_account(erase("demo")).await, Code::NotFound, "account not found");
    let again = admin.erase_account(erase(&demo)).await.expect("again").into_inner();
    assert_eq!(again.erased_at, erased.erased_at);
    // Name and domain are free for somebody else, who starts with nothing.
    world.account("other-sub", "other").await;
    world.domain("mail.demo.example", "other-sub").await;
    world.domain("marker.sub.example", "other").await;
    assert!(world.webhooks("mail.demo.example").await.is_empty());
    let named = "SELECT name FROM domains WHERE deleted_at IS NULL ORDER BY 1";
    assert_eq!(env.sql(named).trim(), "mail.demo.example\nmarker.sub.example");
    let new = v1::CreateAccountRequest { name: "demo".into(), ..Default::default() };
    let new = admin.create_account(new).await.expect("made").into_inner();
    assert_eq!(world.account_document("demo").await.account_id, new.account_id);
    world.stop().await;
}

#[tokio::test]
async fn history_is_gone_through_once_more_for_what_has_raced() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mut admin = world.admin();
    let demo = world.account_document("demo").await.account_id.clone();
    admin.set_account_status(status("demo", "closed", "")).await.expect("closed");
    admin.erase_account(erase("demo")).await.expect("erased");
    let passes = "SELECT passes FROM erasures";
    eventually(DEADLINE, "the first pass", || async {
        (env.sql(passes).trim() == "1").then_some(())
    })
    .await;
    let under_way = admin.get_account(get(&demo)).await.expect("shown").into_inner();
    assert_eq!(under_way.erasure_done_at, None);

    // A statement that began before the erasure and ended after the first pass.
    env.sql(&history(&demo, 7));
    assert_eq!(rows_of(&env, &demo).await, "1|1|1|1|1");
    env.sql("UPDATE erasures SET next_pass_at = now()");
    eventually(DEADLINE, "the end of the erasure", || async {
        let shown = admin.clone().get_account(get(&demo)).await.expect("shown").into_inner();
        shown.erasure_done_at
    })
    .await;
    assert_eq!(rows_of(&env, &demo).await, "0|0|0|0|0");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_an_account_is_erased_does_not_stay() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    // Customers of the account write as fast as they can, until they are refused.
    let mut writes = JoinSet::new();
    for id in EventType::WEBHOOKS {
        let form = [("id", id.as_str()), ("url", "https://marker.example/")];
        writes.spawn(world.call("POST", HOOKS).form(&form).send());
        let form = [("contact_email", "marker@demo.example")];
        writes.spawn(world.call("PUT", "/postrider/v1/account").form(&form).send());
    }
    let erasure = async {
        let mut admin = world.admin();
        admin.set_account_status(status("demo", "closed", "")).await.expect("closed");
        admin.erase_account(erase("demo")).await.expect("erased");
    };
    let (answers, ()) = tokio::join!(writes.join_all(), erasure);
    // Each was in time, or was told; none was answered by an error of ours.
    for answer in answers {
        let status = answer.expect("answered").status;
        assert!([200, 401, 403, 404].contains(&status), "{status}");
    }
    assert!(!dump(&env).contains("marker"), "{}", dump(&env));
    assert!(world.account_document(&demo).await.webhooks.is_empty());
    world.stop().await;
}
