//! How accounts and domains are disabled, closed and deleted.

use protocol::v1;
use testkit::TestEnv;
use tonic::{Code, Status};

use crate::world::{World, assert_message, send};

const ALERTS: &str = "/v1/alerts";
pub(crate) const HOOKS: &str = "/v3/domains/mail.demo.example/webhooks";

pub(crate) fn status(
    account_name: &str,
    status: &str,
    reason: &str,
) -> v1::SetAccountStatusRequest {
    v1::SetAccountStatusRequest {
        account_name: account_name.into(),
        status: status.into(),
        reason: reason.into(),
    }
}

pub(crate) fn erase(account_name: &str) -> v1::EraseAccountRequest {
    v1::EraseAccountRequest { account_name: account_name.into() }
}

pub(crate) fn get(account_name: &str) -> v1::GetAccountRequest {
    v1::GetAccountRequest { account_name: account_name.into() }
}

fn disabled(disabled: bool, reason: &str) -> v1::SetDomainDisabledRequest {
    let (name, reason) = ("Mail.Demo.Example".into(), reason.into());
    v1::SetDomainDisabledRequest { name, disabled, reason }
}

#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(
    result: Result<T, Status>,
    code: Code,
    message: &str,
) {
    let status = result.expect_err("refused");
    assert_eq!((status.code(), status.message()), (code, message));
}

#[tokio::test]
async fn an_account_is_disabled_and_opened_again() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mut admin = world.admin();
    let reason = "invoice 17 is unpaid";
    let account = admin.set_account_status(status("demo", "disabled", reason)).await;
    let account = account.expect("disabled").into_inner();
    assert_eq!((account.status.as_str(), account.status_reason.as_str()), ("disabled", reason));
    let document = world.account_document("demo").await;
    assert_eq!(document.status(), v1::AccountStatus::Disabled);
    assert_message(&send(world.call("GET", ALERTS)).await, 403, "Account is disabled");

    // By its id just as well; the reason goes with the status that it was for.
    let account = admin.set_account_status(status(&account.account_id, "open", "")).await;
    assert_eq!(account.expect("open").into_inner().status_reason, "");
    send(world.call("GET", ALERTS)).await.expect_status(200);

    let invalid = Code::InvalidArgument;
    for (request, code, message) in [
        (status("demo", "gone", ""), invalid, "status: expected open, disabled or closed"),
        (status("demo", "open", "why"), invalid, "reason: an open account has none"),
        (status("demo", "disabled", &"x".repeat(1025)), invalid, "reason: at most 1024 characters"),
        (status("nobody", "open", ""), Code::NotFound, "account not found"),
    ] {
        assert_refused(admin.set_account_status(request).await, code, message);
    }
}

#[tokio::test]
async fn closing_is_final_and_takes_keys_and_subaccounts_along() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("demo-sub", "demo").await;
    let mut admin = world.admin();
    for _ in 0..2 {
        let closed = admin.set_account_status(status("demo", "closed", "asked to")).await;
        let closed = closed.expect("closed, the second time too").into_inner();
        assert_eq!((closed.status.as_str(), closed.status_reason.as_str()), ("closed", "asked to"));
    }
    for name in ["demo", "demo-sub"] {
        let document = world.account_document(name).await;
        assert_eq!(document.status(), v1::AccountStatus::Closed, "{name}");
        let call = world.anonymous("GET", ALERTS).basic_auth("api", &format!("key-{name}"));
        send(call).await.expect_status(401);
        for state in ["open", "disabled"] {
            let reopened = admin.set_account_status(status(name, state, "")).await;
            assert_refused(reopened, Code::FailedPrecondition, "the account is closed");
        }
    }
    // Nothing is added to it either, by whomever.
    let closed = "the account is closed";
    let key = v1::CreateKeyRequest { account_name: "demo".into(), ..Default::default() };
    assert_refused(admin.create_key(key).await, Code::FailedPrecondition, closed);
    let (name, account_name) = ("new.example".into(), "demo".into());
    let domain = v1::CreateDomainRequest { name, account_name, if_absent: false };
    assert_refused(admin.create_domain(domain).await, Code::FailedPrecondition, closed);
    let webhook = v1::CreateAccountWebhookRequest {
        account_name: "demo".into(),
        url: "https://hooks.example.net/".into(),
        event_types: vec!["clicked".into()],
        description: String::new(),
    };
    assert_refused(admin.create_account_webhook(webhook).await, Code::FailedPrecondition, closed);
    let (name, parent_name) = ("late".into(), "demo".into());
    let sub = v1::CreateAccountRequest { name, parent_name, ..Default::default() };
    assert_refused(admin.create_account(sub).await, Code::FailedPrecondition, closed);
    let contact_email = Some("a@b.example".into());
    let account_name = "demo".into();
    let update = v1::UpdateAccountRequest { account_name, contact_email, quotas: vec![] };
    assert_refused(admin.update_account(update).await, Code::FailedPrecondition, closed);
}

#[tokio::test]
async fn an_account_is_updated_and_shown_with_its_quotas() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mut admin = world.admin();
    let change = |contact: Option<&str>, quotas: &[(&str, Option<u32>)]| v1::UpdateAccountRequest {
        account_name: "demo".into(),
        contact_email: contact.map(Into::into),
        quotas: quotas
            .iter()
            .map(|(name, limit)| v1::QuotaChange { name: (*name).into(), limit: *limit })
            .collect(),
    };
    let account = admin
        .update_account(change(
            Some("ops@demo.example"),
            &[("domains", Some(1)), ("webhooks", None)],
        ))
        .await
        .expect("updated")
        .into_inner();
    assert_eq!(account.contact_email, "ops@demo.example");
    let quotas = |account: &v1::Account| -> Vec<_> {
        let quotas = account.quotas.iter();
        quotas.map(|q| (q.name.clone(), q.used, q.limit, q.is_default)).collect()
    };
    let expected = [
        ("webhooks", 0, 5000, true),
        ("alert_settings", 0, 100, true),
        ("domains", 1, 1, false),
        ("api_keys", 1, 100, true),
        ("subaccounts", 0, 1000, true),
    ];
    let expected = expected.map(|(name, used, limit, own)| (name.to_owned(), used, limit, own));
    assert_eq!(quotas(&account), expected);

    // What is not given stays; what is given goes back to the deployment's.
    let account = admin.update_account(change(None, &[("domains", None)])).await;
    let account = account.expect("updated").into_inner();
    assert_eq!(account.contact_email, "ops@demo.example");
    assert_eq!(quotas(&account)[2], ("domains".to_owned(), 1, 1000, true));
    admin.update_account(change(Some(""), &[])).await.expect("updated");
    let shown = admin.get_account(get("demo")).await.expect("shown").into_inner();
    assert_eq!((shown.contact_email.as_str(), shown.label.as_str()), ("", "demo"));
    assert_eq!(shown.quotas, account.quotas);

    let invalid = Code::InvalidArgument;
    let all = "webhooks, alert_settings, domains, api_keys, subaccounts, \
                 events_per_second, waiting_deliveries";
    for (request, message) in [
        (change(Some("nobody"), &[]), "contact_email: this is not an email address".to_owned()),
        (change(None, &[("urls", None)]), format!("quotas: \"urls\" is none of {all}")),
        (
            change(None, &[("domains", None), ("domains", Some(1))]),
            "quotas: domains is given twice".to_owned(),
        ),
        (
            change(None, &[("domains", Some(u32::MAX))]),
            "quotas: domains can be at most 2147483647".to_owned(),
        ),
    ] {
        assert_refused(admin.update_account(request).await, invalid, &message);
    }
    assert_refused(admin.get_account(get("nobody")).await, Code::NotFound, "account not found");
}

#[tokio::test]
async fn keys_have_roles_notes_and_ends() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mut admin = world.admin();
    let new = |role: &str, expires_in_seconds: u32| v1::CreateKeyRequest {
        account_name: "demo".into(),
        role: role.into(),
        description: "dashboard".into(),
        expires_in_seconds,
        ..Default::default()
    };
    let basic = admin.create_key(new("basic", 3600)).await.expect("made").into_inner();
    let call =
        |method: &str, path: &str| world.anonymous(method, path).basic_auth("api", &basic.api_key);
    send(call("GET", HOOKS)).await.expect_status(200);
    let form = [("id", "clicked"), ("url", "https://hooks.example.net/")];
    assert_message(&send(call("POST", HOOKS).form(&form)).await, 403, "Forbidden");

    let list = || v1::ListKeysRequest { account_name: "demo".into() };
    let shown = admin.list_keys(list()).await.expect("listed").into_inner().keys.remove(1);
    assert_eq!(
        (shown.role.as_str(), shown.description.as_str(), shown.status.as_str()),
        ("basic", "dashboard", "active")
    );
    assert!(shown.last_used_at.is_some() && shown.expires_at.is_some());
    let past = "UPDATE api_keys SET expires_at = now() WHERE role = 'basic'";
    env.sql(past);
    send(call("GET", HOOKS)).await.expect_status(401);
    let shown = admin.list_keys(list()).await.expect("listed").into_inner().keys.remove(1);
    assert_eq!(shown.status, "expired");

    let unknown = admin.create_key(new("owner", 0)).await;
    let message = "role: \"owner\" is none of admin, developer, basic, sending";
    assert_refused(unknown, Code::InvalidArgument, message);
}

#[tokio::test]
async fn a_domain_is_disabled_enabled_deleted_and_made_again() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mut admin = world.admin();
    let create =
        |id| world.call("POST", HOOKS).form(&[("id", id), ("url", "https://hooks.demo.example/")]);
    send(create("clicked")).await.expect_status(200);
    let domain = admin.set_domain_disabled(disabled(true, "spam")).await.expect("disabled");
    let domain = domain.into_inner();
    assert!(domain.disabled_at.is_some());
    assert_eq!(domain.disabled_reason, "spam");
    assert!(world.domain_document("mail.demo.example").await.disabled);
    // Its customer goes on reading and changing its webhooks.
    send(create("opened")).await.expect_status(200);

    let message = "reason: a domain that is not disabled has none";
    let refused = admin.set_domain_disabled(disabled(false, "why")).await;
    assert_refused(refused, Code::InvalidArgument, message);
    let domain = admin.set_domain_disabled(disabled(false, "")).await.expect("enabled");
    assert_eq!(
        (domain.get_ref().disabled_at, domain.get_ref().disabled_reason.as_str()),
        (None, "")
    );
    let document = world.domain_document("mail.demo.example").await;
    assert!(!document.disabled);
    assert_eq!(document.webhooks.len(), 2);

    let delete = || v1::DeleteDomainRequest { name: "mail.demo.example".into() };
    admin.delete_domain(delete()).await.expect("deleted");
    assert_refused(admin.delete_domain(delete()).await, Code::NotFound, "domain not found");
    let refused = admin.set_domain_disabled(disabled(true, "")).await;
    assert_refused(refused, Code::NotFound, "domain not found");
    assert_message(&send(world.call("GET", HOOKS)).await, 404, "Domain not found");
    world.domain("mail.demo.example", "demo").await;
    assert!(world.webhooks("mail.demo.example").await.is_empty());
}

#[tokio::test]
async fn secrets_are_sealed_anew_before_the_old_key_goes() {
    let env = TestEnv::new();
    let (old, new) = ("5e".repeat(32), "7a".repeat(32));
    let start = async |keys: String| {
        let settings = [("POSTRIDER_SECRET_KEY", keys.as_str())];
        World::configured(&env, &settings, chassis::Clock::system()).await
    };
    let request = || v1::GetSigningKeysRequest { account_name: "demo".into() };
    let world = start(old.clone()).await;
    world.account("demo", "").await;
    let keys = world.admin().get_signing_keys(request()).await.expect("shown").into_inner();
    world.stop().await;

    let world = start(format!("{new},{old}")).await;
    let mut admin = world.admin();
    let resealed = admin.reseal_secrets(v1::ResealSecretsRequest {}).await.expect("resealed");
    assert_eq!((resealed.get_ref().accounts, resealed.get_ref().secrets), (1, 2));
    let again = admin.reseal_secrets(v1::ResealSecretsRequest {}).await.expect("nothing to do");
    assert_eq!((again.get_ref().accounts, again.get_ref().secrets), (0, 0));
    world.stop().await;

    let world = start(new).await;
    let shown = world.admin().get_signing_keys(request()).await.expect("shown").into_inner();
    assert_eq!(shown, keys);
    world.stop().await;

    // Whoever takes the key away too early is told, and nothing is lost.
    let world = start("11".repeat(32)).await;
    let refused = world.admin().reseal_secrets(v1::ResealSecretsRequest {}).await;
    assert_eq!(refused.expect_err("refused").code(), Code::FailedPrecondition);
    world.stop().await;
}
