"""The commands about who may send: account, key, credits.

Promises what the folder above promises. Knows nothing of mail on its way.
"""
