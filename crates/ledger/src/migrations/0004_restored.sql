-- Since when this ledger is one from a backup that is not in line with its store yet, see
-- recovery.rs; NULL: it is.
ALTER TABLE stores ADD COLUMN restored_ms BIGINT;
