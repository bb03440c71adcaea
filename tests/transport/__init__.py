"""Tests of delivery: pure parts as tables, the rest over real sockets on loopback."""
