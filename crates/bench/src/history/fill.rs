//! A history of two weeks, made in the database itself.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{Delivery, Event, MessageTarget, Target};

use crate::platform::Platform;
use crate::receiver::micros_now;

/// How many days it has.
pub(super) const DAYS: u64 = 14;
/// The account of a fifth of all events.
pub(super) const LARGE: &str = "large";
/// That of a fiftieth.
const MEDIUM: &str = "medium";
/// That of a thousandth.
pub(super) const SMALL: &str = "small";
/// Accounts that can be looked at, from which of a thousand numbers on they
/// have the events, and their domains.
const ACCOUNTS: [(&str, u32, u32, u32); 3] =
    [(LARGE, 0, 200, 4), (MEDIUM, 200, 220, 2), (SMALL, 220, 221, 1)];
/// Scatter what hangs on an event's number.
const FACTOR: u64 = 48_271;
const PRIME: u64 = 2_147_483_647;
/// Rows of one statement.
const AT_ONCE: u64 = 100_000;

const TABLES: [&str; 5] = ["events", "attempts", "ends", "undelivered", "statistics"];

/// Of two hundred events: how many are of each kind, and what one looks like.
const KINDS: [(&str, u32, &str); 8] = [
    ("accepted", 90, include_str!("../../../../examples/events/accepted.json")),
    ("delivered", 80, include_str!("../../../../examples/events/delivered.json")),
    ("temporary_fail", 6, include_str!("../../../../examples/events/temporary_fail.json")),
    ("permanent_fail", 2, include_str!("../../../../examples/events/permanent_fail.json")),
    ("opened", 16, include_str!("../../../../examples/events/opened.json")),
    ("clicked", 4, include_str!("../../../../examples/events/clicked.json")),
    ("unsubscribed", 1, include_str!("../../../../examples/events/unsubscribed.json")),
    ("complained", 1, include_str!("../../../../examples/events/complained.json")),
];

/// What is there to be looked at.
pub(super) struct World {
    /// Events.
    pub(super) rows: u64,
    /// When the last of them happened, in seconds since the epoch.
    pub(super) now: u64,
    /// Deliveries of the large account that failed at first.
    pub(super) failed_deliveries: Vec<String>,
}

impl World {
    /// Puts so many events into the database, and all that belongs to them.
    pub(super) async fn fill(platform: &Platform, rows: u64) -> Result<Self> {
        let url = "https://hooks.example.net/0".to_owned();
        for (account, _, _, domains) in ACCOUNTS {
            let urls = vec![url.clone(); domains as usize];
            platform.add_customer(account, "clicked", &urls).await?;
        }
        let now = micros_now() / 1_000_000;
        for setting in ["max_wal_size = '8GB'", "checkpoint_timeout = '15min'"] {
            platform.query(&format!("ALTER SYSTEM SET {setting}"))?;
        }
        platform.query("SELECT pg_reload_conf()")?;
        platform.query(MAKE_DAYS)?;
        let statements = Statements::new(platform, rows, now)?;
        let done = std::sync::atomic::AtomicU64::new(0);
        let fill = |part: &dyn Fn(u64, u64) -> String| -> Result<()> {
            for number in 0..rows.div_ceil(AT_ONCE) {
                let first = number * AT_ONCE + 1;
                let last = (first + AT_ONCE - 1).min(rows);
                platform.query(&part(first, last))?;
                let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                if done.is_multiple_of(20) {
                    eprintln!("{done} of {} parts are filled in", 2 * rows.div_ceil(AT_ONCE));
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let events = scope.spawn(|| fill(&|first, last| statements.events(first, last)));
            fill(&|first, last| statements.deliveries(first, last))?;
            events.join().map_err(|_| anyhow::anyhow!("events could not be filled in"))?
        })?;
        platform.query(&format!("SELECT setval('event_positions', {rows})"))?;
        platform.query(COUNT)?;
        for table in TABLES {
            platform.query(&format!("VACUUM (ANALYZE) {table}"))?;
        }
        platform.query("CHECKPOINT")?;
        let failed = platform.query(&format!(
            "SELECT replace(delivery_id::text, '-', '') FROM attempts WHERE reason <> 'ok' \
             AND account_id = (SELECT account_id FROM accounts WHERE name = '{LARGE}') \
             ORDER BY delivery_id LIMIT 500"
        ))?;
        let failed_deliveries = failed.lines().map(|line| line.trim().to_owned()).collect();
        Ok(Self { rows, now, failed_deliveries })
    }

    /// Rows by table.
    pub(super) fn counts(&self, platform: &Platform) -> Result<Vec<(&'static str, u64)>> {
        let count = |table| {
            let rows = platform.query(&format!("SELECT count(*) FROM {table}"))?;
            Ok((table, rows.trim().parse()?))
        };
        TABLES.into_iter().map(count).collect()
    }

    /// One of the recipients of the large account's first domain.
    pub(super) fn recipient(number: u64) -> String {
        format!("r{}%40reader.example", (4_000 * number + number % 200) % 500_000)
    }

    /// The message of an event of that domain, the next one from this number on.
    pub(super) fn message_id(number: u64) -> String {
        let is_theirs = |event: &u64| {
            let hash = event * FACTOR % PRIME;
            hash % 1000 < 200 && (hash / 1000).is_multiple_of(4)
        };
        let event = (number..).find(is_theirs).unwrap_or(number);
        format!("m{}%40mail.example", event / 3)
    }
}

/// The days that archive has not made, because they are over.
const MAKE_DAYS: &str = "DO $$ DECLARE t text; d date; name text; BEGIN \
    FOREACH t IN ARRAY ARRAY['events', 'attempts', 'ends', 'undelivered'] LOOP \
    FOR i IN 0..15 LOOP d := (now() AT TIME ZONE 'UTC')::date - i; \
    name := t || '_' || to_char(d, 'YYYYMMDD'); \
    IF to_regclass(name) IS NULL THEN \
    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, t, \
    d::timestamp AT TIME ZONE 'UTC', (d + 1)::timestamp AT TIME ZONE 'UTC'); \
    END IF; END LOOP; END LOOP; END $$";

/// The slots that archive would have counted: of targets hours, of accounts hours up to
/// three days ago, and five minutes from there on. All answers took 12 ms.
const COUNT: &str = "INSERT INTO statistics (account_id, target_id, seconds, starts_at, taken, \
    failed, latencies, delivered, rejected, exhausted, held, last_url, last_taken_at, \
    last_failed_at, last_reason) \
    SELECT account_id, target_id, seconds, starts_at, sum(taken), sum(failed), \
    array_fill(0::bigint, ARRAY[6]) || sum(taken)::bigint || array_fill(0::bigint, ARRAY[22]), \
    sum(delivered), sum(rejected), sum(exhausted), sum(held), max(url), \
    max(at) FILTER (WHERE taken > 0), max(at) FILTER (WHERE failed > 0), max(reason) \
    FROM (SELECT account_id, target_id, started_at AS at, (reason = 'ok')::int AS taken, \
    (reason <> 'ok')::int AS failed, 0 AS delivered, 0 AS rejected, 0 AS exhausted, 0 AS held, \
    url, nullif(reason, 'ok') AS reason FROM attempts \
    UNION ALL SELECT account_id, target_id, ended_at, 0, 0, (outcome = 'delivered')::int, \
    (outcome = 'rejected')::int, (outcome = 'exhausted')::int, (outcome = 'held')::int, NULL, NULL \
    FROM ends) AS counted (account_id, target, at, taken, failed, delivered, rejected, exhausted, \
    held, url, reason), \
    LATERAL (VALUES (target, 3600), ('00000000-0000-0000-0000-000000000000'::uuid, \
    CASE WHEN at < date_trunc('hour', now()) - interval '3 days' THEN 3600 ELSE 300 END)) \
    AS slot (target_id, seconds), \
    LATERAL (SELECT to_timestamp(floor(extract(epoch FROM at) / seconds) * seconds)) \
    AS start (starts_at) GROUP BY 1, 2, 3, 4";

/// What every statement begins with: numbers, each with what hangs on it, all of
/// it scattered and the same in every run.
struct Statements {
    numbers: String,
    kinds: String,
    delivery: String,
}

impl Statements {
    fn new(platform: &Platform, rows: u64, now: u64) -> Result<Self> {
        let ids = |statement: &str| {
            let ids = platform.query(statement)?;
            let ids: Vec<String> = ids.lines().map(|id| format!("'{}'", id.trim())).collect();
            anyhow::Ok(ids.join(","))
        };
        let mut owners = String::new();
        for (account, from, to, _) in ACCOUNTS {
            let id = ids(&format!("SELECT account_id FROM accounts WHERE name = '{account}'"))?;
            let domains = ids(&format!(
                "SELECT domain_id FROM domains WHERE account_id = {id} ORDER BY name"
            ))?;
            write!(
                owners,
                "WHEN h % 1000 >= {from} AND h % 1000 < {to} THEN ROW({id}, \
                 (ARRAY[{domains}]::uuid[])[1 + h / 1000 % cardinality(ARRAY[{domains}])])::owner "
            )?;
        }
        platform.query("CREATE TYPE owner AS (account_id text, domain_id uuid)")?;
        let every = DAYS as f64 * 86_400.0 / rows as f64;
        let numbers = format!(
            "SET synchronous_commit = off; \
             WITH hashed AS (SELECT n, n::bigint * {FACTOR} % {PRIME} AS h, \
             to_timestamp({now} - ({rows} - n) * {every}::float8) AS at \
             FROM generate_series(FIRST, LAST) AS n), \
             numbers AS MATERIALIZED (SELECT n, h, at, CASE {owners} \
             ELSE ROW(lpad(to_hex(h / 1000 % 1000), 24, '0'), \
             md5('domain' || h / 1000 % 1000)::uuid)::owner END AS owner, \
             h / 4000 % 200 AS kind, h / 7 % 100 AS fate, h / 700 % 4 AS turn \
             FROM hashed) "
        );
        let mut kinds = Vec::new();
        let mut from = 0;
        for (name, share, example) in KINDS {
            let mut event: Event = serde_json::from_str(example).context("an example")?;
            event.timestamp = Some(Timestamp { seconds: i64::try_from(now)?, nanos: 0 });
            let body = hex(&event.encode_to_vec());
            kinds.push(format!("({from}, {}, '{name}', '\\x{body}'::bytea)", from + share));
            from += share;
        }
        let target =
            MessageTarget { url: "https://hooks.example.net/0".into(), ..Default::default() };
        let delivery = Delivery {
            target: Some(Target { kind: Some(TargetKind::Message(target)), ..Target::default() }),
            accepted_event: vec![b'.'; 900].into(),
            ..Delivery::default()
        };
        Ok(Self { numbers, kinds: kinds.join(", "), delivery: hex(&delivery.encode_to_vec()) })
    }

    fn numbers(&self, first: u64, last: u64) -> String {
        self.numbers.replace("FIRST", &first.to_string()).replace("LAST", &last.to_string())
    }

    fn events(&self, first: u64, last: u64) -> String {
        // A later field of a message replaces an earlier one: this is the id.
        format!(
            "{} INSERT INTO events (event_key, account_id, domain_id, event_type, event_id, \
             occurred_at, accepted_at, position, caller, event, recipient, recipients, from_header, \
             to_header, subject, message_id, tags, size_bytes) \
             SELECT md5('e' || n)::uuid, (owner).account_id, (owner).domain_id, k.name, \
             'e' || lpad(n::text, 9, '0'), at, at + interval '1 second', n, 'bench', \
             k.body || '\\x0a0a'::bytea || convert_to('e' || lpad(n::text, 9, '0'), 'UTF8'), \
             'r' || h % 500000 || '@reader.example', \
             E'\\x1fr' || h % 500000 || E'@reader.example\\x1f', 'books <orders@books.example>', \
             'r' || h % 500000 || ' <r' || h % 500000 || '@reader.example>', \
             'order ' || h % 1000003 || ' is on its way', 'm' || n / 3 || '@mail.example', \
             E'\\x1forder\\x1fshipping\\x1f', h % 50000 \
             FROM numbers JOIN (VALUES {}) AS k (low, high, name, body) \
             ON kind >= low AND kind < high ORDER BY n",
            self.numbers(first, last),
            self.kinds
        )
    }

    /// One delivery of each event. Four of a hundred fail at first, one for good,
    /// and some are held or rejected.
    fn deliveries(&self, first: u64, last: u64) -> String {
        format!(
            "{} , ended AS (SELECT *, md5('d' || n)::uuid AS delivery_id, \
             md5((owner).account_id || h % 3)::uuid AS target_id, \
             CASE WHEN fate = 0 THEN 'exhausted' WHEN fate = 50 AND turn = 0 THEN 'held' \
             WHEN fate = 51 AND turn = 0 THEN 'rejected' ELSE 'delivered' END AS outcome \
             FROM numbers), \
             tried AS (INSERT INTO attempts (event_key, delivery_id, hop, started_at, account_id, \
             target_id, generation, attempt, charged, duration_ms, url, status, reason, detail, \
             response_snippet, named_event_id, named_event_type, named_domain_id) \
             SELECT md5('e' || n)::uuid, delivery_id, hop, at + interval '1 minute' * hop, \
             (owner).account_id, target_id, 0, hop + 1, true, 12, \
             'https://hooks.example.net/' || h % 3, \
             CASE WHEN failed THEN (ARRAY[503, NULL, 404, 500])[fate + 1] ELSE 200 END, \
             CASE WHEN failed THEN (ARRAY['status', 'timeout', 'status', 'status'])[fate + 1] \
             ELSE 'ok' END, '', CASE WHEN failed THEN 'Service Unavailable' ELSE '' END, \
             CASE WHEN failed THEN 'e' || lpad(n::text, 9, '0') END, \
             CASE WHEN failed THEN k.name END, CASE WHEN failed THEN (owner).domain_id END \
             FROM ended JOIN (VALUES {}) AS k (low, high, name, body) \
             ON kind >= low AND kind < high, generate_series(0, CASE WHEN fate < 4 THEN 1 ELSE 0 END) AS hop, \
             LATERAL (SELECT fate < 4 AND (hop = 0 OR fate = 0) AS failed) AS f), \
             over AS (INSERT INTO ends (delivery_id, event_key, account_id, target_id, generation, \
             hop, outcome, reason, ended_at, attempts, last_url, last_status) \
             SELECT delivery_id, md5('e' || n)::uuid, (owner).account_id, target_id, 0, 1, outcome, \
             'status', at + interval '2 minutes', 1, 'https://hooks.example.net/' || h % 3, 200 \
             FROM ended ORDER BY n) \
             INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, delivery) \
             SELECT delivery_id, (owner).account_id, target_id, outcome, at + interval '2 minutes', \
             '\\x{}' FROM ended WHERE outcome <> 'delivered' ORDER BY n",
            self.numbers(first, last),
            self.kinds,
            self.delivery
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
