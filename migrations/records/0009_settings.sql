-- What the practice's own settings need: rooms end without being deleted, a change is made over the version that was seen, and
-- a password that an admin gave is for one sign-in only and for a while.
ALTER TABLE rooms ADD COLUMN active boolean NOT NULL DEFAULT true;
ALTER TABLE rooms ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE session_types ADD COLUMN version integer NOT NULL DEFAULT 1;
-- Until then the password signs in once, to choose another; null for a password of one's own.
ALTER TABLE logins ADD COLUMN one_time_until timestamptz;
