"""The care of an installation: what is checked of it, and what to do where something is wrong.

Knows nothing of how findings are shown.
"""
