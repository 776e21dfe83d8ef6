-- How deliveries are made, beyond what Mailgun has settings for.

-- Encoded postrider.v1.PolicyOverride; NULL where the deployment's policy holds.
ALTER TABLE accounts
    ADD COLUMN message_policy bytea,
    ADD COLUMN alert_policy bytea;

-- What an account says of a URL of its subscriptions, whether it has one with
-- that URL at the moment or not.
CREATE TABLE url_options (
    account_id text NOT NULL REFERENCES accounts,
    url text NOT NULL CHECK (octet_length(url) BETWEEN 1 AND 2048),
    -- Set while deliveries to it are held.
    paused_at timestamptz,
    -- Encoded postrider.v1.PolicyOverride.
    policy bytea,
    -- Message events as forms, as before 2018.
    legacy_payload boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, url)
);

-- Headers that are sent along with every delivery to such a URL.
CREATE TABLE url_headers (
    account_id text NOT NULL,
    url text NOT NULL,
    -- In lower case.
    name text NOT NULL,
    -- The value, sealed under the deployment's secret key.
    sealed bytea NOT NULL,
    PRIMARY KEY (account_id, url, name),
    FOREIGN KEY (account_id, url) REFERENCES url_options ON DELETE CASCADE
);

-- When the delivery was sent again, as the next generation of it; NULL while
-- nobody has asked for that.
ALTER TABLE undelivered ADD COLUMN sent_again_at timestamptz;

-- A job goes through those of a target, or of all, in the order of their ends. With
-- the outcome they are counted without a look at the bodies.
CREATE INDEX undelivered_waiting ON undelivered (account_id, target_id, ended_at)
    INCLUDE (outcome) WHERE sent_again_at IS NULL;
CREATE INDEX undelivered_of ON undelivered (account_id, ended_at) WHERE sent_again_at IS NULL;

-- Jobs that send again what was not delivered.
CREATE TABLE resends (
    resend_id uuid PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts,
    -- Of what: NULL for every target of the account.
    target_id uuid,
    -- The URL or the id of the alert setting that was named, for people.
    target text NOT NULL,
    outcomes text[] NOT NULL,
    -- What ended from here on, and before the job was made.
    since timestamptz,
    created_at timestamptz NOT NULL,
    per_second integer NOT NULL CHECK (per_second BETWEEN 1 AND 1000),
    state text NOT NULL CHECK (state IN ('running', 'paused', 'cancelled', 'done')),
    sent bigint NOT NULL DEFAULT 0,
    -- When what was sent last had ended: everything before it is done. NULL before the
    -- first batch.
    reached timestamptz,
    -- The rate holds over all replicas, because none begins before this moment.
    next_batch_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);

CREATE INDEX resends_of ON resends (account_id, created_at);
CREATE INDEX resends_due ON resends (next_batch_at) WHERE state = 'running';

-- Mails to the owners of accounts about alerts that do not arrive. A row stays
-- when it was sent, as the memory of what was told.
CREATE TABLE notices (
    notice_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts,
    setting_id uuid NOT NULL,
    stage text NOT NULL CHECK (stage IN ('first_failure', 'last_chance', 'disabled')),
    event_type text NOT NULL,
    -- Where the alert goes, as its setting says it.
    destination text NOT NULL,
    -- Why it did not arrive.
    reason text NOT NULL,
    happened_at timestamptz NOT NULL,
    next_attempt_at timestamptz,
    -- When the mail is to be tried next; NULL when it was sent or given up.
    next_try_at timestamptz,
    tries smallint NOT NULL DEFAULT 0
);

CREATE INDEX notices_due ON notices (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX notices_of ON notices (setting_id, stage, happened_at);
