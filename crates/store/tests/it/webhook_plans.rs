//! The list of webhooks looks at the webhooks of its account alone.

use store::WebhookPage;
use testkit::TestEnv;

use crate::world::{account, connections_ended, open};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_webhooks_looks_at_its_own_account_alone() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let (one, other) = (account(&store, "one").await, account(&store, "other").await);
    for (account_id, domains) in [(&one, 200), (&other, 20_000)] {
        env.sql(&format!(
            "INSERT INTO domains (domain_id, name, account_id, created_at) SELECT \
             md5('{account_id}' || n), '{account_id}-' || n || '.example', '{account_id}', now() \
             FROM generate_series(1, {domains}) AS n"
        ));
    }
    env.sql(
        "INSERT INTO domain_webhooks (domain_id, event_type, position, url) SELECT domain_id, kind, \
         0, 'https://hooks.example.net/' || name FROM domains, unnest(ARRAY['clicked', 'opened']) AS kind",
    );
    env.sql("ANALYZE domains, domain_webhooks");
    store.close().await;
    connections_ended(&env).await;
    env.sql("SELECT pg_stat_reset()");
    let store = open(&env).await;
    let mut page = WebhookPage { limit: 50, domain: None, search: None, behind: None };
    let mut found = Vec::new();
    loop {
        let webhooks = store.webhooks(&one, &page).await.expect("read");
        let Some(last) = webhooks.last() else { break };
        page.behind = Some((last.domain.clone(), last.url.clone(), last.webhook_id.clone()));
        found.extend(webhooks);
    }
    assert_eq!(found.len(), 200);
    assert!(found.iter().all(|webhook| webhook.event_types == ["clicked", "opened"]));
    assert!(found.is_sorted_by_key(|webhook| webhook.domain.clone()));
    store.close().await;
    connections_ended(&env).await;
    let scanned = env.sql(
        "SELECT relname FROM pg_stat_user_tables \
         WHERE relname IN ('domains', 'domain_webhooks') AND seq_scan > 0",
    );
    assert_eq!(scanned.trim(), "", "read from end to end");
}
