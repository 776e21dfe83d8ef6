//! The roles that use the database, each with the user that deploy/postgres/roles.sql has for it.

use std::path::Path;

use protocol::v1::EraseAccountRequest;
use serde_json::json;
use testkit::{OwnServers, Postrider, Reply, Scratch, eventually};

use crate::system::{BINARY, SOON, System, alert, clicked};

const MIGRATE: &str = "postrider_migrate";
const SETTINGS_API: &str = "postrider_settings_api";
const ARCHIVE: &str = "postrider_archive";

/// Makes the users, with their names as passwords.
fn make_users(servers: &OwnServers, scratch: &Scratch) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/postgres/roles.sql");
    let mut text = std::fs::read_to_string(file).expect("it is in the repository");
    for (variable, role) in
        [("migrate", MIGRATE), ("settings_api", SETTINGS_API), ("archive", ARCHIVE)]
    {
        let asked = format!("\\getenv {variable}_password {}_PASSWORD", variable.to_uppercase());
        assert!(text.contains(&asked), "{role} has no password");
        text = text.replace(&asked, &format!("\\set {variable}_password {role}"));
    }
    let file = scratch.path().join("roles.sql");
    std::fs::write(&file, text).expect("written");
    let made = servers.postgres.tools().run_file(&servers.database_url, &file);
    made.expect("PostgreSQL takes the file");
}

fn url_of(servers: &OwnServers, user: &str) -> String {
    servers.database_url.replacen("://postrider@", &format!("://{user}:{user}@"), 1)
}

#[tokio::test]
async fn every_role_works_as_a_database_user_of_its_own() {
    let (servers, scratch) = (OwnServers::start(), Scratch::new().expect("a directory"));
    make_users(&servers, &scratch);
    // Once more, as for a change of passwords.
    make_users(&servers, &scratch);
    let system = System::start_as_database_users(
        &servers,
        &url_of(&servers, MIGRATE),
        &[
            ("settings-api", &url_of(&servers, SETTINGS_API)),
            ("archive", &url_of(&servers, ARCHIVE)),
        ],
    )
    .await;

    // Settings of all kinds, history of all kinds, what is sent again, and erasure.
    system.receiver.on_post("/hook", [500, 200].map(Reply::status));
    system.receiver.on_post("/alert", [Reply::status(500)]);
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    let webhook = system.add_account_webhook("demo", &hook, &["opened"]).await;
    system.delete_account_webhook("demo", &webhook).await;
    let setting = system.add_alert("demo", "ip_listed", &system.receiver.url("/alert")).await;
    system.publish(clicked("one")).await;
    system.publish(alert("two")).await;
    let wait_for = async |query: &str, expected: &str| {
        eventually(SOON, query, || async { (servers.sql(query).trim() == expected).then_some(()) })
            .await;
    };
    wait_for("SELECT string_agg(outcome, ' ' ORDER BY outcome) FROM ends", "delivered exhausted")
        .await;
    let disabled = "SELECT disabled_at IS NOT NULL FROM alert_settings WHERE setting_id = ";
    wait_for(&format!("{disabled}'{setting}'"), "t").await;
    let again = testkit::http::post(system.url("/postrider/v1/resends"));
    let again = again.basic_auth("api", "key-demo").json(&json!({"outcomes": ["exhausted"]}));
    again.send().await.expect("answered").expect_status(200);
    wait_for("SELECT count(*) FROM ends WHERE outcome = 'held'", "1").await;
    for path in ["/v3/mail.demo.example/events", "/postrider/v1/events/one/journey"] {
        let asked = testkit::http::get(system.url(path)).basic_auth("api", "key-demo");
        asked.send().await.expect("answered").expect_status(200);
    }
    // Days were made, by archive; a row of each kind is in one of them.
    let days = "SELECT count(*) FROM pg_class WHERE relname ~ '^(events|ends)_[0-9]{8}$' \
                AND relowner = 'postrider_archive'::regrole";
    wait_for(days, "20").await;
    system.set_status("demo", "closed").await;
    let request = EraseAccountRequest { account_name: "demo".into() };
    system.admin().await.erase_account(request).await.expect("erased");
    wait_for("SELECT count(*) FROM events", "0").await;
    wait_for("SELECT count(*) FROM statistics", "0").await;
    wait_for("SELECT min(purged) > 0 FROM erasures", "t").await;

    let logs = system.logs();
    let refused: Vec<&str> = logs
        .lines()
        .filter(|line| line.contains("permission denied") || line.contains("must be owner"))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[tokio::test]
async fn no_database_user_may_do_what_is_another_ones() {
    let (servers, scratch) = (OwnServers::start(), Scratch::new().expect("a directory"));
    make_users(&servers, &scratch);
    let migrate = async || {
        let variables = [("POSTRIDER_DATABASE_URL", url_of(&servers, MIGRATE))];
        testkit::process::run(BINARY, &["migrate"], variables).await.expect("migrated");
    };
    migrate().await;
    let tools = servers.postgres.tools();
    let refused = |user: &str, statement: &str| match tools
        .query(&url_of(&servers, user), statement)
    {
        Ok(rows) => panic!("{user} may: {statement}: {rows}"),
        Err(error) => {
            let error = format!("{error:#}");
            let is_refused = error.contains("permission denied") || error.contains("must be owner");
            assert!(is_refused, "{user}: {statement}: {error}");
        }
    };
    for statement in [
        "DROP TABLE accounts",
        "DROP TABLE events",
        "DROP TABLE events_default",
        "ALTER TABLE accounts ADD COLUMN more text",
        "CREATE TABLE more (id text)",
        "TRUNCATE events",
        "DELETE FROM accounts",
        "INSERT INTO ends SELECT * FROM ends",
        "UPDATE ends SET outcome = 'delivered'",
        "UPDATE deployment SET region = 'eu'",
        "INSERT INTO _sqlx_migrations SELECT * FROM _sqlx_migrations",
        "SET ROLE postrider_archive",
    ] {
        refused(SETTINGS_API, statement);
    }
    for statement in [
        "SELECT sealed_http_signing_key FROM accounts",
        "SELECT * FROM accounts",
        "SELECT * FROM api_keys",
        "SELECT * FROM url_headers",
        "SELECT * FROM domain_webhooks",
        "SELECT * FROM settings_outbox",
        "UPDATE accounts SET erased_at = NULL",
        "UPDATE erasures SET purged = 0",
        "DROP TABLE accounts",
        "DROP TABLE statistics",
        "SET ROLE postrider_migrate",
    ] {
        refused(ARCHIVE, statement);
    }
    // A day that archive has made is changed by the migrations, and read by all.
    let archive = url_of(&servers, ARCHIVE);
    let day = "CREATE TABLE events_19990101 (LIKE events INCLUDING ALL); \
               ALTER TABLE events ATTACH PARTITION events_19990101 \
               FOR VALUES FROM ('1999-01-01') TO ('1999-01-02')";
    tools.query(&archive, day).expect("made");
    let changed =
        tools.query(&url_of(&servers, MIGRATE), "ALTER TABLE events ADD COLUMN more text");
    changed.expect("changed, with its days");
    tools.query(&url_of(&servers, SETTINGS_API), "SELECT more FROM events").expect("read");
    // What a migration makes in an upgrade is of use to the others.
    let made = "CREATE TABLE events_another PARTITION OF events FOR VALUES FROM ('1999-02-01') TO ('1999-02-02')";
    tools.query(&url_of(&servers, MIGRATE), made).expect("made");
    migrate().await;
    tools.query(&archive, "DROP TABLE events_another").expect("its own now");
}

#[tokio::test]
async fn who_may_not_migrate_waits_and_says_what_is_missing() {
    let (servers, scratch) = (OwnServers::start(), Scratch::new().expect("a directory"));
    make_users(&servers, &scratch);
    let ops = crate::system::loopback();
    let mut variables = vec![
        ("POSTRIDER_NATS_URL", servers.nats.url()),
        ("POSTRIDER_REGION", servers.region.clone()),
        ("POSTRIDER_DATABASE_URL", url_of(&servers, SETTINGS_API)),
        ("POSTRIDER_SECRET_KEY", "5a".repeat(32)),
        ("POSTRIDER_OPS_ADDR", ops.to_string()),
    ];
    for name in ["POSTRIDER_HTTP_ADDR", "POSTRIDER_ADMIN_ADDR"] {
        variables.push((name, crate::system::loopback().to_string()));
    }
    let mut api = Postrider::start(BINARY, &["settings-api"], variables);
    eventually(SOON, "what is missing to be said", || async {
        let log = api.log();
        (log.contains("the schema lacks") && log.contains("postrider migrate")).then_some(())
    })
    .await;
    let variables = [("POSTRIDER_DATABASE_URL", url_of(&servers, MIGRATE))];
    testkit::process::run(BINARY, &["migrate"], variables).await.expect("migrated");
    api.wait_ready(ops, SOON).await;
}
