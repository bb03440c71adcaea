"""The store on SQLite: the promises of store/contract.py kept with one file, group commit and
claims.

Knows nothing of SMTP, HTTP, retry schedules or what a reply means.
"""
