-- Publishes every settings document anew: after the broker has lost them, and after PostgreSQL was put
-- back to an older point than the broker. settings-api may run or not; it publishes what it finds in the
-- outbox, a hundred documents every few seconds. Doing it twice does no harm.
--
--   psql "$POSTRIDER_DATABASE_URL" --single-transaction --set ON_ERROR_STOP=1 -f deploy/postgres/republish.sql

-- An older version never replaces a newer one on the broker. After a restore the broker's may be newer, by
-- as many changes as were made in between: no document has seen a million.
UPDATE accounts SET version = version + 1000000;
UPDATE domains SET version = version + 1000000;

INSERT INTO settings_outbox (document_key, version, queued_at)
SELECT 'account.' || account_id, version, now() FROM accounts
UNION ALL
SELECT 'domain.' || domain_id, version, now() FROM domains
ON CONFLICT DO NOTHING;
