//! Those who ask: two of each kind that have the same, in everything but their names.

use protocol::v1::Level;
use serde_json::json;
use store::history::AttemptRow;
use testkit::TestEnv;

use super::owner::{MARKS, Owner, jobs_rest};
use crate::events::{event, row};
use crate::isolation::operations::Ids;
use crate::isolation::victim::Account;
use crate::journeys::{decision, failed, routed};
use crate::resends::ended_on;
use crate::world::{World, send};

const ROLES: [&str; 4] = ["admin", "developer", "basic", "sending"];

/// One of two.
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) account_id: String,
    pub(super) key: String,
    pub(super) behalf: Option<String>,
    pub(super) ids: Ids,
}

/// Two callers that nobody can tell apart.
pub(super) struct Side {
    pub(super) who: String,
    pub(super) callers: [Caller; 2],
    /// Texts that no answer to them may have in it.
    pub(super) hidden: &'static [&'static str],
    /// Whether they ask with what every owner has.
    pub(super) is_whole: bool,
}

/// An account that asks, with a key of each role.
struct Asking {
    account: Account,
    keys: Vec<String>,
}

impl Asking {
    async fn new(world: &World, name: &str, parent: Option<&Account>) -> Self {
        let account = Account::furnished(world, name, parent).await;
        let mut keys = Vec::new();
        for role in ROLES {
            keys.push(account.make_key(world, &[("role", role)]).await.secret);
        }
        Self { account, keys }
    }

    fn caller(&self, key: &str, behalf: Option<String>) -> Caller {
        Caller {
            name: self.account.name.clone(),
            account_id: self.account.id.clone(),
            key: key.to_owned(),
            behalf,
            ids: self.account.ids.clone(),
        }
    }
}

/// New ones of every kind, with a number in their names.
pub(super) async fn sides(
    world: &World,
    env: &TestEnv,
    parent: &Owner,
    number: usize,
) -> Vec<Side> {
    let strangers = [
        Asking::new(world, &format!("strange-a{number:02}"), None).await,
        Asking::new(world, &format!("strange-b{number:02}"), None).await,
    ];
    let of_parent = Some(&parent.account);
    let subaccounts = [
        Asking::new(world, &format!("sibling-a{number:02}"), of_parent).await,
        Asking::new(world, &format!("sibling-b{number:02}"), of_parent).await,
    ];
    for subaccount in &subaccounts {
        parent_hears(world, env, &subaccount.account, parent).await;
    }
    jobs_rest(env).await;
    let of = |who: &str, both: &[Asking; 2], n: usize| Side {
        who: format!("{who}, {}", ROLES[n]),
        callers: both.each_ref().map(|one| one.caller(&one.keys[n], None)),
        hidden: &MARKS,
        is_whole: n == 0,
    };
    let mut sides: Vec<Side> = (0..ROLES.len()).map(|n| of("a stranger", &strangers, n)).collect();
    sides.extend([0, 2].map(|n| of("a subaccount", &subaccounts, n)));
    let key = parent.account.key.as_str();
    sides.push(Side {
        who: "the parent on behalf of a subaccount".to_owned(),
        callers: subaccounts.each_ref().map(|one| one.caller(key, Some(one.account.id.clone()))),
        // It sees what is its own.
        hidden: &MARKS[1..],
        is_whole: true,
    });
    sides
}

/// History of a subaccount in which its parent hears of an event: by this version, and by
/// an earlier one, which did not say at which level.
async fn parent_hears(world: &World, env: &TestEnv, sub: &Account, parent: &Owner) {
    let url = parent.url.as_str();
    let heard = row(&sub.id, event(model::EventType::Clicked, "heard-by-parent", 20));
    let earlier = row(&sub.id, event(model::EventType::Clicked, "heard-earlier", 21));
    let attempt = |of, level: Option<&str>| AttemptRow {
        url: egress::loggable(url),
        response_snippet: format!("{} has it", parent.account.name),
        level: level.map(str::to_owned),
        ..failed(of, url)
    };
    let attempts = [attempt(&heard, Some("parent_account")), attempt(&earlier, None)];
    let decisions = vec![decision(&heard, url, "chosen", "parent_account")];
    let store = world.store();
    store.insert_routed(&[routed(&heard, decisions)]).await.expect("inserted");
    store.insert_attempts(&attempts).await.expect("inserted");
    store.insert_events(&[heard, earlier]).await.expect("inserted");
    store.close().await;
    ended_on(Level::ParentAccount, env, &sub.id, url, "exhausted", 1);
    // The parent names its own URL in what the subaccount sees.
    let resend = parent.account.request(world, "POST", "/postrider/v1/resends");
    let resend = resend.header(crate::isolation::BEHALF, &sub.id);
    send(resend.json(&json!({"url": url, "outcomes": ["held"]}))).await.expect_status(200);
}
