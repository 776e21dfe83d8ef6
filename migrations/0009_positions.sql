-- Events are copied in, which leaves a column to the database by not naming it.
ALTER TABLE events ALTER COLUMN position SET DEFAULT nextval('event_positions');
