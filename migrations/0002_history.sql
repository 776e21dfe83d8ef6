-- History: what was accepted, decided, tried and ended. Projected from the
-- streams EVENTS and OUTCOMES by archive alone.
--
-- Every insert can be repeated: the broker hands a message out again when its
-- ack was lost, and the second insert does nothing. There are no foreign keys,
-- because the two streams are projected independently and in any order.
--
-- Tables are to be partitioned by day on the column that is named in each
-- comment. A partitioned table needs that column in its primary key; what that
-- means for repeated inserts is said there too.

-- By accepted_at. It is part of the stored message, so that a message handed
-- out twice has the same one, and (event_key, accepted_at) stays idempotent.
CREATE TABLE events (
    event_key text PRIMARY KEY,
    account_id text NOT NULL,
    -- NULL for alerts.
    domain_id text,
    event_type text NOT NULL,
    event_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    caller text NOT NULL,
    -- A postrider.v1.Event.
    event bytea NOT NULL
);

CREATE INDEX events_account ON events (account_id, occurred_at, event_key);
CREATE INDEX events_domain ON events (domain_id, occurred_at, event_key) WHERE domain_id IS NOT NULL;

-- By routed_at. An event that fanout was handed twice may have been routed
-- twice, under different settings; both are kept, since both led to deliveries.
CREATE TABLE routings (
    event_key text NOT NULL,
    routed_at timestamptz NOT NULL,
    account_id text NOT NULL,
    settings_revision bigint NOT NULL,
    PRIMARY KEY (event_key, routed_at)
);

-- By routed_at. What became of each candidate subscription of one routing.
CREATE TABLE routing_decisions (
    event_key text NOT NULL,
    routed_at timestamptz NOT NULL,
    position integer NOT NULL,
    -- chosen, duplicate, disabled or account_not_open.
    verdict text NOT NULL,
    -- parent_account, account, domain or alert.
    level text NOT NULL,
    subscription_id text NOT NULL,
    target_id text NOT NULL,
    url text NOT NULL,
    -- With verdict chosen.
    delivery_id text,
    -- With verdict duplicate.
    duplicate_of text,
    -- With verdict disabled.
    disabled_at timestamptz,
    PRIMARY KEY (event_key, routed_at, position)
);

CREATE INDEX routing_decisions_delivery ON routing_decisions (delivery_id) WHERE delivery_id IS NOT NULL;

-- By started_at. It is part of the stored outcome, so that
-- (delivery_id, hop, started_at) would be idempotent too; but then a hop that
-- was tried twice, because a dispatcher died between outcome and retry, has
-- two rows, of which this key keeps the first.
CREATE TABLE attempts (
    delivery_id text NOT NULL,
    hop bigint NOT NULL,
    event_key text NOT NULL,
    account_id text NOT NULL,
    target_id text NOT NULL,
    generation bigint NOT NULL,
    attempt bigint NOT NULL,
    -- False for what was our own fault.
    charged boolean NOT NULL,
    started_at timestamptz NOT NULL,
    duration_ms bigint NOT NULL,
    url text NOT NULL,
    -- HTTP status; NULL when there was no answer.
    status integer,
    reason text NOT NULL,
    detail text NOT NULL,
    response_snippet text NOT NULL,
    next_attempt_at timestamptz,
    PRIMARY KEY (delivery_id, hop)
);

CREATE INDEX attempts_event ON attempts (event_key);
CREATE INDEX attempts_account ON attempts (account_id, started_at);

-- By ended_at. A delivery ends once; a dispatcher that died between outcome
-- and ack may report that end twice, at two moments, of which this key keeps
-- the first. Once partitioned, a reader takes the earliest of them.
CREATE TABLE ends (
    delivery_id text PRIMARY KEY,
    event_key text NOT NULL,
    account_id text NOT NULL,
    target_id text NOT NULL,
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

CREATE INDEX ends_event ON ends (event_key);
CREATE INDEX ends_account ON ends (account_id, ended_at);

-- By ended_at. The body of everything that was not delivered, for sending it
-- again; kept for a time of its own, which is why it is not a column of ends.
CREATE TABLE undelivered (
    delivery_id text PRIMARY KEY,
    account_id text NOT NULL,
    target_id text NOT NULL,
    outcome text NOT NULL,
    ended_at timestamptz NOT NULL,
    -- A postrider.v1.Delivery.
    delivery bytea NOT NULL
);

CREATE INDEX undelivered_account ON undelivered (account_id, ended_at);
CREATE INDEX undelivered_target ON undelivered (target_id, ended_at);
