-- Three users of the database, each of which may do what it has to and no more:
--
--   postrider_migrate        makes and changes tables: for `postrider migrate` alone
--   postrider_settings_api   reads and writes settings, reads and erases history; changes no table
--   postrider_archive        writes history, makes and drops its days; sees of settings which accounts are erased
--
-- Run this as a superuser in the database, which may be empty, before `postrider migrate`; again in order to
-- change passwords. What they may do with tables, `postrider migrate` says afterwards.
--
--   MIGRATE_PASSWORD=… SETTINGS_API_PASSWORD=… ARCHIVE_PASSWORD=… \
--     psql "$SUPERUSER_URL" --single-transaction --set ON_ERROR_STOP=1 -f deploy/postgres/roles.sql
--
-- A database that one user owned until now has to change hands first: REASSIGN OWNED BY postrider TO
-- postrider_migrate, once that role is there.

\getenv migrate_password MIGRATE_PASSWORD
\getenv settings_api_password SETTINGS_API_PASSWORD
\getenv archive_password ARCHIVE_PASSWORD

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['postrider_migrate', 'postrider_settings_api', 'postrider_archive']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE postrider_migrate LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'migrate_password';
ALTER ROLE postrider_settings_api LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'settings_api_password';
ALTER ROLE postrider_archive LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'archive_password';

-- A day of history belongs to who has made it. A migration has to change it all the same.
GRANT postrider_archive TO postrider_migrate;

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database())
\gexec
SELECT format(
    'GRANT CONNECT ON DATABASE %I TO postrider_migrate, postrider_settings_api, postrider_archive',
    current_database()
)
\gexec

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO postrider_migrate, postrider_archive;
GRANT USAGE ON SCHEMA public TO postrider_settings_api;
