"""Tests of the store on real files. Knows nothing of sockets and sessions."""
