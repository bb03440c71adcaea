-- Idempotency keys of HTTP calls, kept 24 h. Rows of messages are written by the transaction that accepts them; the row
-- of number -1 is the whole answer, written after it was made. A kill between the two leaves what the answer is made of.
CREATE TABLE idempotency (
    account_id INTEGER NOT NULL,
    key BLOB NOT NULL,                           -- SHA-256 of the client's key
    number INTEGER NOT NULL,                     -- of the message in its call, from 0; -1: the answer
    body BLOB NOT NULL,                          -- SHA-256 of the call
    message_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    answer BLOB NOT NULL DEFAULT x'',
    PRIMARY KEY (account_id, key, number)
) WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);
