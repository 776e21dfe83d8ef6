-- The mail settings that a domain was given: they have no effect here, and are shown as they were given.
-- Empty with domains that an earlier version has made.
ALTER TABLE domains ADD COLUMN mail_settings jsonb NOT NULL DEFAULT '{}';
