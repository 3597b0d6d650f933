-- Which processes are there. The card is signed by the plane that it is of, so that this row only says where to look.
CREATE TABLE peer (
    peer_id TEXT PRIMARY KEY,
    card TEXT NOT NULL,
    beats BIGINT NOT NULL
);

-- per installation: letters between processes, each taken out once. They are sealed and signed; nothing here is believed.
CREATE TABLE letter (
    to_peer TEXT NOT NULL REFERENCES peer (peer_id) ON DELETE CASCADE,
    from_peer TEXT NOT NULL,
    number BIGINT NOT NULL,
    answers BIGINT,
    expires_at BIGINT NOT NULL,
    sealed TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (to_peer, from_peer, number)
);
CREATE INDEX letter_expiry ON letter (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON peer TO nightlatch_control, nightlatch_gateway, nightlatch_keeper;
GRANT SELECT, INSERT, DELETE ON letter TO nightlatch_control, nightlatch_gateway, nightlatch_keeper;
