"""What is in the store, for those who ask: people, mailboxes, the log, the queue, and whether it
adds up.

Every question is one short read of a snapshot, by range and with a limit. Changes nothing. Knows
nothing of delivery, of the running relay's memory, or of how things are shown.
"""
