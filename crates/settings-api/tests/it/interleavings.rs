//! Random writes of all three versions of webhooks, valid and invalid, one
//! after the other: each is answered as a simple model says, every list shows
//! what the model holds, and events go where the model says.

mod chance;
mod model;

use ::model::{EventType, Scope, route};
use chassis::Clock;
use protocol::v1::Level;
use protocol::v1::target::Kind;
use testkit::TestEnv;
use testkit::http::{Request, Response};

use self::chance::Chance;
use self::model::{Model, Written};
use crate::world::{World, assert_answer, send};

/// Writes of one run.
const STEPS: usize = 120;
/// After how many of them fan-out and all lists are compared.
const COMPARED_EVERY: usize = 10;

const URLS: [&str; 8] = [
    "https://hooks.example.net/a",
    "https://hooks.example.net/b",
    "https://hooks.example.net/c",
    "https://hooks.example.net/d",
    "https://hooks.example.net/a,b",
    "https://hooks.example.net/e?x=1&y=<2>",
    "ftp://hooks.example.net/",
    "http://10.0.0.1/",
];

const IDS: [&str; 9] = [
    "accepted",
    "opened",
    "clicked",
    "delivered",
    "permanent_fail",
    "click",
    "bounce",
    "drop",
    "xyz",
];

/// One run: a subaccount with a domain, and its parent.
struct Run<'a> {
    world: &'a World,
    seed: u64,
    parent: String,
    account: String,
    domain: String,
    model: Model,
    chance: Chance,
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_writes_leaves_what_a_simple_model_has() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_SETTINGS_RATE_LIMIT", "1000000")];
    let world = World::configured(&env, &settings, Clock::system()).await;
    // One seed is another one each time; a failure tells which.
    let fresh = u64::from_be_bytes(chassis::entropy::bytes());
    let world = &world;
    let runs = [1, 2, 3, fresh].map(|seed| async move {
        let mut run = Run::begin(world, seed).await;
        for step in 0..STEPS {
            run.write(step).await;
            if step % COMPARED_EVERY == COMPARED_EVERY - 1 {
                run.compare(step).await;
            }
        }
        // A run that only ever refuses would prove nothing. By chance a fresh seed is one of few.
        let few = if seed == fresh { 0 } else { STEPS / 6 };
        assert!(run.model.changes > few, "seed {seed}: {} changes", run.model.changes);
    });
    let [a, b, c, d] = runs;
    tokio::join!(a, b, c, d);
}

impl<'a> Run<'a> {
    async fn begin(world: &'a World, seed: u64) -> Self {
        let parent = format!("parent-{seed}");
        let account = format!("account-{seed}");
        let domain = format!("d{seed}.example");
        world.account(&parent, "").await;
        world.account(&account, &parent).await;
        world.domain(&domain, &account).await;
        let (model, chance) = (Model::default(), Chance::new(seed));
        Self { world, seed, parent, account, domain, model, chance }
    }

    fn call(&self, account_name: &str, method: &str, path: &str) -> Request {
        self.world.anonymous(method, path).basic_auth("api", &format!("key-{account_name}"))
    }

    fn of_domain(&self, version: u8, method: &str, rest: &str) -> Request {
        let path = format!("/v{version}/domains/{}/webhooks{rest}", self.domain);
        self.call(&self.account, method, &path)
    }

    /// Makes one write and checks its answer.
    async fn write(&mut self, step: usize) {
        let what = match self.chance.below(9) {
            0 => self.v3_create().await,
            1 => self.v3_update().await,
            2 => self.v3_delete().await,
            3 | 4 => self.v4_add().await,
            5 => self.v4_replace().await,
            6 => self.v4_remove().await,
            7 => self.v1_save().await,
            _ => self.v1_save_or_remove().await,
        };
        let Step { what, expected, answer } = what;
        let context = format!("seed {}, step {step}: {what}", self.seed);
        match expected {
            Written::Status(status) => {
                assert_eq!(answer.status, status, "{context}: {}", answer.text());
            }
            Written::Map => {
                assert_eq!(answer.status, 200, "{context}: {}", answer.text());
                assert_eq!(answer.text(), self.model.map(4), "{context}");
            }
        }
        if answer.status >= 400 {
            assert!(answer.json()["message"].is_string(), "{context}");
        }
    }

    async fn v3_create(&mut self) -> Step {
        let (id, urls) = (self.chance.of(&IDS), self.chance.some(&URLS, 4));
        let form = fields("url", &urls, &[("id", id)]);
        let answer = send(self.of_domain(3, "POST", "").form(&form)).await;
        let expected = self.model.create(id, &urls);
        Step { what: format!("v3 POST {form:?}"), expected, answer }
    }

    async fn v3_update(&mut self) -> Step {
        let (id, urls) = (self.chance.of(&IDS), self.chance.some(&URLS, 4));
        let form = fields("url", &urls, &[]);
        let answer = send(self.of_domain(3, "PUT", &format!("/{id}")).form(&form)).await;
        let expected = self.model.update(id, &urls);
        Step { what: format!("v3 PUT {id} {form:?}"), expected, answer }
    }

    async fn v3_delete(&mut self) -> Step {
        let id = self.chance.of(&IDS);
        let answer = send(self.of_domain(3, "DELETE", &format!("/{id}"))).await;
        Step { what: format!("v3 DELETE {id}"), expected: self.model.delete(id), answer }
    }

    async fn v4_add(&mut self) -> Step {
        let (url, types) = (self.chance.of(&URLS), self.chance.some(&IDS, 3));
        let form = fields("event_types", &types, &[("url", url)]);
        // Some clients send it to version 3.
        let version = self.chance.of(&[3, 4, 4]);
        let answer = send(self.of_domain(version, "POST", "").form(&form)).await;
        let expected = self.model.add(url, &types);
        Step { what: format!("v4 POST {form:?}"), expected, answer }
    }

    async fn v4_replace(&mut self) -> Step {
        let (url, types) = (self.chance.of(&URLS), self.chance.some(&IDS, 3));
        let form = fields("event_types", &types, &[("url", url)]);
        let answer = send(self.of_domain(4, "PUT", "").form(&form)).await;
        let expected = self.model.replace(url, &types);
        Step { what: format!("v4 PUT {form:?}"), expected, answer }
    }

    async fn v4_remove(&mut self) -> Step {
        let given = match self.chance.below(3) {
            0 => format!("{},{}", self.chance.of(&URLS), self.chance.of(&URLS)),
            _ => self.chance.of(&URLS).to_owned(),
        };
        let query =
            form_urlencoded::Serializer::new(String::new()).append_pair("url", &given).finish();
        let answer = send(self.of_domain(4, "DELETE", &format!("?{query}"))).await;
        Step { what: format!("v4 DELETE {given}"), expected: self.model.remove(&given), answer }
    }

    /// Makes an account webhook, of the subaccount or of its parent.
    async fn v1_save(&mut self) -> Step {
        let of_parent = self.chance.below(3) == 0;
        let owner = if of_parent { self.parent.clone() } else { self.account.clone() };
        let (url, types) = (self.chance.of(&URLS), self.chance.some(&IDS, 3));
        let form = fields("event_types", &types, &[("url", url)]);
        let answer = send(self.call(&owner, "POST", "/v1/webhooks").form(&form)).await;
        let made = (answer.status == 200).then(|| {
            answer.json()["webhook_id"].as_str().expect("the id of a new webhook").to_owned()
        });
        let expected = self.model.save_hook(of_parent, None, made, url, &types);
        Step { what: format!("v1 POST {owner} {form:?}"), expected, answer }
    }

    /// Changes or removes one that is there.
    async fn v1_save_or_remove(&mut self) -> Step {
        let of_parent = self.chance.below(3) == 0;
        let owner = if of_parent { self.parent.clone() } else { self.account.clone() };
        let ids = self.model.hook_ids(of_parent);
        let id = match ids.len() {
            0 => "0123456789abcdef01234567".to_owned(),
            many => ids[self.chance.below(many)].clone(),
        };
        let path = format!("/v1/webhooks/{id}");
        if self.chance.below(3) == 0 {
            let answer = send(self.call(&owner, "DELETE", &path)).await;
            let expected = self.model.remove_hook(of_parent, &id);
            return Step { what: format!("v1 DELETE {owner} {id}"), expected, answer };
        }
        let (url, types) = (self.chance.of(&URLS), self.chance.some(&IDS, 3));
        let form = fields("event_types", &types, &[("url", url)]);
        let answer = send(self.call(&owner, "PUT", &path).form(&form)).await;
        let expected = self.model.save_hook(of_parent, Some(&id), None, url, &types);
        Step { what: format!("v1 PUT {owner} {id} {form:?}"), expected, answer }
    }

    /// Compares all views, and where events of each type go.
    async fn compare(&mut self, step: usize) {
        let context = format!("seed {}, step {step}", self.seed);
        for version in [3, 4] {
            let listed = send(self.of_domain(version, "GET", "")).await;
            assert_eq!(listed.text(), self.model.map(version), "{context}: v{version}");
        }
        for id in IDS {
            let one = send(self.of_domain(3, "GET", &format!("/{id}"))).await;
            match self.model.one(id) {
                Some(body) => assert_answer(&one, 200, &body),
                None => assert_eq!(one.status, 404, "{context}: {id}"),
            }
        }
        for (owner, of_parent) in [(&self.account, false), (&self.parent, true)] {
            let listed = send(self.call(owner, "GET", "/v1/webhooks")).await.json();
            let seen: Vec<_> = listed["webhooks"].as_array().expect("a list").iter().collect();
            let seen: Vec<_> = seen
                .iter()
                .map(|hook| {
                    format!("{} {} {}", hook["webhook_id"], hook["url"], hook["event_types"])
                })
                .collect();
            assert_eq!(seen, self.model.hooks(of_parent), "{context}: {owner}");
        }

        let account = self.world.account_document(&self.account).await;
        let parent = self.world.account_document(&self.parent).await;
        let domain = self.world.domain_document(&self.domain).await;
        let identity = ::model::Identity { event_key: "event", acceptance: "first" };
        for event_type in EventType::WEBHOOKS {
            let scope = Scope { account: &account, parent: Some(&parent), domain: Some(&domain) };
            let chosen = route(event_type, identity, scope).chosen.into_iter();
            let seen: Vec<(Level, String)> = chosen
                .map(|chosen| match chosen.target.kind {
                    Some(Kind::Message(target)) => (chosen.level, target.url),
                    other => panic!("{other:?} is no webhook"),
                })
                .collect();
            assert_eq!(seen, self.model.fan_out(event_type), "{context}: {event_type}");
        }
    }
}

/// A write that was made.
struct Step {
    what: String,
    expected: Written,
    answer: Response,
}

/// A form in which one field repeats.
fn fields<'a>(
    name: &'a str,
    values: &[&'a str],
    others: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    others.iter().copied().chain(values.iter().map(|value| (name, *value))).collect()
}
