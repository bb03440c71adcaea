"""Real clients and servers for the stories: processes and threads on loopback that end with it.

Promises free ports, directories under the test's own, and a clear reason where a program is
missing. Knows nothing of Waypost's insides: only its command line, its ports and its configuration.
"""
