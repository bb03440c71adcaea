"""What is known of other people's SMTP servers: settings, presets, and the sealing of secrets.

Pure: takes values and returns values. Settings are whole and checked, or a `UsageError` names the
field; a sealed secret opens only in the row it was sealed for. Knows nothing of sockets, files, the
store, or the accounts that own an upstream.
"""
