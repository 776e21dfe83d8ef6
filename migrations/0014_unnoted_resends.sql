-- Who repeats a batch of a job that sends again says since when some of it may have been sent.
ALTER TABLE resends
    -- Since when deliveries may have been sent that are not noted. NULL when everything is.
    ADD COLUMN unnoted_since timestamptz;
