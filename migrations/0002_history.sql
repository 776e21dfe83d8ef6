-- History: what was accepted, decided, tried and ended. Projected from the
-- streams EVENTS and OUTCOMES by archive alone.
--
-- Every insert can be repeated: the broker hands a message out again when its
-- ack was lost, and the second insert does nothing. There are no foreign keys,
-- because the two streams are projected independently and in any order.
--
-- Ids that are 16 bytes in hex are kept as uuid, which is half the size in
-- rows and indexes and compares faster. They are hashes, not UUIDs of RFC 9562.
-- Such an id is NULL where a message that could not be read left it out.
--
-- Each index costs CPU for every row, so there is one for each known reader:
-- a journey reads all tables by event_key, which is why that leads the primary
-- key of attempts; failure logs read by account and time, and only failures.
--
-- Tables are to be partitioned by day on the column that is named in each
-- comment. A partitioned table needs that column in its primary key; what that
-- means for repeated inserts is said there too.

-- By accepted_at. It is part of the stored message, so that a message handed
-- out twice has the same one, and (event_key, accepted_at) stays idempotent.
CREATE TABLE events (
    event_key uuid PRIMARY KEY,
    account_id text NOT NULL,
    -- NULL for alerts.
    domain_id uuid,
    event_type text NOT NULL,
    event_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    caller text NOT NULL,
    -- A postrider.v1.Event.
    event bytea NOT NULL
);

-- The Events API pages through an account or a domain by these.
CREATE INDEX events_account ON events (account_id, occurred_at, event_key);
CREATE INDEX events_domain ON events (domain_id, occurred_at, event_key) WHERE domain_id IS NOT NULL;

-- By routed_at. An event that fanout was handed twice may have been routed
-- twice, under different settings; both are kept, since both led to deliveries.
CREATE TABLE routings (
    event_key uuid NOT NULL,
    routed_at timestamptz NOT NULL,
    account_id text NOT NULL,
    settings_revision bigint NOT NULL,
    PRIMARY KEY (event_key, routed_at)
);

-- By routed_at. What became of each candidate subscription of one routing.
CREATE TABLE routing_decisions (
    event_key uuid NOT NULL,
    routed_at timestamptz NOT NULL,
    position integer NOT NULL,
    -- chosen, duplicate, disabled, account_not_open or domain_disabled.
    verdict text NOT NULL,
    -- parent_account, account, domain or alert.
    level text NOT NULL,
    -- Ids of subscriptions come in several forms, so that they stay text.
    subscription_id text NOT NULL,
    target_id uuid,
    url text NOT NULL,
    -- With verdict chosen.
    delivery_id uuid,
    -- With verdict duplicate.
    duplicate_of text,
    -- With verdict disabled.
    disabled_at timestamptz,
    PRIMARY KEY (event_key, routed_at, position)
);

-- By started_at. A hop that was tried twice, because a dispatcher died between
-- outcome and retry, began at two moments and has two rows: both happened. The
-- moment is part of the stored outcome, so that one told twice has one row.
CREATE TABLE attempts (
    event_key uuid NOT NULL,
    delivery_id uuid NOT NULL,
    hop bigint NOT NULL,
    started_at timestamptz NOT NULL,
    account_id text NOT NULL,
    target_id uuid,
    generation bigint NOT NULL,
    attempt bigint NOT NULL,
    -- False for what was our own fault.
    charged boolean NOT NULL,
    duration_ms bigint NOT NULL,
    url text NOT NULL,
    -- HTTP status; NULL when there was no answer.
    status integer,
    -- ok, or why it failed.
    reason text NOT NULL,
    detail text NOT NULL,
    response_snippet text NOT NULL,
    next_attempt_at timestamptz,
    PRIMARY KEY (event_key, delivery_id, hop, started_at)
);

CREATE INDEX attempts_failed ON attempts (account_id, started_at) WHERE reason <> 'ok';

-- By ended_at. A delivery ends once; a dispatcher that died between outcome
-- and ack may report that end twice, at two moments, of which this key keeps
-- the first. Once partitioned, a reader takes the earliest of them.
CREATE TABLE ends (
    delivery_id uuid PRIMARY KEY,
    -- NULL when not even that could be read.
    event_key uuid,
    account_id text NOT NULL,
    target_id uuid,
    generation bigint NOT NULL,
    hop bigint NOT NULL,
    -- delivered, rejected, exhausted, expired, suppressed, held or poisoned.
    outcome text NOT NULL,
    reason text NOT NULL,
    ended_at timestamptz NOT NULL,
    attempts bigint NOT NULL,
    -- Of the last attempt, when the delivery ended with one.
    last_url text,
    last_status integer
);

CREATE INDEX ends_event ON ends (event_key) WHERE event_key IS NOT NULL;
CREATE INDEX ends_undelivered ON ends (account_id, ended_at) WHERE outcome <> 'delivered';

-- By ended_at. The body of everything that was not delivered, for sending it
-- again; kept for a time of its own, which is why it is not a column of ends.
-- A row is written together with that of ends, and never without it, so that
-- the two agree on how the delivery ended.
CREATE TABLE undelivered (
    delivery_id uuid PRIMARY KEY,
    account_id text NOT NULL,
    target_id uuid,
    outcome text NOT NULL,
    ended_at timestamptz NOT NULL,
    -- A postrider.v1.Delivery, or the bytes that were no delivery.
    delivery bytea NOT NULL
);
