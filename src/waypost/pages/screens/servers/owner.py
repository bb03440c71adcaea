"""Whose thing a request is about: the account that is looked at, or the one that an operator names.

A member can name no account but the one looked at. Knows nothing of the things.
"""

from __future__ import annotations

from waypost.pages.frame.ask import Ask


def owner_of(ask: Ask) -> str | None:
    """The owner to hand to a deed; None is the operator."""
    if ask.account is not None:
        return ask.account
    return ask.form.get("account") or ask.query.get("account") or None
