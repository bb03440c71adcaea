-- Logins by token (XOAUTH2), and what an upstream's last trouble was.
ALTER TABLE upstream ADD COLUMN login TEXT NOT NULL DEFAULT 'password';  -- or 'xoauth2'
-- What tokens are asked for with, and the tokens: sealed, with upstream:<id>:grant as associated data. NULL: not connected.
ALTER TABLE upstream ADD COLUMN oauth BLOB;
ALTER TABLE upstream ADD COLUMN last_error TEXT NOT NULL DEFAULT '';

-- A consent that was asked for and has not come back. Taken out by whoever uses it, so that it is used once.
CREATE TABLE consent (
    state BLOB PRIMARY KEY,                      -- SHA-256 of the state in the URL
    upstream_id INTEGER NOT NULL REFERENCES upstream (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    sealed BLOB NOT NULL                         -- with consent:<hex of state> as associated data
) WITHOUT ROWID;
