//! The pinned servers come up, keep what they hold through a crash, and go away
//! with whoever started them.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic as its tests do")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dev_servers::{
    Nats, NatsOptions, NatsSync, Postgres, PostgresOptions, PostgresTools, Scratch, TurnedClock,
    environment, ports,
};

/// Sends one request and returns the answer's payload, in plain NATS protocol.
fn nats_request(port: u16, subject: &str, payload: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        stream,
        "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\n\
         SUB answer 1\r\nPUB {subject} answer {}\r\n{payload}\r\n",
        payload.len()
    )
    .unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "connection closed");
        if line.starts_with("MSG ") || line.starts_with("HMSG ") {
            let size: usize = line.split_whitespace().last().unwrap().parse().unwrap();
            let mut answer = vec![0; size];
            reader.read_exact(&mut answer).unwrap();
            return String::from_utf8(answer).unwrap();
        }
    }
}

#[test]
fn nats_keeps_its_streams_through_kill_and_restart() {
    let scratch = Scratch::new().unwrap();
    let mut options = NatsOptions::new(scratch.path().join("nats"));
    options.sync = NatsSync::Always;
    let mut nats = Nats::start(options).unwrap();
    let (port, first) = (nats.port(), nats.pid().unwrap());

    let made = nats_request(
        port,
        "$JS.API.STREAM.CREATE.S",
        r#"{"name":"S","subjects":["s.*"],"storage":"file","max_bytes":20000000000}"#,
    );
    assert!(made.contains("\"did_create\":true"), "{made}");
    let stored = nats_request(port, "s.a", "kept");
    assert!(stored.contains("\"seq\":1"), "{stored}");

    nats.kill9().unwrap();
    assert!(!nats.is_running());
    assert!(!ports::is_taken(port));
    nats.restart().unwrap();
    assert_eq!(nats.port(), port);
    assert_ne!(nats.pid().unwrap(), first);
    let stored = nats_request(port, "s.a", "another");
    assert!(stored.contains("\"seq\":2"), "{stored}");

    nats.stop().unwrap();
    assert!(!ports::is_taken(port));
}

#[test]
fn postgres_keeps_its_rows_through_kill_and_restart() {
    let scratch = Scratch::new().unwrap();
    let mut postgres =
        Postgres::start(PostgresOptions::new(scratch.path().join("postgres"))).unwrap();
    let url = postgres.create_database("first").unwrap();
    assert_eq!(url, postgres.url("first"));
    let run = |sql: &str| PostgresTools::fetch().unwrap().query(&url, sql);
    run("create table t (n int); insert into t values (1), (2)").unwrap();

    postgres.kill9().unwrap();
    assert!(!postgres.is_running());
    postgres.restart().unwrap();
    assert_eq!(run("select n from t order by n").unwrap(), "1\n2");

    postgres.stop().unwrap();
    run("select 1").unwrap_err();

    // What another process with the same id would look like after a reboot.
    let pid_file = scratch.path().join("postgres/data/postmaster.pid");
    std::fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
    postgres.restart().unwrap();
    let message = format!("{:#}", postgres.create_database("first").unwrap_err());
    assert!(message.contains("already exists"), "{message}");
    postgres.tools().drop_database(&postgres.admin_url(), "first").unwrap();
    postgres.create_database("first").unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the machine's own clock is what is compared")]
fn a_server_with_a_turned_clock_still_gives_up_waiting_in_time() {
    let scratch = Scratch::new().unwrap();
    let clock = TurnedClock::new(&scratch.path().join("clock")).unwrap();
    let mut options = PostgresOptions::new(scratch.path().join("postgres"));
    options.clock = Some(clock.clone());
    let postgres = Postgres::start(options).unwrap();
    let (tools, url) = (postgres.tools(), postgres.admin_url());
    tools.query(&url, "create table t (n int)").unwrap();

    clock.turn(Duration::from_hours(48)).unwrap();
    let machine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let database = tools.query(&url, "select extract(epoch from now())::bigint").unwrap();
    let ahead = database.parse::<u64>().unwrap() - machine;
    assert!((172_800..172_803).contains(&ahead), "{ahead}");

    std::thread::scope(|scope| {
        scope.spawn(|| tools.query(&url, "lock table t; select pg_sleep(4)").unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        let locked = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' \
                      and relation = 't'::regclass";
        while tools.query(&url, locked).unwrap() == "0" {
            assert!(Instant::now() < deadline, "nobody holds the table");
        }
        let waits = Instant::now();
        let message = tools.query(&url, "set lock_timeout = 300; lock table t").unwrap_err();
        assert!(message.to_string().contains("lock timeout"), "{message}");
        assert!(waits.elapsed() < Duration::from_secs(3), "{:?}", waits.elapsed());
    });
}

#[test]
fn a_failing_statement_in_a_file_leaves_nothing_behind() {
    let scratch = Scratch::new().unwrap();
    let postgres = Postgres::start(PostgresOptions::new(scratch.path().join("postgres"))).unwrap();
    let url = postgres.create_database("files").unwrap();
    let file = scratch.path().join("0001.sql");
    std::fs::write(&file, "create table t (n int);\nselect nonsense;\n").unwrap();

    let message = postgres.tools().run_file(&url, &file).unwrap_err();
    assert!(message.to_string().contains("0001.sql:2"), "{message}");
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(postgres.tools().query(&url, tables).unwrap(), "0");
}

#[test]
fn a_server_that_cannot_have_its_port_says_why() {
    let scratch = Scratch::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = NatsOptions::new(scratch.path().join("nats"));
    options.port = Some(taken.local_addr().unwrap().port());
    let message = format!("{:#}", Nats::start(options).unwrap_err());
    assert!(message.contains("address already in use"), "{message}");
}

/// Not a test of its own: the next one runs it in another process and kills that.
#[test]
fn start_and_wait_to_be_killed() {
    if environment::text("DEV_SERVERS_TEST_VICTIM").is_none() {
        return;
    }
    let scratch = Scratch::new().unwrap();
    let nats = Nats::start(NatsOptions::new(scratch.path().join("nats"))).unwrap();
    let postgres = Postgres::start(PostgresOptions::new(scratch.path().join("pg"))).unwrap();
    println!("started {} {} {}", nats.port(), postgres.port(), scratch.path().display());
    let _ = std::io::stdin().read(&mut [0]);
    panic!("nobody killed us");
}

#[test]
fn servers_go_when_their_parent_is_killed() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["start_and_wait_to_be_killed", "--exact", "--nocapture"])
        .env("DEV_SERVERS_TEST_VICTIM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let started = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find_map(|line| line.split_once("started ").map(|(_, rest)| rest.to_owned()))
        .unwrap();
    let fields: Vec<&str> = started.split_whitespace().collect();
    let taken: Vec<u16> = fields[..2].iter().map(|port| port.parse().unwrap()).collect();
    let scratch = Path::new(fields[2]);
    assert!(taken.iter().all(|port| ports::is_taken(*port)));

    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while taken.iter().any(|port| ports::is_taken(*port)) || scratch.exists() {
        assert!(Instant::now() < deadline, "{started} outlived its parent");
        std::thread::sleep(Duration::from_millis(20));
    }
}
