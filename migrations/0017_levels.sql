-- A subaccount sees of its parent's webhooks the host alone: what was tried says for whom. NULL with what an earlier
-- version has written, which may have been the parent's.
ALTER TABLE attempts ADD COLUMN level text;
-- Of `last_url`.
ALTER TABLE statistics ADD COLUMN last_level text;
-- The account of the key that named `target`.
ALTER TABLE resends ADD COLUMN named_by text;
