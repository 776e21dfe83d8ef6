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
-- Every table is partitioned by day of the column that is named in its comment,
-- so that a day is given up by dropping one table. archive makes the days ahead;
-- a row whose day nobody has made is kept by the default partition until it has
-- been. The column of the day stands in every primary key, as it has to; what
-- that means for repeated inserts is said there.

-- Gives each event its place in the order in which events become visible.
CREATE SEQUENCE event_positions AS bigint CACHE 1;

-- By accepted_at. It is part of the stored message, so that a message handed
-- out twice has the same one, and (event_key, accepted_at) stays idempotent.
CREATE TABLE events (
    event_key uuid NOT NULL,
    account_id text NOT NULL,
    -- NULL for alerts.
    domain_id uuid,
    event_type text NOT NULL,
    event_id text NOT NULL,
    -- What the caller has said, but never more than a day after accepted_at:
    -- so a range of this leaves out the days before it.
    occurred_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    -- Rows become visible in this order: see events.rs.
    position bigint NOT NULL,
    caller text NOT NULL,
    -- A postrider.v1.Event.
    event bytea NOT NULL,

    -- What the Events API filters by, in lower case; empty where the event has
    -- none. Lists have U+001F before, between and after their elements.
    recipient text NOT NULL DEFAULT '',
    recipients text NOT NULL DEFAULT '',
    from_header text NOT NULL DEFAULT '',
    to_header text NOT NULL DEFAULT '',
    subject text NOT NULL DEFAULT '',
    message_id text NOT NULL DEFAULT '',
    list_address text NOT NULL DEFAULT '',
    attachments text NOT NULL DEFAULT '',
    tags text NOT NULL DEFAULT '',
    size_bytes bigint,
    PRIMARY KEY (event_key, accepted_at)
) PARTITION BY RANGE (accepted_at);

CREATE TABLE events_default PARTITION OF events DEFAULT;

-- The logs page through an account, the Events API through a domain.
CREATE INDEX events_account ON events (account_id, occurred_at, position);
CREATE INDEX events_domain ON events (domain_id, occurred_at, position)
    WHERE domain_id IS NOT NULL;
-- And through what has arrived since a position.
CREATE INDEX events_arrival ON events (domain_id, position) WHERE domain_id IS NOT NULL;
-- Seldom among many, and asked for most: failures as one, the rest by kind.
-- accepted and delivered are never seldom.
CREATE INDEX events_failed ON events (domain_id, occurred_at, position)
    WHERE event_type IN ('temporary_fail', 'permanent_fail');
CREATE INDEX events_engaged ON events (domain_id, event_type, occurred_at, position)
    WHERE event_type IN ('opened', 'clicked', 'unsubscribed', 'complained');
-- What became of this message, and what of this person's mail.
CREATE INDEX events_recipient ON events (recipient, account_id) WHERE recipient <> '';
CREATE INDEX events_message ON events (message_id, account_id) WHERE message_id <> '';

-- By routed_at. An event that fanout was handed twice may have been routed
-- twice, under different settings; both are kept, since both led to deliveries.
CREATE TABLE routings (
    event_key uuid NOT NULL,
    routed_at timestamptz NOT NULL,
    account_id text NOT NULL,
    settings_revision bigint NOT NULL,
    PRIMARY KEY (event_key, routed_at)
) PARTITION BY RANGE (routed_at);

CREATE TABLE routings_default PARTITION OF routings DEFAULT;

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
) PARTITION BY RANGE (routed_at);

CREATE TABLE routing_decisions_default PARTITION OF routing_decisions DEFAULT;

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
) PARTITION BY RANGE (started_at);

CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

CREATE INDEX attempts_failed ON attempts (account_id, started_at) WHERE reason <> 'ok';
CREATE INDEX attempts_failed_delivery ON attempts (delivery_id) WHERE reason <> 'ok';

-- By ended_at. A delivery ends once; a dispatcher that died between outcome
-- and ack may report that end twice, at two moments, of which the insert keeps
-- the first: it looks for another one within two days, which no unique key over
-- partitions can do. Of two that lie further apart a reader takes the earlier.
CREATE TABLE ends (
    delivery_id uuid NOT NULL,
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
    last_status integer,
    PRIMARY KEY (delivery_id, ended_at)
) PARTITION BY RANGE (ended_at);

CREATE TABLE ends_default PARTITION OF ends DEFAULT;

CREATE INDEX ends_event ON ends (event_key) WHERE event_key IS NOT NULL;
CREATE INDEX ends_undelivered ON ends (account_id, ended_at) WHERE outcome <> 'delivered';

-- By ended_at. The body of everything that was not delivered, for sending it
-- again; kept for a time of its own, which is why it is not a column of ends.
-- A row is written together with that of ends, and never without it, so that
-- the two agree on how the delivery ended.
CREATE TABLE undelivered (
    delivery_id uuid NOT NULL,
    account_id text NOT NULL,
    target_id uuid,
    outcome text NOT NULL,
    ended_at timestamptz NOT NULL,
    -- A postrider.v1.Delivery, or the bytes that were no delivery.
    delivery bytea NOT NULL,
    PRIMARY KEY (delivery_id, ended_at)
) PARTITION BY RANGE (ended_at);

CREATE TABLE undelivered_default PARTITION OF undelivered DEFAULT;
