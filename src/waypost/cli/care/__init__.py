"""The commands that look after an installation: audit, doctor, backup, restore, secrets.

Promises what the folder above promises. Knows nothing of how mail is judged and delivered.
"""
