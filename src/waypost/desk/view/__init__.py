"""What the dashboard shows of mail, made from bounded questions to the store.

Promises that no deed here touches more than some two hundred rows, however much the store holds.
Changes nothing. Knows nothing of HTML.
"""
