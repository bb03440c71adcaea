-- Whom a refused submission was to, as far as it had said so: a line an address, up to sqlite/notes.RECIPIENTS_CHARACTERS
-- of them; of lines that are counted together all that came.
ALTER TABLE refusal ADD COLUMN recipients TEXT NOT NULL DEFAULT '';
