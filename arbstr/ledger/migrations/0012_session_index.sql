-- The index by session has one more column: it is made again in the background.
DROP INDEX IF EXISTS requests_by_session;
