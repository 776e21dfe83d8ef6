-- Some time after a domain was deleted or an account erased, nothing of it can be on its way any more: then its
-- document leaves the broker and every process. An older process may publish it once more, which is looked for.
ALTER TABLE domains ADD COLUMN forgotten_at timestamptz;
ALTER TABLE accounts ADD COLUMN forgotten_at timestamptz;

CREATE INDEX domains_to_forget ON domains (deleted_at) WHERE deleted_at IS NOT NULL;
