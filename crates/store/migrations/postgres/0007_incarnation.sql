-- A standby that took over may lack the last transactions, and a copy that was put back lacks many: the server says so by its
-- timeline and by the cluster's number. Where it cannot say, nothing is noticed here, and every incarnation is `unknown`.
CREATE FUNCTION incarnation() RETURNS TEXT LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
EXCEPTION
    WHEN undefined_function OR feature_not_supported OR insufficient_privilege THEN RETURN 'unknown';
END
$$;
ALTER TABLE installation ADD COLUMN incarnation TEXT NOT NULL DEFAULT '';
UPDATE installation SET incarnation = incarnation();

-- The era, where the server is still the one that it began at: nothing is claimed and nothing presented in another.
CREATE VIEW era_in_force AS SELECT era FROM installation WHERE incarnation = incarnation();
GRANT SELECT ON era_in_force TO nightlatch_keeper;
