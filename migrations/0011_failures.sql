-- A try that failed names its event, so that a page of failures looks no event up, and a filter by type or domain
-- goes through failures alone. NULL with tries that were taken, which nobody searches, and with those that were
-- told of by an earlier version: of these the event is still looked up.
ALTER TABLE attempts
    ADD COLUMN named_event_id text, ADD COLUMN named_event_type text, ADD COLUMN named_domain_id uuid;
