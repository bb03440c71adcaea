-- Notices that are owed: one row a message that ended with a recipient failed, written by the transaction that ended it,
-- where its account has an address for them. The transaction that accepts the notice takes the row away.
CREATE TABLE notice (
    message_id INTEGER PRIMARY KEY,
    due INTEGER NOT NULL                         -- a client that is told itself by then needs none
);
CREATE INDEX notice_due ON notice (due);
