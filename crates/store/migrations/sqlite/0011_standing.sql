-- Keepers whose logs know what may have been presented. Nothing is claimed in an era before each of them was compared in it.
CREATE TABLE keeper (
    keeper_id TEXT PRIMARY KEY,
    compared INTEGER NOT NULL,
    vouched INTEGER NOT NULL
) STRICT;
