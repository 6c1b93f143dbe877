-- What instances share besides rows: small JSON texts by kind and key, which hold until `expires_at` by this server's
-- clock. `changed_at` is the instant that the value tells of. `instance` is the one that has written it; `version`
-- is another with each change. What is said about a provider has its digest as the key, no name, URL or secret.
CREATE SEQUENCE changes;
CREATE TABLE shared (
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value text NOT NULL,
    instance text NOT NULL,
    changed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (kind, key)
) WITH (fillfactor = 70);

-- Which of the values others have not seen: those of a higher version than the last they saw.
ALTER TABLE learned
    ADD COLUMN version bigint NOT NULL DEFAULT nextval('changes'),
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT clock_timestamp();
ALTER TABLE token_ratios ADD COLUMN version bigint NOT NULL DEFAULT nextval('changes');
