"""What waits in memory and what is on its way to the store: order, pace, outcomes.

Promises that accounts go in turn, that no pace is exceeded, and that an outcome is offered to the
store until it is kept. Knows nothing of connections or of what answers mean.
"""
