//! The retry schedules against the real broker, with ten minutes as one second,
//! while the dispatcher and the broker are killed at random moments.
//!
//! The receivers fail by answers that say nothing of their health, so that no
//! breaker opens and every delay is the schedule's. What is promised:
//!
//! - no try is early, whatever was killed;
//! - no delivery forks: tries are counted up one by one, and one comes again
//!   only if a kill fell between it and its repetition;
//! - the schedule is gone through to its end, and that end is in history, once.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use model::{Answered, Family, RetryPolicy};
use protocol::v1::Event;
use testkit::{OwnServers, Received, Reply, eventually};

use crate::system::{SOON, System, example};

/// 10m, 10m, 15m, 30m, 1h, 2h, 4h.
const SEND_MS: [u64; 7] = [1_000, 1_000, 1_500, 3_000, 6_000, 12_000, 24_000];
const SEND: &str = "1s,1s,1500ms,3s,6s,12s,24s";
const ALERTS_MS: [u64; 5] = [1_000, 2_000, 4_000, 8_000, 16_000];
const ALERTS: &str = "1s,2s,4s,8s,16s";

/// The waits of 48.5 seconds, their jitter, and what the kills cost.
const LONGEST: Duration = Duration::from_secs(100);
/// A try is under way for this long, so that kills find some.
const ANSWERS_AFTER: Duration = Duration::from_millis(150);

/// One delivery: event type, path, the answers in order (the last one stays),
/// tries and end if nothing is killed in the wrong moment.
struct Case {
    event_type: &'static str,
    path: &'static str,
    answers: &'static [u16],
    tries: usize,
    end: &'static str,
}

const CASES: [Case; 9] = [
    case("clicked", "/always", &[500], 8, "exhausted"),
    case("clicked", "/last", &[500, 500, 500, 500, 500, 500, 500, 200], 8, "delivered"),
    case("clicked", "/fifth", &[500, 404, 301, 204, 200], 5, "delivered"),
    case("opened", "/second", &[400, 200], 2, "delivered"),
    case("opened", "/rejects", &[500, 500, 500, 406], 4, "rejected"),
    case("opened", "/first", &[200], 1, "delivered"),
    case("delivered", "/not-retried", &[500], 1, "exhausted"),
    case("unsubscribed", "/again", &[500], 8, "exhausted"),
    case("ip_listed", "/alert", &[500], 6, "exhausted"),
];

const fn case(
    event_type: &'static str,
    path: &'static str,
    answers: &'static [u16],
    tries: usize,
    end: &'static str,
) -> Case {
    Case { event_type, path, answers, tries, end }
}

impl Case {
    fn policy(&self) -> RetryPolicy {
        let (family, waits) = match self.event_type {
            "ip_listed" => (Family::Alert, &ALERTS_MS[..]),
            _ => (Family::Message, &SEND_MS[..]),
        };
        RetryPolicy::mailgun(family, waits.iter().map(|ms| Duration::from_millis(*ms)).collect())
    }
}

/// A process that was gone from one moment to another.
#[derive(Clone, Copy, Debug)]
struct Kill {
    from: Instant,
    to: Instant,
}

impl Kill {
    /// Whether work that was begun at `began` and again at `again` may have been
    /// lost to it.
    fn is_between(&self, began: Instant, again: Instant) -> bool {
        self.to >= began && self.from <= again
    }
}

/// Fractions from 0 to 1 (splitmix64), so that a run can be told by its seed.
struct Chance(u64);

impl Chance {
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).expect("32 bits")) / 2f64.powi(32)
    }
}

#[tokio::test]
async fn schedules_run_to_their_ends_while_dispatcher_and_broker_are_killed() {
    let mut servers = OwnServers::start();
    let extra = [("SEND_RETRY_SCHEDULE", SEND), ("ALERTS_RETRY_SCHEDULE", ALERTS), ("LEASE", "2s")];
    let mut system = System::start_separately(&servers, &extra).await;
    for case in &CASES {
        let answers = case.answers.iter().map(|status| Reply::status(*status).after(ANSWERS_AFTER));
        system.receiver.on_post(case.path, answers);
    }
    for event_type in ["clicked", "opened", "delivered", "unsubscribed"] {
        let urls = CASES.iter().filter(|case| case.event_type == event_type);
        let urls: Vec<String> = urls.map(|case| system.receiver.url(case.path)).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        system.add_domain_webhook("demo", "mail.demo.example", event_type, &urls).await;
    }
    system.add_alert("demo", "ip_listed", &system.receiver.url("/alert")).await;
    for event_type in ["clicked", "opened", "delivered", "unsubscribed", "ip_listed"] {
        let event = Event { id: format!("schedule-{event_type}"), ..example(event_type) };
        system.publish(event).await;
    }

    let seed = RandomState::new().hash_one("schedules");
    let kills = kill_until_all_ended(&mut system, &mut servers, seed).await;
    eprintln!("seed {seed}: {} kills", kills.len());
    assert!(kills.len() >= 5, "the schedules ran almost undisturbed");
    for case in &CASES {
        verify(case, &system.receiver.posts(case.path), &kills, &servers).await;
    }
    let stream = format!("STREAM.INFO.{}_DELIVERIES_0", servers.region);
    eventually(SOON, "the broker to hold no delivery", || async {
        let nats = servers.nats.url();
        let info = testkit::broker::jetstream(&nats, &stream, &serde_json::json!({})).await;
        (info["state"]["messages"] == 0).then_some(())
    })
    .await;
}

/// Kills one or the other, or both, and has them back at once, again and again.
async fn kill_until_all_ended(
    system: &mut System,
    servers: &mut OwnServers,
    seed: u64,
) -> Vec<Kill> {
    let began = Instant::now();
    let mut chance = Chance(seed);
    let mut kills = Vec::new();
    let ended = |servers: &OwnServers| -> usize {
        servers.sql("SELECT count(*) FROM ends").trim().parse().expect("a number")
    };
    while ended(servers) < CASES.len() {
        assert!(began.elapsed() < LONGEST, "seed {seed}: deliveries have not ended; {kills:?}");
        // Every other time as soon as a try has arrived, which is then under way.
        let longest = Duration::from_secs_f64(0.2 + 3.8 * chance.fraction());
        let seen = system.receiver.requests().len();
        let arrival = system.receiver.wait_for("a try", LONGEST, |posts| posts.len() > seen);
        if chance.fraction() < 0.5 {
            // Without an arrival, this is as good a moment as any.
            let _ = tokio::time::timeout(longest, arrival).await;
            let within = ANSWERS_AFTER.mul_f64(1.5 * chance.fraction());
            tokio::time::sleep_until((Instant::now() + within).into()).await;
        } else {
            drop(arrival);
            tokio::time::sleep_until((Instant::now() + longest).into()).await;
        }
        let (which, from) = (chance.fraction(), Instant::now());
        if which < 0.6 {
            system.kill9("dispatcher").await;
        }
        if which > 0.4 {
            servers.nats.kill9().expect("killed");
            servers.nats.restart().expect("restarted");
        }
        if which < 0.6 {
            system.run("dispatcher", None).await;
        }
        kills.push(Kill { from, to: Instant::now() });
    }
    kills
}

/// Goes through the tries of one delivery as they arrived.
async fn verify(case: &Case, posts: &[Received], kills: &[Kill], servers: &OwnServers) {
    let Case { path, .. } = case;
    let policy = case.policy();
    let answer = |place: usize| case.answers[place.min(case.answers.len() - 1)];
    // Number of the try, its arrivals, and what the last of them was answered.
    let mut tries: Vec<(usize, Vec<Instant>, Answered)> = Vec::new();
    for (place, post) in posts.iter().enumerate() {
        assert_eq!(
            post.header("x-postrider-delivery"),
            posts[0].header("x-postrider-delivery"),
            "{path}: two deliveries"
        );
        let number: usize =
            post.header("x-postrider-attempt").expect("a number").parse().expect("a number");
        let answered = policy.answered(answer(place));
        match tries.last_mut() {
            Some((last, arrivals, meant)) if *last == number => {
                let before = arrivals[arrivals.len() - 1];
                assert!(
                    kills.iter().any(|kill| kill.is_between(before, post.at)),
                    "{path}: try {number} came again, and nothing was killed"
                );
                arrivals.push(post.at);
                *meant = answered;
            }
            last => {
                let (done, meant) = last.map_or((0, Answered::Failed), |last| (last.0, last.2));
                assert_eq!(number, done + 1, "{path}: tries are counted one by one");
                assert_eq!(meant, Answered::Failed, "{path}: tried after its end");
                tries.push((number, vec![post.at], answered));
            }
        }
    }
    // The next try was planned after an answer to this one, so not before this.
    for (pair, wait) in tries.windows(2).zip(&policy.waits) {
        let waited = pair[1].1[0] - pair[0].1[0];
        let least = *wait + ANSWERS_AFTER;
        assert!(waited >= least, "{path}: try {} after {waited:?}, not {least:?}", pair[1].0);
    }

    let repeated = posts.len() - tries.len();
    let (last, arrivals, meant) = tries.last().expect("it was tried");
    assert!(arrivals.len() <= kills.len() + 1);
    // A repetition uses up an answer of the receiver's script.
    assert!(
        *last <= case.tries && *last + repeated >= case.tries,
        "{path}: {last} tries of {}, {repeated} repeated",
        case.tries
    );
    if case.answers.len() == 1 {
        assert_eq!(*last, case.tries, "{path}");
    }
    let end = match meant {
        Answered::Taken => "delivered",
        Answered::Rejected => "rejected",
        Answered::Failed => "exhausted",
    };
    assert_eq!(end, case.end, "{path}");
    let reason = match (end, answer(posts.len() - 1)) {
        ("exhausted", _) => "schedule".to_owned(),
        ("rejected", status) => format!("status_{status}"),
        _ => "ok".to_owned(),
    };
    let ended = servers
        .sql(&format!("SELECT outcome, reason, attempts FROM ends WHERE last_url LIKE '%{path}'"));
    // One whose try was repeated by somebody who knew nothing of it says so at its end.
    let said = ended.trim().replace("|may_have_arrived|", "|schedule|");
    assert_eq!(said, format!("{end}|{reason}|{last}"), "{path}");
    verify_history(path, &tries, servers).await;
}

/// History has each try, and none more often than the receiver has seen it.
async fn verify_history(
    path: &str,
    tries: &[(usize, Vec<Instant>, Answered)],
    servers: &OwnServers,
) {
    let query = format!(
        "SELECT attempt, hop, count(*) FROM attempts WHERE charged AND url LIKE '%{path}' \
         GROUP BY attempt, hop ORDER BY attempt, hop"
    );
    let rows = eventually(SOON, &format!("the history of {path}"), || async {
        let rows = servers.sql(&query);
        (rows.lines().count() >= tries.len()).then_some(rows)
    })
    .await;
    let rows: Vec<Vec<usize>> = rows
        .lines()
        .map(|row| row.split('|').map(|number| number.parse().expect("a number")).collect())
        .collect();
    assert_eq!(rows.len(), tries.len(), "{path}: a try of two hops: {rows:?}");
    for (row, (number, arrivals, _)) in rows.iter().zip(tries) {
        assert_eq!(row[0], *number, "{path}: {rows:?}");
        assert!(row[2] <= arrivals.len(), "{path}: {rows:?}");
    }
    assert!(rows.windows(2).all(|pair| pair[0][1] < pair[1][1]), "{path}: {rows:?}");
}
