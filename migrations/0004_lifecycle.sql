-- Whose database this is, and how the data of accounts is erased.

-- The region of the one deployment that uses this database, from its first
-- start on. Two that shared it would publish each other's settings and keep
-- one history of both.
CREATE TABLE deployment (
    is_the_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
    region text NOT NULL CHECK (region ~ '^[a-z0-9-]{1,32}$')
);

-- A row for every account with erased_at, written together with it. Settings
-- are erased in that same transaction; this is what remains to be done.
CREATE TABLE erasures (
    account_id text PRIMARY KEY REFERENCES accounts,
    -- Raised when the erasure is asked for, and whenever archive meets a
    -- message of the account on the broker.
    found bigint NOT NULL DEFAULT 1,
    -- What found was when the last purge of the broker began: with less than
    -- found, another one is due.
    purged bigint NOT NULL DEFAULT 0 CHECK (purged <= found),
    -- How often the history was gone through.
    passes smallint NOT NULL DEFAULT 0,
    -- When it is to be gone through next; NULL when that was done for good.
    next_pass_at timestamptz,
    done_at timestamptz,
    CHECK ((next_pass_at IS NULL) = (done_at IS NOT NULL))
);

CREATE INDEX erasures_to_purge ON erasures (account_id) WHERE purged < found;
CREATE INDEX erasures_next_pass ON erasures (next_pass_at) WHERE next_pass_at IS NOT NULL;
