-- Statistics: how much was tried, how it ended and how long answers took, so that
-- nobody has to count history to know. Written by archive, in the transaction
-- that inserts what is counted.
--
-- A row is changed again and again while its slot is the present one. So no index
-- has a column that changes, and blocks keep room for the next version of a row:
-- such an update touches no index.
CREATE TABLE statistics (
    account_id text NOT NULL,
    -- One target, or the nil UUID for all of the account's together.
    target_id uuid NOT NULL,
    -- How long the slot is. Of one target 3600. Of all together 300, and 3600 once
    -- the slots of an hour were folded into one.
    seconds integer NOT NULL CHECK (seconds IN (300, 3600)),
    -- When the slot begins: tries count when they begin, deliveries when they end.
    starts_at timestamptz NOT NULL,

    -- Tries that were charged.
    taken bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    -- Answers by how long they took: a number for each step of model's latency.rs.
    -- Empty when there were none.
    latencies bigint[] NOT NULL DEFAULT '{}',

    -- Deliveries by how they ended.
    delivered bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    exhausted bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    suppressed bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    poisoned bigint NOT NULL DEFAULT 0,

    -- Of one target alone: where its last try went, as failure logs show it, when
    -- the last one was taken, and when and why the last one failed.
    last_url text,
    last_taken_at timestamptz,
    last_failed_at timestamptz,
    last_reason text,
    PRIMARY KEY (account_id, target_id, seconds, starts_at)
) WITH (fillfactor = 70);

-- Which slots are to be folded, and which are to be given up.
CREATE INDEX statistics_age ON statistics (seconds, starts_at);

-- What waits for a next try: only tries that failed have one.
CREATE INDEX attempts_waiting ON attempts (account_id, next_attempt_at) INCLUDE (target_id)
    WHERE next_attempt_at IS NOT NULL;
