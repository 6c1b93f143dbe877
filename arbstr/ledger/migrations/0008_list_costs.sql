-- What requests would have cost by the rates, less what they cost, is summed like the other savings. The rows up to
-- `list_costs_upto` are in rollups that do not have it yet; it is added from the last one down. Of rows that are gone it is
-- not known, and counts as nothing.
ALTER TABLE rollups ADD COLUMN saved_vs_list_msats INTEGER NOT NULL DEFAULT 0;
INSERT INTO ledger_state (name, value)
SELECT 'list_costs_upto', MAX(id) FROM requests WHERE EXISTS (SELECT 1 FROM rollups) HAVING MAX(id) IS NOT NULL;

-- The index by session is made again in the background, with all that is summed by session.
DROP INDEX IF EXISTS requests_by_session;
