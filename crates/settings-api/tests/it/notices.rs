//! Mails to the owners of alerts that do not arrive.

use std::time::Duration;

use chassis::Clock;
use testkit::{Mailbox, SlowLink, TestEnv, eventually};

use crate::world::{DEADLINE, Servers, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_slower_than_the_databases_patience_gets_each_mail_once() {
    let env = TestEnv::new();
    let mailbox = Mailbox::start().await;
    let link = SlowLink::to(mailbox.address()).await;
    link.delay(Duration::from_millis(400));
    let relay = format!("smtp://{}?tls=none", link.address());
    let database_url =
        format!("{}?options=-c%20idle_in_transaction_session_timeout%3D500ms", env.database_url);
    let servers =
        Servers { nats_url: &env.nats_url, database_url: &database_url, region: &env.region };
    let settings = [("POSTRIDER_SMTP_URL", relay.as_str())];
    let _world = World::demo_configured(servers, &settings, Clock::system()).await;
    env.sql(
        "UPDATE accounts SET contact_email = 'owner@example.net'; \
         INSERT INTO notices (account_id, setting_id, stage, event_type, destination, reason, \
         happened_at, next_try_at) SELECT account_id, gen_random_uuid(), 'disabled', 'ip_listed', \
         'https://hooks.example.net/', 'schedule', now(), now() FROM accounts",
    );
    eventually(DEADLINE, "the mail to be noted as sent", || async {
        let open = env.sql("SELECT count(*) FROM notices WHERE next_try_at IS NOT NULL");
        (open.trim() == "0").then_some(())
    })
    .await;
    assert_eq!(mailbox.letters().len(), 1);
    assert_eq!(env.sql("SELECT tries FROM notices").trim(), "1");
}
