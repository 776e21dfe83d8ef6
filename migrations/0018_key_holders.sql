-- Who asked for a key, and for whom, as its maker says. NULL where that was not said, and with keys that an earlier
-- version has made.
ALTER TABLE api_keys ADD COLUMN requestor text;
ALTER TABLE api_keys ADD COLUMN user_name text;
