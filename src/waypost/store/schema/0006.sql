-- Who may see and change what over the dashboard. Times are milliseconds since 1970.

CREATE TABLE member (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,              -- lower case
    name TEXT NOT NULL DEFAULT '',
    operator INTEGER NOT NULL DEFAULT 0,
    password TEXT,                               -- Argon2id, in its own encoding; NULL: none set yet
    factor BLOB,                                 -- the TOTP key, sealed, with member:<id>:factor as associated data
    factor_step INTEGER NOT NULL DEFAULT 0,      -- of the last code that was used: none is good twice
    recovery TEXT NOT NULL DEFAULT '[]',         -- JSON: SHA-256 in hex of the recovery codes not used yet
    created_at INTEGER NOT NULL,
    last_login_at INTEGER
);

CREATE TABLE membership (
    member_id INTEGER NOT NULL REFERENCES member (id) ON DELETE CASCADE,
    account_id INTEGER NOT NULL REFERENCES account (id),
    role INTEGER NOT NULL,                       -- desk/access/roles.Role
    PRIMARY KEY (member_id, account_id)
) WITHOUT ROWID;
CREATE INDEX membership_account ON membership (account_id);

CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,                 -- SHA-256 of the token
    member_id INTEGER NOT NULL REFERENCES member (id) ON DELETE CASCADE,
    account_id INTEGER REFERENCES account (id),  -- the one looked at; NULL: all, of an operator
    pending INTEGER NOT NULL DEFAULT 0,          -- the second factor is still to come
    by_link INTEGER NOT NULL DEFAULT 0,          -- came by a link: may set a password without the present one
    peer TEXT NOT NULL,
    agent TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX session_member ON session (member_id);
CREATE INDEX session_expires ON session (expires_at);

-- Links that let somebody in once: `first` makes the operator's login, `invite` a member's first password, `login` is
-- for the one who lost the way in.
CREATE TABLE login_link (
    digest BLOB PRIMARY KEY,                     -- SHA-256 of the token
    kind TEXT NOT NULL,
    member_id INTEGER REFERENCES member (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Failed logins of the last minutes, by address of the peer and by e-mail.
CREATE TABLE login_failure (
    id INTEGER PRIMARY KEY,
    place TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX login_failure_place ON login_failure (place, at);
CREATE INDEX login_failure_at ON login_failure (at);

-- Who changed what, written in the transaction of the change.
CREATE TABLE trail (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    account_id INTEGER,                          -- NULL: the operator's
    member_id INTEGER,
    actor TEXT NOT NULL,
    deed TEXT NOT NULL,
    subject TEXT NOT NULL,
    peer TEXT NOT NULL
);
CREATE INDEX trail_account ON trail (account_id, id);
CREATE INDEX trail_at ON trail (at);
