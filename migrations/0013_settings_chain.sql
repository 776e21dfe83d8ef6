-- Jobs that send again hold no transaction while the broker works: a claim says
-- who is at a job, and a process that dies leaves it to others a little later.
ALTER TABLE resends
    -- NULL while nobody is at it.
    ADD COLUMN claim uuid,
    ADD COLUMN claimed_until timestamptz,
    -- With `reached`: the last one that was looked at. What was passed over stays
    -- where it is, so that the moment alone does not tell it from what follows.
    ADD COLUMN reached_id uuid,
    -- Bodies that cannot be read and were left where they are.
    ADD COLUMN passed_over bigint NOT NULL DEFAULT 0;

ALTER TABLE deployment
    -- Which database this is. It stands in the bucket of settings once all documents
    -- are there, so that a bucket that was lost, or is another database's, shows.
    ADD COLUMN database_id uuid NOT NULL DEFAULT gen_random_uuid(),
    -- The bucket that has all documents, as it was seen last: when it was made, and how
    -- far it had come. NULL until one has been complete.
    ADD COLUMN bucket_created_ms bigint,
    ADD COLUMN bucket_sequence bigint,
    -- Which replica looks after the bucket, and how long it is left to.
    ADD COLUMN leader uuid,
    ADD COLUMN leader_until timestamptz;
