-- The first schema. Times are milliseconds since 1970; ids of messages are core/ident numbers (time-ordered).

CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('generation', 1);

CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    enabled INTEGER NOT NULL DEFAULT 1,
    unlimited INTEGER NOT NULL DEFAULT 0,
    balance INTEGER NOT NULL DEFAULT 0,          -- the sum of its ledger lines
    rate_per_minute INTEGER,                     -- NULL: the configured default; 0: none
    default_sender TEXT,
    notify TEXT,
    created_at INTEGER NOT NULL,
    -- What the ended messages that the log no longer holds came to, so that audit still adds up.
    gone_charged INTEGER NOT NULL DEFAULT 0,     -- recipients charged
    gone_refunded INTEGER NOT NULL DEFAULT 0     -- recipients refunded
);

CREATE TABLE api_key (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES account (id),
    name TEXT NOT NULL DEFAULT '',
    digest BLOB NOT NULL UNIQUE,                 -- SHA-256 of the secret
    last4 TEXT NOT NULL,
    enabled INTEGER NOT NULL DEFAULT 1,
    deleted_at INTEGER,                          -- a deleted key stays as a name in the log
    recipients TEXT NOT NULL DEFAULT 'headers',  -- or 'envelope'
    created_at INTEGER NOT NULL,
    last_used_at INTEGER
);

CREATE TABLE upstream (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER REFERENCES account (id),  -- NULL: the operator
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    encryption TEXT NOT NULL,
    username TEXT NOT NULL DEFAULT '',
    password BLOB,                               -- sealed, with upstream:<id>:password as associated data
    validate TEXT NOT NULL DEFAULT 'auto',
    pin TEXT NOT NULL DEFAULT '',
    preset TEXT NOT NULL DEFAULT 'custom',
    fallback_id INTEGER REFERENCES upstream (id),
    edition INTEGER NOT NULL DEFAULT 1,
    connections INTEGER NOT NULL,
    per_connection INTEGER NOT NULL,
    per_minute INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    daily_cap INTEGER,
    state TEXT NOT NULL DEFAULT 'ok',
    reason TEXT NOT NULL DEFAULT '',
    since INTEGER NOT NULL DEFAULT 0,
    probe_at INTEGER NOT NULL DEFAULT 0,
    probes INTEGER NOT NULL DEFAULT 0,
    last_success INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX upstream_name ON upstream (ifnull(account_id, 0), name);

CREATE TABLE sender (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL,                       -- core/address form; compared by lower()
    address_key TEXT NOT NULL,
    account_id INTEGER REFERENCES account (id),  -- NULL: the operator
    everyone INTEGER NOT NULL DEFAULT 0,
    upstream_id INTEGER NOT NULL REFERENCES upstream (id),
    from_name TEXT NOT NULL DEFAULT '',
    daily_cap INTEGER,
    held TEXT NOT NULL DEFAULT '',
    probe_at INTEGER NOT NULL DEFAULT 0,         -- of a held sender
    created_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX sender_address ON sender (ifnull(account_id, 0), address_key, upstream_id);
CREATE INDEX sender_upstream ON sender (upstream_id);

CREATE TABLE sender_account (
    sender_id INTEGER NOT NULL REFERENCES sender (id) ON DELETE CASCADE,
    account_id INTEGER NOT NULL REFERENCES account (id),
    PRIMARY KEY (sender_id, account_id)
) WITHOUT ROWID;

-- One row a message, kept as the log. Counts are of recipients.
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL,
    key_id INTEGER,
    sender_id INTEGER NOT NULL,
    channel TEXT NOT NULL,
    peer TEXT NOT NULL,
    from_address TEXT NOT NULL,
    subject TEXT NOT NULL,
    smtp_message_id TEXT NOT NULL,
    repeat_hash INTEGER,                         -- of the client's own Message-ID (first 8 octets of SHA-256, signed); NULL: none
    digest BLOB NOT NULL,                        -- SHA-256 of the octets as received
    octets INTEGER NOT NULL,                     -- as received
    eight_bit INTEGER NOT NULL,
    null_sender INTEGER NOT NULL,                -- came with MAIL FROM:<>
    status TEXT NOT NULL,
    recipients INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    charged INTEGER NOT NULL,
    refunded INTEGER NOT NULL DEFAULT 0,
    hold_until INTEGER NOT NULL DEFAULT 0,       -- sendAt
    ended_at INTEGER
);
-- Also the rate window: a key's accepted of the last minute are among its account's, without a second index.
CREATE INDEX message_account ON message (account_id, id, key_id);
CREATE INDEX message_repeat ON message (key_id, repeat_hash, id) WHERE repeat_hash IS NOT NULL;

CREATE TABLE recipient (
    message_id INTEGER NOT NULL,
    number INTEGER NOT NULL,                     -- from 1, in the order of RCPT, then headers
    address TEXT NOT NULL COLLATE NOCASE,
    state INTEGER NOT NULL DEFAULT 0,            -- core/lifecycle.State
    code INTEGER NOT NULL DEFAULT 0,             -- the last words of the upstream
    text TEXT NOT NULL DEFAULT '',
    ended_at INTEGER,
    PRIMARY KEY (message_id, number)
) WITHOUT ROWID;
CREATE INDEX recipient_address ON recipient (address, message_id);

-- One row a message that has queued recipients; gone when none is left.
-- claim 0: nobody's; else the worker's number plus 1. It leads, so that the claims of the dead are one range.
CREATE TABLE queue (
    claim INTEGER NOT NULL,
    sender_id INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    due INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,          -- number of the next attempt
    tries INTEGER NOT NULL DEFAULT 0,            -- attempts that moved the schedule on
    first_try INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,             -- milliseconds that do not count towards giving up
    uncertain_row INTEGER NOT NULL DEFAULT 0,
    day INTEGER NOT NULL DEFAULT 0,              -- UTC day (days since 1970) whose place under the caps it holds; 0: none
    capped INTEGER NOT NULL DEFAULT 0,           -- waits for a daily cap: of this upstream, or of minus this sender
    reason TEXT NOT NULL DEFAULT '',             -- why it waits
    PRIMARY KEY (claim, sender_id, account_id, due, message_id)
) WITHOUT ROWID;
-- A message that is claimed at once and sent at once never touches these two. Who has claimed a row knows its whole key.
CREATE INDEX queue_message ON queue (message_id) WHERE claim = 0;
CREATE INDEX queue_capped ON queue (capped, account_id) WHERE capped <> 0;

-- The octets as they go out. Small: head and rest together in `octets`. Large: head here, rest in the spool.
CREATE TABLE body (
    message_id INTEGER PRIMARY KEY,
    spool TEXT,                                  -- file under spool/, NULL for small ones
    spool_offset INTEGER NOT NULL DEFAULT 0,
    spool_octets INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER,                          -- set when the last recipient ended and it is kept a while
    octets BLOB NOT NULL                         -- last, so that the others are read without it
);
CREATE INDEX body_expires ON body (expires_at) WHERE expires_at IS NOT NULL;

-- One row an attempt; results as JSON [[number, state, code, text], …].
CREATE TABLE attempt (
    message_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    upstream_id INTEGER NOT NULL,
    upstream TEXT NOT NULL,                      -- its name then
    uncertain INTEGER NOT NULL DEFAULT 0,
    results TEXT NOT NULL,
    transcript TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message_id, number)
) WITHOUT ROWID;

-- Only ever added to.
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,                      -- nothing is deleted, so no number comes again
    account_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    reason TEXT NOT NULL,                        -- topup, debit, refund
    message_id INTEGER,
    recipient INTEGER,                           -- its number, of a refund
    note TEXT NOT NULL DEFAULT '',
    balance INTEGER NOT NULL                     -- after this line
);
CREATE INDEX ledger_account ON ledger (account_id, id);
CREATE UNIQUE INDEX ledger_refund ON ledger (message_id, recipient) WHERE reason = 'refund';
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger BEGIN SELECT raise(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger BEGIN SELECT raise(ABORT, 'the ledger is only added to'); END;

-- Places under the daily caps: taken of a sender 's' or an upstream 'u'; 'S' and 'U' count what was put off to that
-- day, so that a long backlog is spread over days when it comes and is not moved on every day. Day as in queue.
CREATE TABLE place (
    scope TEXT NOT NULL,
    scope_id INTEGER NOT NULL,
    day INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (scope, scope_id, day)
) WITHOUT ROWID;

CREATE TABLE refusal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    channel TEXT NOT NULL,
    peer TEXT NOT NULL,
    account_id INTEGER,
    key_id INTEGER,
    from_address TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL,
    answer TEXT NOT NULL,
    count INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX refusal_at ON refusal (at);
CREATE INDEX refusal_account ON refusal (account_id, id);

CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    account_id INTEGER,
    message_id INTEGER,
    upstream_id INTEGER,
    sender_id INTEGER
);
CREATE INDEX event_at ON event (at);
