"""The rules: a submission and the facts go in, a verdict comes out, with the head as it is to go
out.

Promises to work on octets, to change only what section 3 of the contract lists, to take linear time
over bounded input, and to raise nothing of its own for any message. Knows nothing of sockets,
stores, clocks, configuration files, SMTP sessions or HTTP.
"""
