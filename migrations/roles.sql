-- Roles of the cluster. Run once per cluster as the Postgres superuser, before the first migration.
-- Who may become which role is decided by the operating system user (pg_ident.conf), never by a password.
DO $$
BEGIN
    -- Roles belong to the whole cluster: whoever else is at them, from any of its databases, goes first.
    LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hadada_owner') THEN
        -- BYPASSRLS because FORCE ROW LEVEL SECURITY binds the owner too, and migrations must see every row.
        CREATE ROLE hadada_owner LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB BYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hadada_app') THEN
        CREATE ROLE hadada_app LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hadada_sender') THEN
        -- Sends what is in the outbox and writes the egress ledger; sees nothing else.
        CREATE ROLE hadada_sender LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hadada_backup') THEN
        CREATE ROLE hadada_backup LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB BYPASSRLS;
    END IF;
    IF NOT (SELECT rolreplication FROM pg_roles WHERE rolname = 'hadada_backup') THEN
        -- Base backups and the log are read as a standby reads them.
        ALTER ROLE hadada_backup REPLICATION;
    END IF;
END
$$;
