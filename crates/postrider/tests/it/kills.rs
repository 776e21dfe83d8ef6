//! A delivery that kills every process that works on it.

use std::time::Duration;

use protocol::v1::Event;
use testkit::{OwnServers, eventually};

use crate::system::{SOON, System, clicked, example};

const LONG: Duration = Duration::from_secs(180);

#[tokio::test]
async fn a_delivery_that_kills_its_process_is_set_aside_and_all_others_arrive() {
    let servers = OwnServers::start();
    let mut system = System::start_separately(&servers, &[("LEASE", "1s")]).await;
    let (kills, fine) = (system.receiver.url("/kills"), system.receiver.url("/fine"));
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&kills]).await;
    system.add_domain_webhook("demo", "mail.demo.example", "opened", &[&fine]).await;
    system.process("dispatcher").terminate(SOON).await;

    let armed = Some("dispatcher.before_post_to=return(/kills)");
    system.begin("dispatcher", armed);
    let opened = |n: usize| Event { id: format!("fine-{n}"), ..example("opened") };
    system.publish_all((0..20).map(opened).chain([clicked("killer")])).await;
    let mut deaths = 0;
    let ended = eventually(LONG, "the delivery that kills to end", || async {
        let ended =
            servers.sql("SELECT outcome, reason, attempts FROM ends WHERE outcome <> 'delivered'");
        (!ended.trim().is_empty()).then(|| ended.trim().to_owned())
    });
    let mut ended = std::pin::pin!(ended);
    let ended = loop {
        tokio::select! {
            ended = &mut ended => break ended,
            _ = system.process("dispatcher").wait(LONG) => {
                deaths += 1;
                system.begin("dispatcher", armed);
            }
        }
    };
    assert_eq!(ended, "poisoned|kills_its_process|0");
    assert!((20..=25).contains(&deaths), "{deaths} deaths");

    eventually(SOON, "all others to arrive", || async {
        let arrived = servers.sql("SELECT count(*) FROM ends WHERE outcome = 'delivered'");
        (arrived.trim() == "20").then_some(())
    })
    .await;
    assert!(system.receiver.posts("/kills").is_empty());
    let kept = servers.sql("SELECT count(*) FROM undelivered WHERE length(delivery) > 0");
    assert_eq!(kept.trim(), "1", "its body is kept");
}
