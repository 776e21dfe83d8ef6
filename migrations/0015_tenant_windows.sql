-- What a tenant does is counted in windows of a minute, an hour or a day, whoever of it does it. Older processes
-- count in rate_windows, which goes with a later version.
CREATE UNLOGGED TABLE tenant_windows (
    primary_id text NOT NULL,
    budget text NOT NULL,
    ends_at timestamptz NOT NULL,
    count integer NOT NULL,
    PRIMARY KEY (primary_id, budget)
);
