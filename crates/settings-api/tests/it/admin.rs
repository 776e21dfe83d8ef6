//! The operator's calls.

use protocol::v1;
use testkit::TestEnv;
use tonic::{Code, Status};

use crate::world::{World, send};

fn account(name: &str, parent: &str, key: &str, if_absent: bool) -> v1::CreateAccountRequest {
    v1::CreateAccountRequest {
        name: name.into(),
        parent_name: parent.into(),
        api_key: key.into(),
        if_absent,
    }
}

fn domain(name: &str, account_name: &str, if_absent: bool) -> v1::CreateDomainRequest {
    v1::CreateDomainRequest { name: name.into(), account_name: account_name.into(), if_absent }
}

fn webhook(url: &str, event_types: &[&str]) -> v1::CreateAccountWebhookRequest {
    v1::CreateAccountWebhookRequest {
        account_name: "demo".into(),
        url: url.into(),
        event_types: event_types.iter().map(|name| (*name).to_owned()).collect(),
        description: "everything".into(),
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, message: &str) {
    let status = result.expect_err("refused");
    assert_eq!((status.code(), status.message()), (code, message));
}

#[tokio::test]
async fn accounts_are_made_with_their_keys_and_published() {
    let env = TestEnv::new();
    let world = World::start(&env).await;
    let mut admin = world.admin();
    let made =
        admin.create_account(account("demo", "", "", false)).await.expect("made").into_inner();
    assert_eq!(
        (made.name.as_str(), made.parent_name.as_str(), made.status.as_str()),
        ("demo", "", "open")
    );
    assert_eq!(made.api_key.len(), 36);
    let get = world.anonymous("GET", "/v1/alerts").basic_auth("api", &made.api_key);
    send(get).await.expect_status(200);

    let sub = admin.create_account(account("demo-sub", "demo", "key-demo-sub", false)).await;
    let sub = sub.expect("made").into_inner();
    assert_eq!((sub.parent_name.as_str(), sub.api_key.as_str()), ("demo", "key-demo-sub"));
    let document = world.account_document("demo-sub").await;
    assert_eq!(document.parent_account_id, made.account_id);
    assert_eq!(document.status(), v1::AccountStatus::Open);
    assert_eq!(world.account_document("demo").await.parent_account_id, "");

    let keys = v1::GetSigningKeysRequest { account_name: "demo".into() };
    let keys = admin.get_signing_keys(keys).await.expect("shown").into_inner();
    assert!(keys.http_signing_key.starts_with("key-") && keys.http_signing_key.len() == 36);
    assert_eq!(keys.alerts_signing_key.len(), 32);
    let shown =
        send(world.anonymous("GET", "/v1/alerts/settings").basic_auth("api", &made.api_key)).await;
    assert_eq!(shown.json()["webhooks"]["signing_key"], keys.alerts_signing_key);

    let listed =
        admin.list_accounts(v1::ListAccountsRequest {}).await.expect("listed").into_inner();
    let listed: Vec<_> =
        listed.accounts.iter().map(|a| (a.name.as_str(), a.api_key.as_str())).collect();
    assert_eq!(listed, [("demo", ""), ("demo-sub", "")]);
}

#[tokio::test]
async fn what_differs_from_an_existing_account_is_told() {
    let env = TestEnv::new();
    let world = World::start(&env).await;
    let mut admin = world.admin();
    let made = world.account("demo", "").await;
    world.account("demo-sub", "demo").await;

    for key in ["key-demo", ""] {
        let again = admin
            .create_account(account("demo", "", key, true))
            .await
            .expect("the same")
            .into_inner();
        assert_eq!((again.account_id.as_str(), again.api_key.as_str()), (made.as_str(), key));
    }
    assert_eq!(world.account_document("demo").await.version, 1);

    let taken = Code::AlreadyExists;
    for (request, message) in [
        (account("demo", "", "key-demo", false), "account demo already exists"),
        (
            account("demo", "", "key-another", true),
            "account demo already exists without this API key",
        ),
        (
            account("demo", "demo-sub", "key-demo", true),
            "account demo already exists with another parent: no parent",
        ),
        (
            account("demo-sub", "", "", true),
            "account demo-sub already exists with another parent: demo",
        ),
        (account("new", "", "key-demo", false), "another account has, or had, this API key"),
    ] {
        let result = admin.create_account(request.clone()).await;
        if request.parent_name == "demo-sub" {
            assert_refused(result, Code::InvalidArgument, "a subaccount cannot have subaccounts");
        } else {
            assert_refused(result, taken, message);
        }
    }
    assert_refused(
        admin.create_account(account("sub-sub", "demo-sub", "", false)).await,
        Code::InvalidArgument,
        "a subaccount cannot have subaccounts",
    );
    assert_refused(
        admin.create_account(account("lost", "nowhere", "", false)).await,
        Code::NotFound,
        "parent account not found",
    );
    for wrong in ["", "Demo", "66f0c1de9a7b4e0012ab34cd"] {
        let status =
            admin.create_account(account(wrong, "", "", false)).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    // A refused account leaves nothing behind.
    assert_eq!(env.sql("SELECT count(*) FROM accounts").trim(), "2");
}

#[tokio::test]
async fn keys_are_listed_without_themselves_and_revoked_for_good() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mut admin = world.admin();
    let create = |name: &str, key: &str| v1::CreateKeyRequest {
        account_name: name.into(),
        api_key: key.into(),
        ..Default::default()
    };
    let made = admin.create_key(create("demo", "key-second")).await.expect("made").into_inner();
    assert_eq!(made.api_key, "key-second");
    let key_id = made.key.expect("a key").key_id;
    let revoke = || v1::RevokeKeyRequest { key_id: key_id.clone() };
    admin.revoke_key(revoke()).await.expect("revoked");
    let list = || v1::ListKeysRequest { account_name: "demo".into() };
    let before = admin.list_keys(list()).await.expect("listed").into_inner().keys;
    assert_eq!(
        before.iter().map(|key| key.revoked_at.is_some()).collect::<Vec<_>>(),
        [false, true]
    );
    admin.revoke_key(revoke()).await.expect("again");
    assert_eq!(admin.list_keys(list()).await.expect("listed").into_inner().keys, before);

    assert_refused(
        admin.create_key(create("demo", "key-second")).await,
        Code::AlreadyExists,
        "API key already exists",
    );
    assert_refused(
        admin.create_key(create("nobody", "")).await,
        Code::NotFound,
        "account not found",
    );
    let unknown = v1::RevokeKeyRequest { key_id: "00000000-00000000".into() };
    assert_refused(admin.revoke_key(unknown).await, Code::NotFound, "API key not found");
    let malformed = v1::RevokeKeyRequest { key_id: "key-demo".into() };
    assert_refused(
        admin.revoke_key(malformed).await,
        Code::InvalidArgument,
        "key_id: expected xxxxxxxx-yyyyyyyy",
    );
}

#[tokio::test]
async fn a_domain_belongs_to_one_account() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mut admin = world.admin();
    world.account("other", "").await;
    let made = admin
        .create_domain(domain("Mail.Other.Example", "other", false))
        .await
        .expect("made")
        .into_inner();
    assert_eq!((made.name.as_str(), made.account_name.as_str()), ("mail.other.example", "other"));
    assert_eq!(made.domain_id, model::domain_id("mail.other.example"));
    let document = world.domain_document("mail.other.example").await;
    assert_eq!(document.account_id, world.account_document("other").await.account_id);

    let again =
        admin.create_domain(domain("mail.other.example", "other", true)).await.expect("the same");
    assert_eq!(again.into_inner(), made);
    for (request, code, message) in [
        (
            domain("mail.other.example", "other", false),
            Code::AlreadyExists,
            "domain mail.other.example already exists",
        ),
        (
            domain("mail.other.example", "demo", true),
            Code::AlreadyExists,
            "domain mail.other.example already exists; account other has it",
        ),
        (domain("a.example", "nobody", false), Code::NotFound, "account not found"),
        (
            domain("no domain", "demo", false),
            Code::InvalidArgument,
            "name: this is not the name of a domain",
        ),
    ] {
        assert_refused(admin.create_domain(request).await, code, message);
    }
    let names = async |account_name: &str| {
        let request = v1::ListDomainsRequest { account_name: account_name.into() };
        let listed = world.admin().list_domains(request).await.expect("listed").into_inner();
        listed.domains.into_iter().map(|domain| domain.name).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["mail.demo.example", "mail.other.example"]);
    assert_eq!(names("demo").await, ["mail.demo.example"]);
}

#[tokio::test]
async fn account_webhooks_are_published_with_the_account() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mut admin = world.admin();
    let made = admin
        .create_account_webhook(webhook("https://a.example/", &["delivered", "clicked"]))
        .await;
    let made = made.expect("made").into_inner();
    assert_eq!(made.webhook_id.len(), 24);
    let [seen] = &world.account_document("demo").await.webhooks[..] else { panic!("one webhook") };
    assert_eq!(
        (seen.webhook_id.as_str(), seen.url.as_str()),
        (made.webhook_id.as_str(), "https://a.example/")
    );
    assert_eq!(seen.event_types, ["clicked", "delivered"]);

    for url in ["https://b.example/", "https://c.example/"] {
        admin.create_account_webhook(webhook(url, &["clicked"])).await.expect("made");
    }
    let invalid = Code::InvalidArgument;
    for (request, code, message) in [
        (
            webhook("https://d.example/", &["opened", "clicked"]),
            Code::FailedPrecondition,
            "unable to add more than 3 urls for event type clicked",
        ),
        (
            webhook("https://a.example/", &["delivered"]),
            Code::AlreadyExists,
            "url https://a.example/ already exists for event type delivered",
        ),
        (webhook("https://d.example/", &[]), invalid, "event_types: at least one is needed"),
        (
            webhook("https://d.example/", &["opened", "opened"]),
            invalid,
            "event_types: opened is given twice",
        ),
        (webhook("d.example", &["opened"]), invalid, "url: invalid URL scheme"),
        (
            webhook("http://192.168.0.1/", &["opened"]),
            invalid,
            "url: addresses in 192.168.0.0/16 (private use) are not allowed",
        ),
    ] {
        assert_refused(admin.create_account_webhook(request).await, code, message);
    }
    let unknown = admin
        .create_account_webhook(webhook("https://d.example/", &["deliver"]))
        .await
        .expect_err("refused");
    assert_eq!(unknown.code(), invalid);
    assert!(
        unknown.message().starts_with("event_types: \"deliver\" is none of accepted, "),
        "{unknown}"
    );
    assert_eq!(world.account_document("demo").await.webhooks.len(), 3, "all or nothing");

    let delete = || v1::DeleteAccountWebhookRequest {
        account_name: "demo".into(),
        webhook_id: made.webhook_id.clone(),
    };
    admin.delete_account_webhook(delete()).await.expect("deleted");
    assert_refused(
        admin.delete_account_webhook(delete()).await,
        Code::NotFound,
        "webhook not found",
    );
    // The slot is free again.
    admin.create_account_webhook(webhook("https://d.example/", &["clicked"])).await.expect("made");
    let list = v1::ListAccountWebhooksRequest { account_name: "demo".into() };
    let listed = admin.list_account_webhooks(list).await.expect("listed").into_inner().webhooks;
    let urls: Vec<_> = listed.iter().map(|webhook| webhook.url.as_str()).collect();
    assert_eq!(urls, ["https://b.example/", "https://c.example/", "https://d.example/"]);
    assert_eq!(listed[0].description, "everything");
}
