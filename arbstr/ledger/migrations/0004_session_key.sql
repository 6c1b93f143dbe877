-- The key under which clients' names for their sessions are hashed: 128 random bits of this ledger's own.
INSERT INTO ledger_state (name, value) VALUES ('session_key_1', RANDOM()), ('session_key_2', RANDOM());
