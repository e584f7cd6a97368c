UPDATE logins SET one_time_until = now();
UPDATE rooms SET active = false, version = version + 1;
