"""Tests of the check of a domain."""
