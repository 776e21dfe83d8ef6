//! Many shards in one dispatcher: those where nothing is due leave their slots to the others.

use std::time::{Duration, Instant};

use testkit::Reply;

use crate::system::{SOON, System, alert, clicked};

#[tokio::test]
async fn shards_where_nothing_is_due_leave_their_slots_to_a_busy_one() {
    let settings = [("DELIVERY_SHARDS", "16"), ("DISPATCHER_SLOTS", "64")];
    let system = System::start(&settings).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    // A target that has taken something may have all of its sixty-four at once.
    system.publish(clicked("first")).await;
    system.receiver.wait_for_posts("/hook", 1, SOON).await;
    system.receiver.on_post("/hook", [Reply::status(200).after(Duration::from_millis(400))]);
    system.publish_all((0..400).map(|n| clicked(&format!("busy-{n}")))).await;
    system.receiver.wait_for_posts("/hook", 401, SOON).await;
    let most = system.receiver.most_at_once("/hook");
    assert!(most >= 60, "{most} at once with 64 slots");
}

#[tokio::test]
async fn more_shards_than_slots_do_not_wait_for_each_other() {
    let settings = [("DELIVERY_SHARDS", "32"), ("DISPATCHER_SLOTS", "16")];
    let system = System::start(&settings).await;
    for n in 0..24 {
        system.add_alert("demo", "ip_listed", &system.receiver.url(&format!("/alert-{n}"))).await;
    }
    let began = Instant::now();
    for round in 0..5 {
        system.publish(alert(&format!("round-{round}"))).await;
        for n in 0..24 {
            system.receiver.wait_for_posts(&format!("/alert-{n}"), round + 1, SOON).await;
        }
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "five rounds took {took:?}");
}
