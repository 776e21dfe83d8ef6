//! Changes whose process died between commit and publication.

use testkit::{TestEnv, eventually};

use crate::world::{DEADLINE, World};

/// What such a process leaves behind: the change, the version, the outbox row.
const LEFT_BEHIND: &str = "BEGIN; \
    UPDATE accounts SET redact_pii = true, version = version + 1 WHERE name = 'demo'; \
    INSERT INTO settings_outbox SELECT 'account.' || account_id, version, now() - interval '1 minute' \
    FROM accounts WHERE name = 'demo'; COMMIT";

#[tokio::test]
async fn a_running_service_publishes_what_others_left_behind() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    env.sql(LEFT_BEHIND);
    eventually(DEADLINE, "the document", || async {
        world.account_document("demo").await.redact_pii.then_some(())
    })
    .await;
    assert_eq!(world.account_document("demo").await.version, 2);
    eventually(DEADLINE, "an empty outbox", || async {
        (env.sql("SELECT count(*) FROM settings_outbox").trim() == "0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_publishes_what_was_left_behind_before_it_started() {
    let env = TestEnv::new();
    World::demo(&env).await.stop().await;
    env.sql(LEFT_BEHIND);
    let world = World::start(&env).await;
    eventually(DEADLINE, "the document", || async {
        world.account_document("demo").await.redact_pii.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hundred_and_fifty_documents_that_cannot_be_published_hold_up_no_other_one() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    // Of accounts that are not there, and older than the change that waits behind them.
    env.sql(
        "INSERT INTO settings_outbox (document_key, version, queued_at) \
         SELECT 'account.none' || n, 1, now() - interval '2 minutes' FROM generate_series(1, 150) n",
    );
    env.sql(&LEFT_BEHIND.replace(
        "INSERT INTO settings_outbox SELECT",
        "INSERT INTO settings_outbox (document_key, version, queued_at) SELECT",
    ));
    eventually(DEADLINE, "the document", || async {
        world.account_document("demo").await.redact_pii.then_some(())
    })
    .await;
    assert_eq!(env.sql("SELECT count(*) FROM settings_outbox").trim(), "150");
}
