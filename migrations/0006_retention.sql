-- What became of bodies that nobody has sent again in time.

-- Deliveries whose body was given up with its day, counted in the transaction
-- that drops it: nothing undelivered goes without a trace. By the day on which
-- they had ended.
CREATE TABLE expired (
    account_id text NOT NULL,
    ended_on date NOT NULL,
    -- How they had ended.
    outcome text NOT NULL,
    deliveries bigint NOT NULL,
    PRIMARY KEY (account_id, ended_on, outcome)
);
