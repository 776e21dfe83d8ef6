use testkit::NameServer;

use super::*;

const LIMIT: Duration = Duration::from_millis(900);

async fn names() -> (Names, NameServer) {
    let server = NameServer::start([8, 8, 8, 8].into()).await;
    (Names::of_servers(&[server.address()], LIMIT).expect("a resolver"), server)
}

fn silent() -> Found {
    Err(NotFound::Unanswered("do not answer"))
}

#[tokio::test]
async fn what_a_name_server_says_is_told_apart() {
    let (names, _server) = names().await;
    let good = Ok(vec![IpAddr::from([8, 8, 8, 8])]);
    assert_eq!(names.addresses("a.example").await, good);
    assert_eq!(names.addresses("A.Example.").await, good);
    assert_eq!(names.addresses("slow6.test").await, good, "one family is enough");
    assert_eq!(names.addresses("no.test").await, Err(NotFound::NoSuchName));
    let long = format!("{}.example", "a".repeat(64));
    assert_eq!(names.addresses(&long).await, Err(NotFound::NoSuchName));
    let broken = names.addresses("broken.test").await;
    assert_eq!(broken, Err(NotFound::Unanswered("say that they cannot answer")));
    let refused = names.addresses("refused.test").await;
    assert_eq!(refused, Err(NotFound::Unanswered("say that they cannot answer")));
    assert_eq!(names.addresses("hole.test").await, silent());
}

#[tokio::test]
async fn silence_is_the_receivers_while_names_of_others_are_answered() {
    let (names, _server) = names().await;
    assert_eq!(names.addresses("a.hole.test").await, silent());
    assert!(!names.are_answered_but("a.hole.test").await, "nothing is known yet");
    // Of the same zone, and so of the same owner.
    names.addresses("works.hole.test.").await.expect_err("silent");
    names.known().answered("b.hole.test");
    assert!(!names.are_answered_but("a.hole.test").await, "its own names say nothing");
    names.addresses("a.example").await.expect("an address");
    assert!(names.are_answered_but("a.hole.test").await);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_answered_before_is_asked_again() {
    let is_up = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = Arc::clone(&is_up);
    let look_up: Box<LookUp> = Box::new(move |name| {
        let is_up = seen.load(std::sync::atomic::Ordering::Relaxed);
        let is_there = is_up && name.ends_with("example");
        Box::pin(async move {
            match is_there {
                true => Ok(vec![IpAddr::from([8, 8, 8, 8])]),
                false => std::future::pending().await,
            }
        })
    });
    let names = Names::of(look_up, LIMIT);
    names.addresses("a.example").await.expect("an address");
    tokio::time::advance(2 * SPEAKS_FOR).await;
    assert!(names.are_answered_but("a.hole.test").await, "it is asked again");
    is_up.store(false, std::sync::atomic::Ordering::Relaxed);
    tokio::time::advance(2 * SPEAKS_FOR).await;
    assert!(!names.are_answered_but("a.hole.test").await, "nobody answers");
}

#[tokio::test]
async fn silent_names_hold_up_no_other_one_and_are_left_alone() {
    let server = NameServer::start([8, 8, 8, 8].into()).await;
    // Longer than a busy machine takes to begin a thousand look-ups.
    let limit = Duration::from_secs(10);
    let names = Names::of_servers(&[server.address()], limit).expect("a resolver");
    let mut silent_ones = tokio::task::JoinSet::new();
    for n in 0..1_000 {
        let names = names.clone();
        silent_ones.spawn(async move { names.addresses(&format!("n{n}.hole.test")).await });
    }
    tokio::task::yield_now().await;
    for n in 0..20 {
        names.addresses(&format!("n{n}.example")).await.expect("an address, in time");
    }
    assert!(silent_ones.try_join_next().is_none(), "they are still being asked for");
    while let Some(found) = silent_ones.join_next().await {
        assert_eq!(found.expect("no panic"), silent());
    }
    names.leave_alone("n7.hole.test", &NotFound::Unanswered("do not answer"));
    let began = Instant::now();
    assert_eq!(names.addresses("n7.hole.test").await, silent());
    assert!(began.elapsed() < LIMIT / 10, "it is asked again: {:?}", began.elapsed());
}

#[tokio::test]
async fn the_systems_hosts_file_counts() {
    let names = Names::of_servers(&[], LIMIT).expect("the system's");
    let found = names.addresses("localhost").await.expect("an address");
    assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
}

#[test]
fn zones_are_the_last_two_labels() {
    for (name, expected) in [
        ("a.b.example.com", "example.com"),
        ("example.com.", "example.com"),
        ("com", "com"),
        ("", ""),
    ] {
        assert_eq!(zone(name), expected, "{name}");
    }
}
