//! De-duplication and inheritance, every combination of levels, end to end.

use crate::system::{SOON, System, opened};

#[tokio::test]
async fn one_post_a_url_whatever_the_levels() {
    let system = System::start(&[]).await;
    // Bits: the URL stands on the parent, on the account, on the domain; for an
    // event of the subaccount's domain and for one of the parent's own.
    for bits in 1..8_u8 {
        let sub = format!("sub{bits}");
        let domain = format!("mail{bits}.sub.example");
        system.create_account(&sub, Some("demo")).await;
        system.create_domain(&domain, &sub).await;
        let path = format!("/levels/{bits}");
        let url = system.receiver.url(&path);
        let mut parents_webhook = None;
        if bits & 1 != 0 {
            parents_webhook = Some(system.add_account_webhook("demo", &url, &["opened"]).await);
        }
        if bits & 2 != 0 {
            system.add_account_webhook(&sub, &url, &["opened"]).await;
        }
        if bits & 4 != 0 {
            system.add_domain_webhook(&sub, &domain, "opened", &[&url]).await;
        }
        // A second URL on the domain is the marker: once it has arrived, fanout
        // has decided, and the first URL has been written just as well.
        let marker = format!("/marker/{bits}");
        system.add_account_webhook(&sub, &system.receiver.url(&marker), &["opened"]).await;

        let mut event = opened(&format!("event-{bits}"));
        event.account = sub.clone();
        event.domain = domain.clone();
        system.publish(event).await;
        system.receiver.wait_for_posts(&marker, 1, SOON).await;
        system.receiver.wait_for_posts(&path, 1, SOON).await;
        let level = system.decided_level(&format!("event-{bits}"), &url).await;
        let wanted = if bits & 1 != 0 {
            "parent_account"
        } else if bits & 2 != 0 {
            "account"
        } else {
            "domain"
        };
        assert_eq!(level.trim(), wanted, "bits {bits:03b}");
        assert_eq!(system.receiver.posts(&path).len(), 1, "bits {bits:03b}");
        // An account may have three URLs a type: make room for the next round.
        if let Some(webhook) = parents_webhook {
            system.delete_account_webhook("demo", &webhook).await;
        }
    }
}

#[tokio::test]
async fn a_subaccounts_own_webhook_does_not_hear_of_the_parents_domains() {
    let system = System::start(&[]).await;
    system.create_account("demo-sub", Some("demo")).await;
    system.add_account_webhook("demo-sub", &system.receiver.url("/sub"), &["opened"]).await;
    system.add_account_webhook("demo", &system.receiver.url("/own"), &["opened"]).await;
    system.publish(opened("one")).await;
    system.receiver.wait_for_posts("/own", 1, SOON).await;
    assert!(system.receiver.posts("/sub").is_empty());
}
