//! A change of settings is seen by the very next event.

use protocol::v1::PublishRequest;

use crate::system::{SOON, System, clicked, payload_event_id};

#[tokio::test]
async fn the_event_after_a_2xx_sees_the_change_a_hundred_times_over() {
    // Two shards, so that several readers have to be up to date.
    let system = System::start(&[("DELIVERY_SHARDS", "2")]).await;
    let hook = |path: String| {
        let request =
            testkit::http::put(system.url("/v3/domains/mail.demo.example/webhooks/clicked"));
        let url = system.receiver.url(&path);
        async move { request.basic_auth("api", "key-demo").form(&[("url", &url)]).send().await }
    };
    system
        .add_domain_webhook(
            "demo",
            "mail.demo.example",
            "clicked",
            &[&system.receiver.url("/start")],
        )
        .await;
    let mut ingest = system.ingest().await;
    for round in 0..100 {
        hook(format!("/round/{round}")).await.expect("answered").expect_status(200);
        // No pause at all between the 2xx and the event.
        let request = PublishRequest { events: vec![clicked(&format!("event-{round}"))] };
        ingest.publish(request).await.expect("accepted");
    }
    for round in 0..100 {
        // Each event went to the URL that was in force when it was accepted, unless
        // its target was replaced before the attempt: then it ended as suppressed.
        let event = format!("event-{round}");
        let chosen = system.chosen_url(&event).await;
        assert_eq!(chosen, system.receiver.url(&format!("/round/{round}")), "{event}");
    }
    assert!(system.receiver.posts("/start").is_empty(), "an event went to a URL that was gone");
    let posts = system.receiver.wait_for_posts("/round/99", 1, SOON).await;
    assert_eq!(payload_event_id(&posts[0].json()), "event-99");
}

#[tokio::test]
async fn an_account_that_was_just_made_can_be_published_for() {
    let system = System::start(&[]).await;
    for round in 0..20 {
        let (account, domain) = (format!("new{round}"), format!("mail{round}.new.example"));
        system.create_account(&account, None).await;
        system.create_domain(&domain, &account).await;
        let mut event = clicked("first");
        event.account = account;
        event.domain = domain;
        system.publish(event).await;
    }
}
