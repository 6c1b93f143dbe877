-- What prompt caches were expected to have and what they saved, and what it cost to leave the provider that had the
-- conversation before. Of the rows before it is not known, and counts as nothing.
ALTER TABLE requests ADD COLUMN predicted_cached_tokens INTEGER;
ALTER TABLE requests ADD COLUMN cache_saved_msats INTEGER;
ALTER TABLE requests ADD COLUMN switching_msats INTEGER;
ALTER TABLE rollups ADD COLUMN cache_hit_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups ADD COLUMN saved_by_cache_msats INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups ADD COLUMN lost_by_switching_msats INTEGER NOT NULL DEFAULT 0;

-- The index by session is made again in the background, with all that is summed by session.
DROP INDEX IF EXISTS requests_by_session;
