"""The commands about who may send, manage and look: account, key, credits, token, member.

Promises what the folder above promises. Knows nothing of mail on its way.
"""
