//! The change of `POSTRIDER_SECRET_KEY`.

use chassis::Clock;
use prost::Message as _;
use protocol::v1;
use signing::{Sealed, SecretKey};
use testkit::TestEnv;

use crate::world::{World, send};

const KEY: &str = "/v5/accounts/http_signing_key";

async fn keys(world: &World, account: &str) -> v1::SigningKeys {
    let request = v1::GetSigningKeysRequest { account_name: account.to_owned() };
    world.admin().get_signing_keys(request).await.expect("keys").into_inner()
}

async fn reseal(world: &World) -> Result<u64, tonic::Status> {
    let answer = world.admin().reseal_secrets(v1::ResealSecretsRequest {}).await?;
    Ok(answer.into_inner().secrets)
}

#[tokio::test]
async fn after_resealing_the_new_key_alone_opens_everything() {
    let env = TestEnv::new();
    let (old, new) = ("5e".repeat(32), "6f".repeat(32));
    let both = format!("{new},{old}");
    let under = |keys: String| {
        let env = &env;
        async move {
            let settings = [("POSTRIDER_SECRET_KEY", keys.as_str())];
            World::configured(env, &settings, Clock::system()).await
        }
    };

    let world = under(old.clone()).await;
    world.account("demo", "").await;
    world.account("demo-sub", "demo").await;
    world.account("other", "").await;
    let replaced = keys(&world, "demo").await.http_signing_key;
    let post = world.call("POST", &format!("{KEY}?overlap_seconds=3600"));
    send(post).await.expect_status(200);
    // One that signs no more is not worth sealing anew.
    let post = world.anonymous("POST", &format!("{KEY}?overlap_seconds=3600"));
    send(post.basic_auth("api", "key-other")).await.expect_status(200);
    env.sql(
        "UPDATE accounts SET previous_http_signing_key_until = '2025-01-01' WHERE name = 'other'",
    );
    let names = ["demo", "demo-sub", "other"];
    let mut before = Vec::new();
    for name in names {
        before.push(keys(&world, name).await);
    }
    let version = world.account_document("demo").await.version;
    world.stop().await;

    let world = under(both).await;
    // Two keys of each of three accounts, and the one that is being replaced.
    assert_eq!(reseal(&world).await.expect("resealed"), 7);
    assert!(world.account_document("demo").await.version > version);
    let version = world.account_document("demo").await.version;
    assert_eq!(reseal(&world).await.expect("done before"), 0);
    assert_eq!(world.account_document("demo").await.version, version, "nothing to do");
    world.stop().await;

    let world = under(new.clone()).await;
    let secret_key: SecretKey = new.parse().expect("a key");
    for (name, before) in names.into_iter().zip(before) {
        assert_eq!(keys(&world, name).await.encode_to_vec(), before.encode_to_vec(), "{name}");
        let document = world.account_document(name).await;
        let http = Sealed::HttpSigningKey(&document.account_id).context();
        let alerts = Sealed::AlertsSigningKey(&document.account_id).context();
        let opened = secret_key.unseal(&document.sealed_http_signing_key, &http).expect("opens");
        assert_eq!(opened, before.http_signing_key.as_bytes());
        let opened =
            secret_key.unseal(&document.sealed_alerts_signing_key, &alerts).expect("opens");
        assert_eq!(opened, before.alerts_signing_key.as_bytes());
        let previous = document
            .previous_http_signing_key
            .as_ref()
            .map(|previous| secret_key.unseal(&previous.sealed, &http).expect("opens"));
        let expected = (name == "demo").then(|| replaced.clone().into_bytes());
        assert_eq!(previous, expected, "{name}");
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_opened_is_told_and_holds_up_no_other() {
    let env = TestEnv::new();
    let (old, new) = ("5e".repeat(32), "6f".repeat(32));
    let world = World::demo(&env).await;
    let broken = world.account("broken", "").await;
    world.stop().await;
    env.sql(r"UPDATE accounts SET sealed_alerts_signing_key = '\x00' WHERE name = 'broken'");

    let settings = [("POSTRIDER_SECRET_KEY", &*format!("{new},{old}"))];
    let world = World::configured(&env, &settings, Clock::system()).await;
    let error = reseal(&world).await.expect_err("one cannot be opened");
    assert!(error.message().contains(&broken), "{error}");
    world.stop().await;

    let settings = [("POSTRIDER_SECRET_KEY", new.as_str())];
    let world = World::configured(&env, &settings, Clock::system()).await;
    keys(&world, "demo").await;
}
