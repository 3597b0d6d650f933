-- Keepers whose logs know what may have been presented. Nothing is claimed in an era before each of them was compared in it.
CREATE TABLE keeper (
    keeper_id TEXT PRIMARY KEY,
    compared BIGINT NOT NULL,
    vouched BIGINT NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON keeper TO nightlatch_keeper;
