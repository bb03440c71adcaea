-- What the daily check of the domains in use found, by domain and upstream. Written by that check alone.
CREATE TABLE domain_check (
    upstream_id INTEGER NOT NULL,
    domain TEXT NOT NULL,
    checked_at INTEGER NOT NULL,
    status TEXT NOT NULL,                        -- ok, warning, error: the worst that is known
    findings BLOB NOT NULL,                      -- JSON: [{check, status, found, since_ms}, …]
    PRIMARY KEY (upstream_id, domain)
) WITHOUT ROWID;
