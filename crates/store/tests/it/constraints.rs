//! Limits hold in the database, whatever the code above it does.

use store::{
    AlertDestination, DomainWebhook, ExhaustedAlert, NewAlert, NewDomain, StoreError, Thing,
};
use testkit::TestEnv;

use crate::world::{QUOTAS, account, at, domain, open};

fn webhook(urls: &[&str]) -> DomainWebhook {
    DomainWebhook {
        event_type: "clicked".to_owned(),
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
    }
}

/// Whether a statement fails, and on which constraint.
fn violates(env: &TestEnv, statement: &str, constraint: &str) {
    let quoted = statement.replace('\'', "''");
    env.sql(&format!(
        "DO $$ DECLARE name text; BEGIN \
           BEGIN EXECUTE '{quoted}'; \
           EXCEPTION WHEN integrity_constraint_violation THEN \
             GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME; \
             IF name <> '{constraint}' THEN RAISE 'violates % instead', name; END IF; \
             RETURN; \
           END; \
           RAISE 'was not refused'; \
         END $$"
    ));
}

#[tokio::test]
async fn the_schema_can_be_brought_up_to_date_by_all_replicas_at_once() {
    let env = TestEnv::new();
    let url: store::DatabaseUrl = env.database_url.parse().expect("a URL");
    let config = store::StoreConfig { url, max_connections: 2 };
    let replicas = [(); 4].map(|()| store::Store::open(&config));
    let [a, b, c, d] = &replicas;
    let migrated = tokio::join!(a.migrate(), b.migrate(), c.migrate(), d.migrate());
    assert!(matches!(migrated, (Ok(()), Ok(()), Ok(()), Ok(()))), "{migrated:?}");
    a.migrate().await.expect("once more");
    a.ping().await.expect("there");
}

#[tokio::test]
async fn a_migration_that_was_modified_is_refused() {
    let env = TestEnv::new();
    let store = open(&env).await;
    env.sql("UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 2");
    let error = store.migrate().await.expect_err("refused").to_string();
    assert!(error.contains("migration 2 was previously applied but has been modified"), "{error}");
}

#[tokio::test]
async fn an_older_version_starts_on_a_newer_schema_that_says_it_can() {
    let env = TestEnv::new();
    let store = open(&env).await;
    env.sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of the next release', true, 'x', 0)",
    );
    store.migrate().await.expect("a migration that only adds leaves min_version as it is");
    env.sql("UPDATE schema_compatibility SET min_version = 9999");
    let error = store.migrate().await.expect_err("refused").to_string();
    assert!(error.contains("migration 9999 was previously applied but is missing"), "{error}");
}

#[tokio::test]
async fn limits_are_constraints() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let demo = account(&store, "demo").await;
    let (domain_id, _) = domain(&store, "mail.demo.example", "demo").await;
    let three = webhook(&["https://a.example/", "https://b.example/", "https://c.example/"]);
    store.create_domain_webhook(&demo, &domain_id, &three, &QUOTAS, at(1)).await.expect("made");
    let fourth = webhook(&[
        "https://a.example/",
        "https://b.example/",
        "https://c.example/",
        "https://d.example/",
    ]);
    let refused = store.replace_domain_webhook(&demo, &domain_id, &fourth, &QUOTAS, at(2)).await;
    assert!(matches!(refused, Err(StoreError::TooManyUrls { .. })), "{refused:?}");
    let kept = store.domain_webhooks(&demo, &domain_id).await.expect("listed");
    assert_eq!(kept, [three]);

    let insert = "INSERT INTO domain_webhooks VALUES";
    violates(
        &env,
        &format!("{insert} ('{domain_id}', 'clicked', 3, 'https://d.example/')"),
        "domain_webhooks_position_check",
    );
    violates(
        &env,
        &format!("{insert} ('{domain_id}', 'clicked', 2, 'https://d.example/')"),
        "domain_webhooks_pkey",
    );
    env.sql(&format!(
        "DELETE FROM domain_webhooks WHERE domain_id = '{domain_id}' AND position = 2"
    ));
    violates(
        &env,
        &format!("{insert} ('{domain_id}', 'clicked', 2, 'https://a.example/')"),
        "domain_webhooks_domain_id_event_type_url_key",
    );

    let account_row = |id: &str, name: &str, parent: &str| {
        format!(
            "INSERT INTO accounts (account_id, name, parent_id, sealed_http_signing_key, sealed_alerts_signing_key, created_at, updated_at) VALUES ('{id}', '{name}', {parent}, '', '', now(), now())"
        )
    };
    let sub = "5".repeat(24);
    env.sql(&account_row(&sub, "sub", &format!("'{demo}'")));
    violates(
        &env,
        &account_row(&"6".repeat(24), "sub-sub", &format!("'{sub}'")),
        "accounts_parent_id_parent_is_subaccount_fkey",
    );
    // Nor may an account that has subaccounts become one.
    env.sql(&account_row(&"7".repeat(24), "other", "NULL"));
    violates(
        &env,
        &format!("UPDATE accounts SET parent_id = '{}' WHERE name = 'demo'", "7".repeat(24)),
        "accounts_parent_id_parent_is_subaccount_fkey",
    );
    violates(&env, &account_row(&"8".repeat(24), &"a".repeat(24), "NULL"), "accounts_name_check");
}

#[tokio::test]
async fn an_alert_setting_is_disabled_by_its_own_generation_alone() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let demo = account(&store, "demo").await;
    let setting_id = uuid::Uuid::from_u128(7);
    let new = NewAlert {
        event_type: "ip_listed".to_owned(),
        destination: AlertDestination::Webhook { url: "https://a.example/".to_owned() },
    };
    store.create_alert_setting(&demo, setting_id, &new, &QUOTAS, at(1)).await.expect("made");
    store.update_alert_setting(&demo, setting_id, &new, at(2)).await.expect("saved");
    let disable = async |account_id: &str, generation| {
        let exhausted =
            ExhaustedAlert { account_id, setting_id, generation, reason: "schedule", at: at(3) };
        store.disable_alert_setting(exhausted).await.expect("answered")
    };
    assert!(!disable(&demo, 1).await, "an older generation");
    assert!(!disable(&demo, 3).await, "a generation to come");
    assert!(!disable(&"0".repeat(24), 2).await, "of nobody");
    assert!(disable(&demo, 2).await);
    assert!(!disable(&demo, 2).await, "twice");
    let (settings, _) = store.alert_settings(&demo).await.expect("listed");
    assert_eq!(settings[0].disabled_at, Some(at(3)));

    store.update_alert_setting(&demo, setting_id, &new, at(4)).await.expect("saved");
    let setting = store.alert_setting(&demo, setting_id).await.expect("there");
    assert_eq!((setting.disabled_at, setting.generation), (None, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_is_made_again_begins_empty_and_with_a_higher_version() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let demo = account(&store, "demo").await;
    account(&store, "other").await;
    let (domain_id, _) = domain(&store, "mail.demo.example", "demo").await;
    store
        .create_domain_webhook(&demo, &domain_id, &webhook(&["https://a.example/"]), &QUOTAS, at(1))
        .await
        .expect("made");
    let taken = NewDomain { name: "mail.demo.example".into(), account_name: "other".into() };
    let refused = store.create_domain(&taken, at(2)).await;
    assert!(matches!(refused, Err(StoreError::Exists(Thing::Domain))), "{refused:?}");

    env.sql("UPDATE domains SET deleted_at = now(), version = version + 1");
    let gone = store.domain_webhooks(&demo, &domain_id).await;
    assert!(matches!(gone, Err(StoreError::NotFound(Thing::Domain))), "{gone:?}");
    assert!(store.domain_named("mail.demo.example").await.is_err());
    let (domain, _) = store.create_domain(&taken, at(3)).await.expect("made again");
    assert_eq!((domain.account_name.as_str(), domain.created_at), ("other", at(3)));
    assert_eq!(env.sql("SELECT version FROM domains").trim(), "4");
    assert_eq!(env.sql("SELECT count(*) FROM domain_webhooks").trim(), "0");
}
