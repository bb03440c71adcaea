"""What the dashboard asks: search in the log and counts, each in a bounded number of rows.

Promises that no question touches more rows than it says, however much the store holds; where that
is not enough it tells how far it came, and the next question goes on from there. Knows nothing of
pages.
"""
