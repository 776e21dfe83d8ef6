//! Who may do what, for every operation of the served description: an operation
//! that is added later is in these tables by itself, and fails a test until it
//! has what its requests need in `isolation/operations.rs`.

pub(crate) mod operations;
pub(crate) mod victim;

use testkit::http::{Request, Response};
use testkit::{Receiver, TestEnv};

use self::operations::{Expected, Ids, Operation};
use self::victim::{Account, Victim};
use crate::world::{World, assert_common_headers, send};

pub(crate) const BEHALF: &str = "X-Mailgun-On-Behalf-Of";

/// A world in which nobody is held up by how often they may call.
async fn start(env: &TestEnv) -> (World, Receiver) {
    let settings = [("POSTRIDER_SETTINGS_RATE_LIMIT", "1000000")];
    let world = World::configured(env, &settings, chassis::Clock::system()).await;
    (world, Receiver::start().await)
}

/// Who calls: a key, and the account that the call is on behalf of.
#[derive(Clone, Copy, Debug)]
struct Caller<'a> {
    who: &'static str,
    key: Option<&'a str>,
    behalf: Option<&'a str>,
}

impl<'a> Caller<'a> {
    fn new(who: &'static str, key: &'a str) -> Self {
        Self { who, key: Some(key), behalf: None }
    }

    fn on_behalf_of(who: &'static str, key: &'a str, behalf: &'a str) -> Self {
        Self { who, key: Some(key), behalf: Some(behalf) }
    }

    fn sign(self, mut request: Request) -> Request {
        if let Some(key) = self.key {
            request = request.basic_auth("api", key);
        }
        if let Some(behalf) = self.behalf {
            request = request.header(BEHALF, behalf);
        }
        request
    }

    async fn call(self, world: &World, operation: &Operation, ids: &Ids) -> Response {
        let response = send(self.sign(operation.request(world, ids))).await;
        assert_common_headers(&response);
        response
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_valid_key_or_no_open_account_is_refused_everywhere() {
    let env = TestEnv::new();
    let (world, receiver) = start(&env).await;
    let operations = operations::documented(&world, &receiver).await;
    let victim = Victim::new(&world, &env).await;
    let ids = victim.ids();
    let before = victim.snapshot(&world, &env).await;
    let main = victim.main.key.as_str();
    for operation in &operations {
        for caller in [
            Caller { who: "no key", key: None, behalf: None },
            Caller::new("wrong key", "key-wrong"),
            Caller::new("revoked key", &victim.revoked_key),
            Caller::new("expired key", &victim.expired_key),
            Caller::new("key of a subaccount that was closed", &victim.closed_sub.key),
            Caller::on_behalf_of("wrong key, on behalf of", "key-wrong", &victim.sub.id),
        ] {
            let answer = caller.call(&world, operation, &ids).await;
            let found = (answer.status, answer.text());
            assert_eq!(found, (401, "Forbidden".to_owned()), "{operation}, {caller:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"MG API\""));
        }
        for (caller, message) in [
            (Caller::new("sending role", &victim.sending_key), "Forbidden"),
            (
                Caller::on_behalf_of("sending role", &victim.sending_key, &victim.sub.id),
                "Forbidden",
            ),
            (Caller::on_behalf_of("a stranger's id", main, &victim.stranger.id), "Forbidden"),
            (Caller::on_behalf_of("nobody's id", main, &"0".repeat(24)), "Forbidden"),
            (Caller::on_behalf_of("a stranger", &victim.stranger.key, &victim.sub.id), "Forbidden"),
            (
                Caller::on_behalf_of("a stranger", &victim.stranger.key, &victim.main.id),
                "Forbidden",
            ),
            (Caller::on_behalf_of("upwards", &victim.sub.key, &victim.main.id), "Forbidden"),
            (Caller::on_behalf_of("sideways", &victim.sub.key, &victim.bare_sub.id), "Forbidden"),
        ] {
            refused(&caller.call(&world, operation, &ids).await, operation, caller, message);
        }
        // A subaccount may be ended whatever its state: that has a test of its own.
        if operation.id != "delete_subaccount" {
            let (disabled, closed) = ("Account is disabled", "Account is closed");
            let through = |sub| Caller::on_behalf_of("parent of one that is not open", main, sub);
            for (caller, message) in [
                (Caller::new("disabled account", &victim.disabled.key), disabled),
                (Caller::new("account closed just now", &victim.closed.key), closed),
                (Caller::new("disabled subaccount", &victim.disabled_sub.key), disabled),
                (through(&victim.disabled_sub.id), disabled),
                (through(&victim.closed_sub.id), closed),
            ] {
                refused(&caller.call(&world, operation, &ids).await, operation, caller, message);
            }
        }
        victim.is_as_before(&before, &world, &env, &operation.id).await;
    }
}

#[track_caller]
fn refused(answer: &Response, operation: &Operation, caller: Caller<'_>, message: &str) {
    let found = (answer.status, answer.text());
    let expected = (403, format!("{{\"message\":\"{message}\"}}\n"));
    assert_eq!(found, expected, "{operation}, {caller:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_allow_what_they_say() {
    let env = TestEnv::new();
    let (world, receiver) = start(&env).await;
    let operations = operations::documented(&world, &receiver).await;
    side_by_side(&operations, async |n, operation| {
        // Each changes something, so that each has an account of its own.
        let account = Account::furnished(&world, &format!("role-{n}"), None).await;
        let mut ids = account.ids.clone();
        let sub = Account::new(&world, &format!("role-{n}-sub"), Some(&account)).await;
        ids.set("subaccount_id", &sub.id);
        victim::prepare(&world, &account, &sub, &operation.id).await;
        for (role, may) in [
            ("sending", false),
            ("basic", operation.basic_may()),
            ("developer", operation.developer_may()),
        ] {
            let key = account.make_key(&world, &[("role", role)]).await.secret;
            let mut caller = Caller::new(role, &key);
            // What ends a subaccount needs to know which, from those who may.
            if operation.id == "delete_subaccount" {
                caller.behalf = Some(&sub.id);
            }
            let answer = caller.call(&world, operation, &ids).await;
            if may {
                operation.check_answer(&answer, Expected::Owner, role);
            } else {
                refused(&answer, operation, caller, "Forbidden");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_subaccounts_and_parents_reach_what_is_theirs() {
    let env = TestEnv::new();
    let (world, receiver) = start(&env).await;
    let operations = operations::documented(&world, &receiver).await;
    side_by_side(&operations, async |n, operation| {
        let parent = Account::furnished(&world, &format!("own-{n}"), None).await;
        let named = |name: &str| format!("own-{n}-{name}");
        let sub = Account::furnished(&world, &named("a"), Some(&parent)).await;
        let other = Account::furnished(&world, &named("b"), Some(&parent)).await;

        // As a subaccount: with its own key, and through its parent.
        let own = Caller::new("subaccount", &sub.key);
        let answer = own.call(&world, operation, &sub.ids).await;
        operation.check_answer(&answer, Expected::Subaccount, own.who);
        let through = Caller::on_behalf_of("parent on behalf of", &parent.key, &other.id);
        let answer = through.call(&world, operation, &other.ids).await;
        operation.check_answer(&answer, Expected::ParentOnBehalf, through.who);

        let mut ids = parent.ids.clone();
        ids.set("subaccount_id", &sub.id);
        victim::prepare(&world, &parent, &sub, &operation.id).await;
        let owner = Caller::new("owner", &parent.key);
        let answer = owner.call(&world, operation, &ids).await;
        operation.check_answer(&answer, Expected::Owner, owner.who);
    })
    .await;
}

/// Goes through all operations, four at a time: most of it is waiting.
async fn side_by_side(operations: &[Operation], check: impl AsyncFn(usize, &Operation)) {
    let every_fourth = async |first: usize| {
        for (n, operation) in operations.iter().enumerate().skip(first).step_by(4) {
            check(n, operation).await;
        }
    };
    tokio::join!(every_fourth(0), every_fourth(1), every_fourth(2), every_fourth(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_accounts_is_as_if_it_were_nowhere() {
    let env = TestEnv::new();
    let (world, receiver) = start(&env).await;
    let operations = operations::documented(&world, &receiver).await;
    let victim = Victim::new(&world, &env).await;
    let secrets = victim.secrets(&env);
    let (main_ids, sub_ids, nowhere) = (victim.ids(), victim.sub.ids.clone(), Ids::nowhere());
    let mut looked_up = 0;
    for operation in &operations {
        let before = victim.snapshot(&world, &env).await;
        for (caller, foreign) in [
            (Caller::new("a stranger", &victim.stranger.key), &main_ids),
            (Caller::new("a stranger", &victim.stranger.key), &sub_ids),
            (Caller::new("a subaccount", &victim.bare_sub.key), &main_ids),
            (Caller::new("a subaccount", &victim.bare_sub.key), &sub_ids),
            (Caller::on_behalf_of("a parent", &victim.main.key, &victim.bare_sub.id), &main_ids),
        ] {
            // On behalf of a subaccount, this one ends that subaccount.
            if operation.id == "delete_subaccount" && caller.behalf.is_some() {
                continue;
            }
            let answer = caller.call(&world, operation, foreign).await;
            let (status, text) = (answer.status, answer.text());
            assert!(status < 500 || status == 501, "{operation}, {caller:?}: {status} {text}");
            let expected = caller.call(&world, operation, &nowhere).await;
            if operation.names_something() {
                looked_up += 1;
                assert_eq!(
                    (status, foreign.hidden_in(&text)),
                    (expected.status, nowhere.hidden_in(&expected.text())),
                    "{operation}, {caller:?}: it can be told that this is somebody's"
                );
                assert!(
                    operation.is_not_supported() || status == 404 || status == 403,
                    "{operation}, {caller:?}: {status} {text}"
                );
            }
            let own = foreign.hidden_in(&text);
            for secret in &secrets {
                assert!(!own.contains(secret), "{operation}, {caller:?} tells {secret}: {text}");
            }
        }
        victim.is_as_before(&before, &world, &env, &operation.id).await;
    }
    assert!(looked_up > 100, "most operations name something");
}

#[tokio::test]
async fn a_subaccount_is_ended_by_its_parent_alone_whatever_its_state() {
    let env = TestEnv::new();
    let (world, _receiver) = start(&env).await;
    let victim = Victim::new(&world, &env).await;
    let path = "/v5/accounts/subaccounts";
    let close = |key: &str, behalf: Option<&str>| {
        let request = world.anonymous("DELETE", path).basic_auth("api", key);
        match behalf {
            Some(id) => request.header(BEHALF, id),
            None => request,
        }
    };
    let before = victim.snapshot(&world, &env).await;
    let main = victim.main.key.as_str();
    for (request, status) in [
        (close(main, None), 400),
        (close(&victim.sub.key, None), 400),
        (close(&victim.sub.key, Some(&victim.sub.id)), 400),
        (close(&victim.disabled_sub.key, None), 400),
        (close(&victim.stranger.key, Some(&victim.sub.id)), 403),
        (close(main, Some(&victim.closed_sub.id)), 400),
        (close(&victim.disabled.key, None), 400),
        (close(&victim.disabled.key, Some(&victim.sub.id)), 403),
        (close(&victim.closed.key, Some(&victim.sub.id)), 403),
    ] {
        let answer = send(request).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    victim.is_as_before(&before, &world, &env, "a refused end").await;
    send(close(main, Some(&victim.disabled_sub.id))).await.expect_status(200);
    send(close(main, Some(&victim.sub.id))).await.expect_status(200);
}
