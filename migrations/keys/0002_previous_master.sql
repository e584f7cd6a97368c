-- While the box's master key is being changed, each practice's key is wrapped by both; null at all other times. Whatever cuts the
-- change off, the web program can then go on with either.
ALTER TABLE practice_keys ADD COLUMN previous_wrapped bytea;
