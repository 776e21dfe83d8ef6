-- The oldest version whose processes can work with this schema, as the number of the newest migration that it has
-- to know. A process that meets migrations that it does not know goes on when it knows this one. A migration that
-- older processes cannot live with raises it; one that only adds leaves it alone.
CREATE TABLE schema_compatibility (
    is_the_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
    min_version bigint NOT NULL
);
INSERT INTO schema_compatibility (min_version) VALUES (12);

-- A document that cannot be published is tried less and less often, and holds up no other one.
ALTER TABLE settings_outbox
    ADD COLUMN tries integer NOT NULL DEFAULT 0,
    ADD COLUMN next_try_at timestamptz NOT NULL DEFAULT '-infinity';

-- What archive could not read, as it was: messages of the broker, each with one event or one outcome. Those that a
-- newer version wrote are read into history by archive of that version.
CREATE TABLE unread_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- events or outcomes.
    stream text NOT NULL,
    -- Its place there.
    sequence bigint NOT NULL,
    account_id text NOT NULL,
    stored_at timestamptz NOT NULL,
    -- Whether a newer version wrote it; otherwise it was never stored in time, and nobody reads it unasked.
    is_newer boolean NOT NULL,
    reason text NOT NULL,
    payload bytea NOT NULL
);

-- The broker hands a message out again when its ack was lost.
CREATE UNIQUE INDEX unread_messages_once ON unread_messages (stream, sequence, md5(payload));
