//! What becomes of deliveries that wait, and of new events, when something is
//! disabled, closed or deleted: the rows of the table in docs/lifecycle.md.

use protocol::v1::publish_error::Code;
use protocol::v1::publish_result::Status;
use protocol::v1::{
    DeleteDomainRequest, Event, PublishRequest, SetAccountStatusRequest, SetDomainDisabledRequest,
};
use testkit::{Reply, eventually};

use crate::system::{SOON, System, alert, example};

/// Long enough for a test to change something while a retry waits.
const WAIT: &[(&str, &str)] =
    &[("SEND_RETRY_SCHEDULE", "8s,1s"), ("ALERTS_RETRY_SCHEDULE", "8s,1s")];

impl System {
    /// An account with a domain of its own; returns the domain.
    async fn tenant(&self, account: &str, parent: Option<&str>) -> String {
        self.create_account(account, parent).await;
        let domain = format!("{account}.tenant.example");
        self.create_domain(&domain, account).await;
        domain
    }

    /// A URL whose first answer is a failure, and all later ones are not.
    fn fails_first(&self, path: &str) -> String {
        self.receiver.on_post(path, [Reply::status(503), Reply::status(200)]);
        self.receiver.url(path)
    }

    pub(crate) async fn set_status(&self, account: &str, status: &str) {
        let request = SetAccountStatusRequest {
            account_name: account.into(),
            status: status.into(),
            reason: String::new(),
        };
        self.admin().await.set_account_status(request).await.expect("changed");
    }

    pub(crate) async fn set_domain_disabled(&self, domain: &str, disabled: bool) {
        let (name, reason) = (domain.to_owned(), String::new());
        let request = SetDomainDisabledRequest { name, disabled, reason };
        self.admin().await.set_domain_disabled(request).await.expect("changed");
    }

    async fn delete_domain(&self, domain: &str) {
        let request = DeleteDomainRequest { name: domain.to_owned() };
        self.admin().await.delete_domain(request).await.expect("deleted");
    }

    /// How this event's deliveries have ended, each as `outcome reason`.
    async fn ends_of(&self, event_id: &str, deliveries: usize) -> Vec<String> {
        let query = format!(
            "SELECT outcome || ' ' || reason FROM ends JOIN events USING (event_key) \
             WHERE event_id = '{event_id}' ORDER BY 1"
        );
        eventually(SOON, &format!("the ends of {event_id}"), || async {
            let ends = self.sql(&query);
            (ends.lines().count() >= deliveries).then(|| ends.lines().map(str::to_owned).collect())
        })
        .await
    }

    /// The verdicts on this event's candidates, the highest level first.
    async fn verdicts_of(&self, event_id: &str) -> Vec<String> {
        let query = format!(
            "SELECT verdict FROM routing_decisions JOIN events USING (event_key) \
             WHERE event_id = '{event_id}' ORDER BY routing_decisions.position"
        );
        eventually(SOON, &format!("the routing of {event_id}"), || async {
            let verdicts = self.sql(&query);
            let verdicts: Vec<_> = verdicts.lines().map(str::to_owned).collect();
            (!verdicts.is_empty()).then_some(verdicts)
        })
        .await
    }

    /// What ingest says of an event that it does not take.
    async fn refusal(&self, event: Event) -> Code {
        // Two events, so that the answer is one for each.
        let request = PublishRequest { events: vec![event, Event::default()] };
        let answer = self.ingest().await.publish(request).await.expect("answered").into_inner();
        assert_eq!(answer.results[0].status(), Status::Rejected, "{answer:?}");
        answer.results[0].error.as_ref().expect("a reason").code()
    }
}

fn clicked(domain: &str, id: &str) -> Event {
    let (id, domain) = (id.into(), domain.into());
    Event { id, domain, account: String::new(), ..example("clicked") }
}

#[tokio::test]
async fn deliveries_that_wait_end_under_the_name_of_what_has_changed() {
    let system = System::start(WAIT).await;
    // Each row has an account of its own, whose domain has a webhook.
    let rows = ["hook-deleted", "domain-disabled", "domain-deleted", "disabled", "closed"];
    for row in rows {
        let domain = system.tenant(row, None).await;
        let url = system.fails_first(&format!("/{row}/domain"));
        system.add_domain_webhook(row, &domain, "clicked", &[&url]).await;
        // And one of its own, which stays, but for those rows that end the account.
        let url = system.fails_first(&format!("/{row}/account"));
        system.add_account_webhook(row, &url, &["clicked"]).await;
        system.publish(clicked(&domain, row)).await;
    }
    // An alert whose setting goes, and one whose account is disabled.
    let gone = system.fails_first("/alert-deleted");
    let gone = system.add_alert("demo", "ip_listed", &gone).await;
    system.publish(alert("alert-deleted")).await;
    let silent = system.fails_first("/alert-disabled");
    system.add_alert("disabled", "ip_listed", &silent).await;
    system.publish(Event { account: "disabled".into(), ..alert("alert-disabled") }).await;
    for path in ["/alert-deleted", "/alert-disabled"] {
        system.receiver.wait_for_posts(path, 1, SOON).await;
    }
    for row in rows {
        for level in ["domain", "account"] {
            system.receiver.wait_for_posts(&format!("/{row}/{level}"), 1, SOON).await;
        }
    }

    // All of them wait for their retry now.
    let webhook = system.url("/v3/domains/hook-deleted.tenant.example/webhooks/clicked");
    let delete = testkit::http::delete(webhook).basic_auth("api", "key-hook-deleted");
    delete.send().await.expect("answered").expect_status(200);
    system.set_domain_disabled("domain-disabled.tenant.example", true).await;
    system.delete_domain("domain-deleted.tenant.example").await;
    system.set_status("disabled", "disabled").await;
    system.set_status("closed", "closed").await;
    system.delete_alert("demo", &gone).await;

    let not_open = "suppressed account_not_open";
    for (event, expected) in [
        ("hook-deleted", vec!["delivered ok", "suppressed deleted"]),
        ("domain-disabled", vec!["delivered ok", "suppressed domain_disabled"]),
        ("domain-deleted", vec!["delivered ok", "suppressed deleted"]),
        ("disabled", vec![not_open, not_open]),
        ("closed", vec![not_open, not_open]),
        ("alert-deleted", vec!["suppressed deleted"]),
        ("alert-disabled", vec![not_open]),
    ] {
        assert_eq!(system.ends_of(event, expected.len()).await, expected, "{event}");
    }
    // Nothing was sent after the change but what was still wanted, and what was
    // not delivered is kept.
    for row in rows {
        assert_eq!(system.receiver.posts(&format!("/{row}/domain")).len(), 1, "{row}");
    }
    assert_eq!(system.sql("SELECT count(*) FROM undelivered").trim(), "9");

    // New events: the account is heard where its domain is silent, and nobody
    // takes what belongs to nobody.
    system.publish(clicked("domain-disabled.tenant.example", "new")).await;
    assert_eq!(system.verdicts_of("new").await, ["chosen", "domain_disabled"]);
    for (domain, code) in [
        ("domain-deleted.tenant.example", Code::UnknownDomain),
        ("disabled.tenant.example", Code::AccountNotOpen),
        ("closed.tenant.example", Code::AccountNotOpen),
    ] {
        assert_eq!(system.refusal(clicked(domain, "late")).await, code, "{domain}");
    }
    let late = Event { account: "disabled".into(), ..alert("late") };
    assert_eq!(system.refusal(late).await, Code::AccountNotOpen);

    // What is enabled again is heard again.
    system.set_domain_disabled("domain-disabled.tenant.example", false).await;
    system.set_status("disabled", "open").await;
    for row in ["domain-disabled", "disabled"] {
        let event = format!("{row}-again");
        system.publish(clicked(&format!("{row}.tenant.example"), &event)).await;
        assert_eq!(system.ends_of(&event, 2).await, ["delivered ok", "delivered ok"], "{row}");
    }
}

#[tokio::test]
async fn a_parent_goes_on_hearing_of_a_subaccount_that_ends_and_not_the_other_way_round() {
    let system = System::start(WAIT).await;
    // For each row a parent and a subaccount, each with a webhook.
    let rows = ["sub-disabled", "sub-closed", "parent-disabled", "parent-closed"];
    for row in rows {
        let parent = format!("{row}-parent");
        system.create_account(&parent, None).await;
        let url = system.fails_first(&format!("/{row}/parent"));
        system.add_account_webhook(&parent, &url, &["clicked"]).await;
        let domain = system.tenant(row, Some(&parent)).await;
        let url = system.fails_first(&format!("/{row}/sub"));
        system.add_domain_webhook(row, &domain, "clicked", &[&url]).await;
        system.publish(clicked(&domain, row)).await;
    }
    for row in rows {
        for level in ["parent", "sub"] {
            system.receiver.wait_for_posts(&format!("/{row}/{level}"), 1, SOON).await;
        }
    }
    system.set_status("sub-disabled", "disabled").await;
    system.set_status("sub-closed", "closed").await;
    system.set_status("parent-disabled-parent", "disabled").await;
    system.set_status("parent-closed-parent", "closed").await;
    let not_open = "suppressed account_not_open";
    for (row, ends) in [
        ("sub-disabled", ["delivered ok", not_open]),
        ("sub-closed", ["delivered ok", not_open]),
        ("parent-disabled", [not_open, not_open]),
        ("parent-closed", [not_open, not_open]),
    ] {
        assert_eq!(system.ends_of(row, 2).await, ends, "{row}");
        let refused = system.refusal(clicked(&format!("{row}.tenant.example"), "late")).await;
        assert_eq!(refused, Code::AccountNotOpen, "{row}");
    }
    // The subaccount of a disabled parent is as it was once the parent is.
    system.set_status("parent-disabled-parent", "open").await;
    system.publish(clicked("parent-disabled.tenant.example", "again")).await;
    assert_eq!(system.ends_of("again", 2).await, ["delivered ok", "delivered ok"]);
}

#[tokio::test]
async fn an_event_that_was_accepted_before_its_account_was_disabled_goes_to_the_parent_alone() {
    // fanout is away meanwhile, so that it decides after the change.
    let mut system = System::start_apart(WAIT).await;
    let domain = system.tenant("demo-sub", Some("demo")).await;
    system.add_account_webhook("demo", &system.receiver.url("/parent"), &["clicked"]).await;
    let url = system.receiver.url("/sub");
    system.add_domain_webhook("demo-sub", &domain, "clicked", &[&url]).await;
    system.process("fanout").terminate(SOON).await;
    system.publish(clicked(&domain, "before")).await;
    system.set_status("demo-sub", "disabled").await;
    system.run("fanout", None).await;
    assert_eq!(system.verdicts_of("before").await, ["chosen", "account_not_open"]);
    assert_eq!(system.ends_of("before", 1).await, ["delivered ok"]);
    assert!(system.receiver.posts("/sub").is_empty());
}
