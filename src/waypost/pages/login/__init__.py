"""Coming in: the first run, login, second factor, links, logout.

Knows nothing of the screens behind them.
"""
