"""What every screen stands in: who asks, templates, static files, guards and headers.

Knows nothing of what the screens show.
"""
