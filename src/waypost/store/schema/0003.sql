-- Tokens of the management API. A token is no key: it hands over no mail.
CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER REFERENCES account (id),  -- NULL: every account
    name TEXT NOT NULL DEFAULT '',
    digest BLOB NOT NULL UNIQUE,                 -- SHA-256 of the secret
    last4 TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER
);
