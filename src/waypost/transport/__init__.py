"""4. It is delivered: committed mail goes to the upstream of its sender, and outcomes are recorded.

Promises that every try ends in one recorded outcome a recipient, that a sick upstream costs one
probe at a time, and that no account waits behind another's backlog. Knows nothing of how a message
came in and changes none of its octets.
"""
