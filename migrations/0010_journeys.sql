-- What was decided of an event stands in one table, where it stood in two: whose event it was and which settings
-- were in force is told with each decision. A routing that found no candidate has one row, which says so.
-- By `none` in the column verdict: all of that row's other texts are empty.
ALTER TABLE routing_decisions ADD COLUMN account_id text, ADD COLUMN settings_revision bigint;

UPDATE routing_decisions d SET account_id = r.account_id, settings_revision = r.settings_revision
    FROM routings r WHERE r.event_key = d.event_key AND r.routed_at = d.routed_at;
-- Without its routing nobody knows whose it is, and nobody was shown it.
DELETE FROM routing_decisions WHERE account_id IS NULL;
INSERT INTO routing_decisions
    (event_key, routed_at, position, verdict, level, subscription_id, url, account_id, settings_revision)
    SELECT event_key, routed_at, 0, 'none', '', '', '', account_id, settings_revision FROM routings r
    WHERE NOT EXISTS (
        SELECT FROM routing_decisions d WHERE d.event_key = r.event_key AND d.routed_at = r.routed_at
    );

ALTER TABLE routing_decisions
    ALTER COLUMN account_id SET NOT NULL, ALTER COLUMN settings_revision SET NOT NULL;
DROP TABLE routings;

-- A journey finds ends by the deliveries that its decisions and tries name. This index was the dearest of its table:
-- its keys come in no order.
DROP INDEX ends_event;
