-- What customers do themselves: labels and switches of accounts, roles of keys,
-- signing keys that are being replaced; and how accounts and domains end.

ALTER TABLE accounts
    -- What the customer calls it; operators and internal callers go by name or id.
    ADD COLUMN label text NOT NULL DEFAULT '' CHECK (char_length(label) <= 128),
    -- Whom to write to about this account's settings and deliveries.
    ADD COLUMN contact_email text CHECK (octet_length(contact_email) BETWEEN 3 AND 254),
    -- Mailgun's switches that have no effect here, by name: {"validations": true}.
    -- The one that has is redact_pii.
    ADD COLUMN features jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(features) = 'object'),
    ADD COLUMN disabled_reason text CHECK (char_length(disabled_reason) <= 1024),
    -- Mailgun's limit of messages in a month, set by a parent account; has no effect here.
    ADD COLUMN monthly_sending_limit bigint CHECK (monthly_sending_limit >= 0),
    -- The key before the present one, which also signs until that moment.
    ADD COLUMN sealed_previous_http_signing_key bytea,
    ADD COLUMN previous_http_signing_key_until timestamptz,
    ADD COLUMN sealed_previous_alerts_signing_key bytea,
    ADD COLUMN previous_alerts_signing_key_until timestamptz,
    -- Quotas of this account; NULL where those of the deployment hold.
    ADD COLUMN max_webhooks integer CHECK (max_webhooks >= 0),
    ADD COLUMN max_alert_settings integer CHECK (max_alert_settings >= 0),
    ADD COLUMN max_domains integer CHECK (max_domains >= 0),
    ADD COLUMN max_api_keys integer CHECK (max_api_keys >= 0),
    ADD COLUMN max_subaccounts integer CHECK (max_subaccounts >= 0),
    -- Of the account and its subaccounts together; 0 for no limit. Kept by the delivery path.
    ADD COLUMN events_per_second integer CHECK (events_per_second >= 0),
    ADD COLUMN waiting_deliveries integer CHECK (waiting_deliveries >= 0),
    ADD COLUMN updated_at timestamptz,
    -- Since when its personal data is to be gone; nothing that arrives later is kept.
    ADD COLUMN erased_at timestamptz,
    ADD CHECK (erased_at IS NULL OR status = 'closed'),
    ADD CHECK ((sealed_previous_http_signing_key IS NULL) = (previous_http_signing_key_until IS NULL)),
    ADD CHECK ((sealed_previous_alerts_signing_key IS NULL) = (previous_alerts_signing_key_until IS NULL));

UPDATE accounts SET label = name, updated_at = created_at;
ALTER TABLE accounts ALTER COLUMN updated_at SET NOT NULL;

CREATE INDEX accounts_erased ON accounts (account_id) WHERE erased_at IS NOT NULL;

ALTER TABLE api_keys
    -- admin: everything. developer: everything but keys, subaccounts and the
    -- account itself. basic: reading, without secrets. sending: none of these calls.
    ADD COLUMN role text NOT NULL DEFAULT 'admin'
        CHECK (role IN ('admin', 'developer', 'basic', 'sending')),
    -- Mailgun's word for who holds it; has no effect here.
    ADD COLUMN kind text NOT NULL DEFAULT 'user' CHECK (kind IN ('user', 'domain', 'web')),
    ADD COLUMN description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 256),
    -- With kind domain.
    ADD COLUMN domain_name text CHECK (octet_length(domain_name) <= 253),
    ADD COLUMN expires_at timestamptz;

ALTER TABLE domains
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN disabled_reason text CHECK (char_length(disabled_reason) <= 1024),
    ADD CHECK (disabled_reason IS NULL OR disabled_at IS NOT NULL);

ALTER TABLE account_webhook_events
    -- Lists show the event types of a webhook in the order in which they were given.
    ADD COLUMN position smallint NOT NULL DEFAULT 0 CHECK (position >= 0);

-- How many calls an account has made in its present minute. All replicas count
-- here. Not worth a write-ahead log: after a crash of the server the minute begins anew.
CREATE UNLOGGED TABLE rate_windows (
    account_id text PRIMARY KEY,
    ends_at timestamptz NOT NULL,
    calls integer NOT NULL
);
