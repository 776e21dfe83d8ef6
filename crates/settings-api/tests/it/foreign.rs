//! Every operation of the served description, called with every id, name, URL and link of
//! another tenant. Two callers that have the same ask side by side: one with what somebody
//! has, one with what nobody has. They cannot be told apart, nothing changes at the owner,
//! and no answer holds anything of the owner's.

mod answers;
mod callers;
mod owner;
mod parameters;
mod parents;

use prost::Message as _;
use protocol::v1::Delivery;
use protocol::v1::target::Kind;
use serde_json::Value;
use testkit::http::Request;
use testkit::{Mailbox, Receiver, TestEnv};

use self::answers::Seen;
use self::callers::{Caller, Side};
use self::owner::{MARKS, Owner, Things};
use self::parameters::{Meaning, Parameter, Place};
use crate::isolation::BEHALF;
use crate::isolation::operations::{self, Operation};
use crate::isolation::victim::snapshot_of;
use crate::world::{World, send};

/// Names in requests have numbers from here on: long enough to be taken for ids.
const FIRST_NUMBER: u32 = 10_000_000;

/// Calls everything, and gathers what is wrong.
struct Walk<'a> {
    world: &'a World,
    number: u32,
    calls: usize,
    wrong: Vec<String>,
    /// Values of others that were sent to the operation that it is at: what is made of them is the
    /// caller's own.
    sent: Vec<Value>,
    /// Whether callers have something now that is named like what is somebody else's.
    is_dirty: bool,
}

/// The values that both callers give in place of their own.
struct Swap<'a> {
    parameter: &'a Parameter,
    values: [&'a Value; 2],
}

impl Walk<'_> {
    /// Lets both callers of a side ask, and compares what they see.
    async fn compare(
        &mut self,
        operation: &Operation,
        side: &Side,
        swap: Option<Swap<'_>>,
        behalf: Option<[&str; 2]>,
    ) {
        let what = match (&swap, behalf) {
            (Some(swap), _) => format!("{} = {}", swap.parameter.name, swap.values[0]),
            (None, Some([id, _])) => format!("on behalf of {id}"),
            (None, None) => "nothing of others".to_owned(),
        };
        // A search for a text does not say the text.
        let hides = swap.as_ref().filter(|swap| !swap.parameter.is_text());
        self.sent.extend(hides.iter().flat_map(|swap| swap.values).cloned());
        let mut known = self.sent.clone();
        known.extend(swap.iter().flat_map(|swap| swap.values).cloned());
        known.extend(behalf.iter().flatten().map(|id| Value::from(*id)));

        let mut answers = Vec::new();
        for (n, caller) in side.callers.iter().enumerate() {
            self.number += 1;
            self.calls += 1;
            let swapped = swap.as_ref().map(|swap| (swap.parameter, swap.values[n]));
            let request = request(self.world, operation, caller, swapped, self.number);
            let mut request = request.basic_auth("api", &caller.key);
            if let Some(id) = behalf.map(|ids| ids[n]).or(caller.behalf.as_deref()) {
                request = request.header(BEHALF, id);
            }
            let seen = Seen::of(&send(request).await);
            if seen.status >= 500 && seen.status != 501 {
                self.wrong.push(format!("{operation}, {}, {what}: {seen:?}", side.who));
            }
            self.is_dirty |= swap.is_some() && operation.method != "GET" && seen.status < 300;
            let told = seen.without(&self.sent);
            for mark in side.hidden.iter().filter(|mark| told.contains(*mark)) {
                self.wrong.push(format!("{operation}, {}, {what}: {mark} in {seen:?}", side.who));
            }
            answers.push(seen.comparable(caller, &known));
        }
        if answers[0] != answers[1] {
            self.wrong.push(format!(
                "{operation}, {}, {what}: it can be told that this is somebody's:\n  {:?}\n  {:?}",
                side.who, answers[0], answers[1]
            ));
        }
    }

    /// One operation, with each of its parameters.
    async fn operation(
        &mut self,
        operation: &Operation,
        parameters: &[Parameter],
        side: &Side,
        owners: &[&Owner],
        nobodies: &[Things; 2],
    ) {
        let is_through_parent = side.callers[0].behalf.is_some();
        if operation.id == "delete_subaccount" && is_through_parent {
            return;
        }
        // With what the callers have themselves, unless that would take it from them.
        let names_things = parameters.iter().any(|parameter| parameter.place == Place::Path);
        if operation.method == "GET" || !names_things {
            self.compare(operation, side, None, None).await;
            for parameter in parameters {
                let Meaning::Plain(values) = parameter.meaning else { continue };
                for value in values {
                    let value = parameter.plain(value);
                    let swap = Swap { parameter, values: [&value, &value] };
                    self.compare(operation, side, Some(swap), None).await;
                }
            }
        }
        // Nobody's values differ each time: a caller may have them from then on.
        for ((owner, mark), nobody) in owners.iter().zip(MARKS).zip(nobodies) {
            if !side.hidden.contains(&mark) {
                continue;
            }
            if !is_through_parent {
                let nobodys = "0".repeat(24);
                let ids = [owner.account.id.as_str(), nobodys.as_str()];
                self.compare(operation, side, None, Some(ids)).await;
            }
            for parameter in parameters {
                let values = match parameter.meaning {
                    Meaning::Thing(thing) => [owner.things.get(thing), nobody.get(thing)],
                    Meaning::Taken(thing) => [owner.things.get(thing); 2],
                    Meaning::Plain(_) => continue,
                };
                self.compare(operation, side, Some(Swap { parameter, values }), None).await;
            }
        }
    }
}

/// Panics unless what is on its way is for the callers alone.
async fn nothing_is_sent_for(env: &TestEnv, owners: &[&Owner]) {
    let stream = format!("{}_DELIVERIES_0", env.region);
    for (subject, bytes) in testkit::broker::messages(&env.nats_url, &stream).await {
        let delivery = Delivery::decode(&*bytes).expect("a delivery");
        let account = match delivery.target.and_then(|target| target.kind) {
            Some(Kind::Message(target)) => target.account_id,
            Some(Kind::Alert(target)) => target.account_id,
            None => String::new(),
        };
        let is_theirs = owners.iter().any(|owner| owner.account.id == account);
        assert!(!is_theirs, "{subject} was sent for somebody else");
    }
}

/// The request of a caller for what it has itself, but for what is swapped.
fn request(
    world: &World,
    operation: &Operation,
    caller: &Caller,
    swap: Option<(&Parameter, &Value)>,
    number: u32,
) -> Request {
    let mut path = operation.called_at.clone();
    for parameter in operation.parameters() {
        let swapped = swap.filter(|(it, _)| it.place == Place::Path && it.name == parameter);
        let own = || caller.ids.get(parameter).to_owned();
        let value = swapped.map_or_else(own, |(_, value)| parameters::as_text(value));
        path = path.replace(&format!("{{{parameter}}}"), &value);
    }
    let mut query = parameters::pairs(&operation.query(&caller.ids).unwrap_or_default());
    let mut body = operation.body(number);
    match swap {
        Some((parameter, value)) if parameter.place == Place::Query => {
            parameters::set_in_query(&mut query, &parameter.name, value);
        }
        Some((parameter, value)) if parameter.place == Place::Body => {
            parameters::set_in_body(&mut body, &parameter.name, value);
        }
        _ => {}
    }
    let query = (!query.is_empty())
        .then(|| url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish());
    operation.request_of(world, &path, query, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_tenant_has_is_for_nobody_else_in_every_parameter_of_every_call() {
    let env = TestEnv::new();
    let mailbox = Mailbox::start().await;
    let settings = [
        ("POSTRIDER_SETTINGS_RATE_LIMIT", "1000000"),
        ("POSTRIDER_SMTP_URL", &mailbox.url()),
        ("POSTRIDER_CONSOLE_URL", "https://console.example.net"),
    ];
    let world = World::configured(&env, &settings, chassis::Clock::system()).await;
    let receiver = Receiver::start().await;
    let operations = operations::documented(&world, &receiver).await;
    let description = send(world.anonymous("GET", "/openapi.json")).await.expect_status(200).json();

    let mut unknown = Vec::new();
    let meant: Vec<_> = operations
        .iter()
        .map(|operation| parameters::of(&description, operation, &mut unknown))
        .collect();
    assert!(unknown.is_empty(), "add to parameters.rs what these mean: {unknown:#?}");

    let main = Owner::new(&world, &env, &receiver, MARKS[0], None).await;
    let sub = Owner::new(&world, &env, &receiver, MARKS[1], Some(&main.account)).await;
    let main = main.with_subaccount(&sub);
    let nobodies = ["nobody", "noone"].map(|name| Things::of_nobody(&receiver, name));
    let owners = [&main, &sub];
    let accounts = owners.map(|owner| &owner.account);

    let (number, calls, wrong, sent) = (FIRST_NUMBER, 0, Vec::new(), Vec::new());
    let mut walk = Walk { world: &world, number, calls, wrong, sent, is_dirty: true };
    let (mut sides, mut named) = (Vec::new(), 0);
    for (n, (operation, parameters)) in operations.iter().zip(&meant).enumerate() {
        if std::mem::take(&mut walk.is_dirty) {
            sides = callers::sides(&world, &env, &main, n).await;
        }
        named += parameters.iter().filter(|it| matches!(it.meaning, Meaning::Thing(_))).count();
        // How often somebody may call is no matter here.
        env.sql("DELETE FROM tenant_windows");
        let before = snapshot_of(&accounts, &world, &env).await;
        for side in &sides {
            // One of them shows what another role may do less.
            let owners = if side.is_whole { &owners[..] } else { &owners[..1] };
            walk.operation(operation, parameters, side, owners, &nobodies).await;
            if operation.id == "create_resend" {
                owner::jobs_rest(&env).await;
            }
        }
        let after = snapshot_of(&accounts, &world, &env).await;
        let changed: Vec<_> = before.lines().filter(|line| !after.contains(line)).collect();
        assert!(before == after, "{operation} has changed {changed:#?}");
        walk.sent.clear();
    }
    nothing_is_sent_for(&env, &owners).await;
    for letter in mailbox.letters() {
        // The owner's address may have been asked for.
        let letter = String::from_utf8_lossy(&letter.raw).replace("ops@zq7", "");
        for mark in MARKS {
            assert!(!letter.contains(mark), "a mail tells {mark}: {letter}");
        }
    }
    let Walk { calls, wrong, .. } = walk;
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(named > 60 && calls > 3_000, "{named} parameters name things, in {calls} calls");
}
