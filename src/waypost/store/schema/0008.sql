-- What the pages count and search by, so that none of them walks the log.

-- Recipients since ever, by what became of them; queued is what is left. `counted_day`: the UTC day of the last change.
ALTER TABLE account ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN counted_day INTEGER NOT NULL DEFAULT 0;

-- The same as it stood at the end of a day, written by the first change of a later day; account 0 is all of them,
-- written by the upkeep. A row a day that had any mail.
CREATE TABLE tally (
    account_id INTEGER NOT NULL,
    day INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    PRIMARY KEY (account_id, day)
) WITHOUT ROWID;

-- Of what the log let go of, only the sum of refunds is known: it counts as failed.
UPDATE account SET
    accepted = gone_charged + (SELECT ifnull(sum(charged), 0) FROM message WHERE account_id = account.id),
    sent = gone_charged - gone_refunded + (SELECT ifnull(sum(sent), 0) FROM message WHERE account_id = account.id),
    failed = gone_refunded + (SELECT ifnull(sum(failed), 0) FROM message WHERE account_id = account.id),
    cancelled = (SELECT ifnull(sum(cancelled), 0) FROM message WHERE account_id = account.id);

-- None of these is touched by a message that is sent at once.
CREATE INDEX message_refunded ON message (account_id, status) WHERE refunded > 0;
CREATE INDEX message_refunded_all ON message (status) WHERE refunded > 0;
CREATE INDEX queue_account ON queue (account_id, message_id) WHERE claim = 0;

-- In which stretches of time a sender ('s'), an address that mail was from ('f', in lower case) or a key ('k') had any
-- message, for searches to pass over the others; account 0 is any. Written by the upkeep, up to the id in meta 'seen'. A stretch is store/keep/seen.STRETCH_MS.
CREATE TABLE seen (
    account_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    ref NOT NULL,
    stretch INTEGER NOT NULL,
    PRIMARY KEY (account_id, kind, ref, stretch)
) WITHOUT ROWID;
INSERT INTO meta VALUES ('seen', 0);
