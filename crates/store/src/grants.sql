-- What each user of the database may do, where they are those of deploy/postgres/roles.sql. Whoever brings the
-- schema up to date does this afterwards, each time: a new table is of use only to who may use it. With one user
-- for everything it does nothing.
DO $$
DECLARE
    table_name text;
    relation regclass;
BEGIN
    IF current_user <> 'postrider_migrate' THEN
        RETURN;
    END IF;
    -- Two that do this at once would meet at the same rows of the catalogue.
    PERFORM pg_advisory_xact_lock(hashtextextended('grants', 0));

    -- Whether there is anything to be brought up to date is seen by all.
    GRANT SELECT ON _sqlx_migrations, schema_compatibility TO postrider_settings_api, postrider_archive;
    -- Whoever comes first writes whose database this is.
    GRANT SELECT, INSERT ON deployment TO postrider_settings_api, postrider_archive;
    -- Which replica looks after the bucket of settings, and what of it is known.
    GRANT UPDATE (bucket_created_ms, bucket_sequence, leader, leader_until)
        ON deployment TO postrider_settings_api;

    -- Settings. Accounts and keys stay, marked as what they have become; domains stay for some days.
    GRANT SELECT, INSERT, UPDATE ON accounts, api_keys, domains, erasures TO postrider_settings_api;
    GRANT DELETE ON domains TO postrider_settings_api;
    GRANT SELECT, INSERT, UPDATE, DELETE
        ON account_webhook_events, account_webhooks, alert_settings, domain_webhooks, notices, rate_windows,
        resends, settings_outbox, tenant_windows, url_headers, url_options
        TO postrider_settings_api;
    -- History is read, and is erased. Rows that are sent again are marked, and are locked for that, as those of
    -- statistics are before they are erased.
    GRANT SELECT, DELETE
        ON events, routing_decisions, attempts, ends, undelivered, expired, statistics, unread_messages
        TO postrider_settings_api;
    GRANT UPDATE (sent_again_at) ON ends, undelivered TO postrider_settings_api;
    GRANT UPDATE (last_reason) ON statistics TO postrider_settings_api;

    GRANT SELECT, INSERT, UPDATE, DELETE ON statistics, expired TO postrider_archive;
    GRANT SELECT, INSERT, DELETE ON unread_messages TO postrider_archive;
    GRANT USAGE ON SEQUENCE event_positions TO postrider_archive;
    -- Of settings, which accounts are erased, and nothing else.
    GRANT SELECT (account_id, erased_at) ON accounts TO postrider_archive;
    GRANT SELECT (account_id, found), UPDATE (found) ON erasures TO postrider_archive;

    -- Only an owner can attach and drop the days of a table. `migrate` is a member of this role, and so an owner too.
    FOREACH table_name IN ARRAY
        ARRAY['events', 'routing_decisions', 'attempts', 'ends', 'undelivered',
            -- What was set aside before migration 10, until archive has moved it.
            'routing_decisions_before_10', 'routings_before_10']
    LOOP
        FOR relation IN
            SELECT t.relid FROM pg_partition_tree(to_regclass(table_name)) t JOIN pg_class c ON c.oid = t.relid
            WHERE c.relowner <> 'postrider_archive'::regrole
        LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO postrider_archive', relation);
        END LOOP;
    END LOOP;
END
$$;
