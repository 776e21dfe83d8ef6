-- The calls of the console are counted apart from those of the account's programs.
-- Whose minute it is was not worth keeping: it begins anew.
DROP TABLE rate_windows;
CREATE UNLOGGED TABLE rate_windows (
    account_id text NOT NULL,
    budget text NOT NULL CHECK (budget IN ('api', 'console')),
    ends_at timestamptz NOT NULL,
    calls integer NOT NULL,
    PRIMARY KEY (account_id, budget)
);
