//! The bucket of settings is what the database says, whatever becomes of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use testkit::{TestEnv, broker, eventually};

use crate::world::{DEADLINE, World};

/// What the bucket says of its being complete; nothing while it is not there.
async fn marker(env: &TestEnv) -> Option<String> {
    let subject = format!("$KV.{}_settings.complete", env.region);
    let get = format!("STREAM.MSG.GET.KV_{}_settings", env.region);
    let question = json!({"last_by_subj": subject});
    let answer = broker::try_jetstream(&env.nats_url, &get, &question).await?;
    let data = answer["message"]["data"].as_str().unwrap_or_default().to_owned();
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

async fn wait_until_complete(env: &TestEnv) {
    let database = env.sql("SELECT database_id FROM deployment").trim().to_owned();
    eventually(3 * DEADLINE, "the bucket to be complete", || async {
        (marker(env).await? == database).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_empty_database_makes_a_complete_bucket() {
    let env = TestEnv::new();
    let _world = World::start(&env).await;
    wait_until_complete(&env).await;
}

#[tokio::test]
async fn a_bucket_that_is_lost_gets_all_documents_again() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    wait_until_complete(&env).await;
    let stream = format!("STREAM.DELETE.KV_{}_settings", env.region);
    broker::jetstream(&env.nats_url, &stream, &json!({})).await;
    wait_until_complete(&env).await;
    assert_eq!(world.account_document("demo").await.name, "demo");
    assert_eq!(world.domain_document("mail.demo.example").await.name, "mail.demo.example");
}

#[tokio::test]
async fn a_bucket_that_was_put_back_to_an_older_copy_gets_all_documents_again() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    wait_until_complete(&env).await;
    // As if the broker had been further than it is now.
    env.sql("UPDATE deployment SET bucket_sequence = bucket_sequence + 1000");
    let before = world.account_document("demo").await.version;
    eventually(DEADLINE, "it to be published anew", || async {
        let noted = "SELECT bucket_sequence < 1000 FROM deployment";
        (env.sql(noted).trim() == "t").then_some(())
    })
    .await;
    wait_until_complete(&env).await;
    assert_eq!(world.account_document("demo").await.version, before);
}

#[tokio::test]
async fn documents_that_were_mangled_by_hand_are_repaired_and_seen() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    wait_until_complete(&env).await;
    let account = world.account_document("demo").await;
    let domain = world.domain_document("mail.demo.example").await;
    let of_account = format!("$KV.{}_settings.account.{}", env.region, account.account_id);
    let of_domain = format!("$KV.{}_settings.domain.{}", env.region, domain.domain_id);

    // An older version, which readers take for what holds.
    let older = prost::Message::encode_to_vec(&protocol::v1::AccountDocument {
        version: 0,
        redact_pii: true,
        ..account.as_ref().clone()
    });
    broker::publish(&env.nats_url, &of_account, &older).await;
    assert!(world.account_document("demo").await.redact_pii);
    eventually(DEADLINE, "the account to be as it was", || async {
        (!world.account_document("demo").await.redact_pii).then_some(())
    })
    .await;
    assert_eq!(world.account_document("demo").await, account);

    let in_bucket = async |subject: &str| {
        let get = format!("STREAM.MSG.GET.KV_{}_settings", env.region);
        let question = json!({"last_by_subj": subject});
        let answer = broker::try_jetstream(&env.nats_url, &get, &question).await?;
        let data = answer["message"]["data"].as_str()?.to_owned();
        STANDARD.decode(data).ok()
    };
    let whole = in_bucket(&of_domain).await.expect("a document");
    let purge = format!("STREAM.PURGE.KV_{}_settings", env.region);
    for garbage in [Some(&b"\xff\xff"[..]), None] {
        match garbage {
            Some(garbage) => broker::publish(&env.nats_url, &of_domain, garbage).await,
            None => {
                let filter = json!({"filter": of_domain});
                broker::jetstream(&env.nats_url, &purge, &filter).await;
            }
        }
        eventually(DEADLINE, "the domain to be there again", || async {
            (in_bucket(&of_domain).await? == whole).then_some(())
        })
        .await;
    }
    assert_eq!(world.domain_document("mail.demo.example").await, domain);
}
