-- Settings: accounts, keys, domains, webhooks, alerts. Written by settings-api alone.
--
-- Every limit that a customer is promised is a constraint here, so that no
-- race between two replicas can break it. Event types are plain text: which
-- ones exist is for the code to say.

CREATE TABLE accounts (
    account_id text PRIMARY KEY CHECK (account_id ~ '^[0-9a-f]{24}$'),
    -- Internal callers name accounts by name or id, so that no name may look like an id.
    name text NOT NULL UNIQUE
        CHECK (name ~ '^[a-z0-9._-]{1,64}$' AND name !~ '^[0-9a-f]{24}$'),
    -- NULL for a primary account.
    parent_id text,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'disabled', 'closed')),
    -- Sealed under the deployment's secret key; never in the clear.
    sealed_http_signing_key bytea NOT NULL,
    sealed_alerts_signing_key bytea NOT NULL,
    redact_pii boolean NOT NULL DEFAULT false,
    -- Raised by every change of what the account's document holds.
    version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL,

    -- A subaccount has no subaccounts: the parent must be a row whose
    -- is_subaccount is false.
    is_subaccount boolean NOT NULL GENERATED ALWAYS AS (parent_id IS NOT NULL) STORED,
    parent_is_subaccount boolean GENERATED ALWAYS AS (CASE WHEN parent_id IS NOT NULL THEN false END) STORED,
    UNIQUE (account_id, is_subaccount),
    FOREIGN KEY (parent_id, parent_is_subaccount) REFERENCES accounts (account_id, is_subaccount)
);

CREATE INDEX accounts_parent ON accounts (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE api_keys (
    key_id text PRIMARY KEY CHECK (key_id ~ '^[0-9a-f]{8}-[0-9a-f]{8}$'),
    -- SHA-256 of the key, which itself is stored nowhere. A revoked key keeps
    -- its row, so that it can never come back as another account's key.
    hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    account_id text NOT NULL REFERENCES accounts,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,
    -- Right to the minute.
    last_used_at timestamptz
);

CREATE INDEX api_keys_account ON api_keys (account_id);

CREATE TABLE domains (
    -- Hash of the lower-case name.
    domain_id text PRIMARY KEY CHECK (domain_id ~ '^[0-9a-f]{32}$'),
    name text NOT NULL UNIQUE CHECK (octet_length(name) BETWEEN 1 AND 253),
    account_id text NOT NULL REFERENCES accounts,
    redact_pii boolean NOT NULL DEFAULT false,
    -- Goes on rising when a deleted domain is made again, even by another
    -- account: the row of a deleted domain stays, as does its document.
    version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL,
    deleted_at timestamptz
);

CREATE INDEX domains_account ON domains (account_id);

CREATE TABLE domain_webhooks (
    domain_id text NOT NULL REFERENCES domains,
    -- A webhook id, or one of the ids from before 2018.
    event_type text NOT NULL CHECK (event_type <> ''),
    -- At most three URLs for one event type, in the order in which they were given.
    position smallint NOT NULL CHECK (position BETWEEN 0 AND 2),
    url text NOT NULL CHECK (octet_length(url) BETWEEN 1 AND 2048),
    PRIMARY KEY (domain_id, event_type, position),
    UNIQUE (domain_id, event_type, url)
);

CREATE TABLE account_webhooks (
    webhook_id text PRIMARY KEY CHECK (webhook_id ~ '^[0-9a-f]{24}$'),
    account_id text NOT NULL REFERENCES accounts,
    description text NOT NULL DEFAULT '' CHECK (octet_length(description) <= 1024),
    url text NOT NULL CHECK (octet_length(url) BETWEEN 1 AND 2048),
    created_at timestamptz NOT NULL,
    UNIQUE (webhook_id, account_id, url)
);

CREATE INDEX account_webhooks_account ON account_webhooks (account_id);

CREATE TABLE account_webhook_events (
    account_id text NOT NULL,
    event_type text NOT NULL CHECK (event_type <> ''),
    -- At most three URLs for one event type over all webhooks of the account.
    slot smallint NOT NULL CHECK (slot BETWEEN 0 AND 2),
    webhook_id text NOT NULL,
    -- The webhook's URL again, so that two webhooks cannot share one for the same type.
    url text NOT NULL,
    PRIMARY KEY (account_id, event_type, slot),
    UNIQUE (account_id, event_type, url),
    FOREIGN KEY (webhook_id, account_id, url)
        REFERENCES account_webhooks (webhook_id, account_id, url)
        ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE INDEX account_webhook_events_webhook ON account_webhook_events (webhook_id);

CREATE TABLE alert_settings (
    setting_id uuid PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts,
    event_type text NOT NULL CHECK (event_type <> ''),
    channel text NOT NULL CHECK (channel IN ('webhook', 'email')),
    url text CHECK (octet_length(url) BETWEEN 1 AND 2048),
    emails text[] CHECK (cardinality(emails) BETWEEN 1 AND 50),
    -- Raised each time the setting is saved. What disables carries the
    -- generation that it saw, so that a late report cannot disable a setting
    -- which has been validated again since.
    generation bigint NOT NULL DEFAULT 1 CHECK (generation > 0),
    disabled_at timestamptz,
    disabled_reason text,
    created_at timestamptz NOT NULL,
    CHECK ((channel = 'webhook') = (url IS NOT NULL)),
    CHECK ((channel = 'email') = (emails IS NOT NULL)),
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
);

CREATE INDEX alert_settings_account ON alert_settings (account_id);

-- The same alert to the same place is a conflict, and the email channel is one place.
CREATE UNIQUE INDEX alert_settings_url ON alert_settings (account_id, event_type, url)
    WHERE channel = 'webhook';
CREATE UNIQUE INDEX alert_settings_email ON alert_settings (account_id, event_type)
    WHERE channel = 'email';

-- A row for every committed change whose document is not known to be in the
-- settings bucket yet. It is written with the change and deleted once the
-- broker has acknowledged a document of that version or a later one.
CREATE TABLE settings_outbox (
    -- account.<account id> or domain.<domain id>.
    document_key text NOT NULL,
    version bigint NOT NULL,
    queued_at timestamptz NOT NULL,
    PRIMARY KEY (document_key, version)
);
