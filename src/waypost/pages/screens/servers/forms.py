"""The form of an SMTP integration, read: what was typed becomes what the desk takes.

A field left empty was not said. Knows nothing of what is valid: the desk says that.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET, UnsetType

from waypost.core.errors import Secret, UsageError
from waypost.desk.connection.edits import Fields
from waypost.upstream.settings import Form


def fields_of(form: Mapping[str, str], *, new: bool) -> Fields:
    """The fields. An empty cap is the preset's of a new one, and none of one that is there; of one
    that is there a user name taken out, with no password, takes the login away.
    """
    cap: int | UnsetType | None = _number(form, "daily_cap")
    if cap is UNSET and not new and "daily_cap" in form:
        cap = None
    password = form.get("password", "")
    bare = not new and not form.get("username", "-").strip() and not password
    sender = form.get("sender", "").strip()
    return Fields(
        form=Form(
            host=_text(form, "host"),
            port=_number(form, "port"),
            encryption=_text(form, "encryption"),
            username=_text(form, "username"),
            validate=_text(form, "validate"),
            preset=_text(form, "preset"),
            daily_cap=cap,
            connections=_number(form, "connections"),
            per_connection=_number(form, "per_connection"),
            per_minute=_number(form, "per_minute"),
            recipients=_number(form, "recipients"),
        ),
        password=Secret(password) if password else None if bare else UNSET,
        login=_text(form, "login"),
        sender=sender or UNSET,
        from_name=form.get("from_name", "").strip(),
    )


def number_of(text: str, field: str) -> int:
    """A whole number. Raises `UsageError`."""
    plain = text.replace(",", "").replace(" ", "")
    if not (plain.isascii() and plain.isdecimal() and len(plain) <= 12):
        raise UsageError(f"{field.replace('_', ' ')} is a whole number", field)
    return int(plain)


def _text(form: Mapping[str, str], name: str) -> str | UnsetType:
    return form.get(name, "").strip() or UNSET


def _number(form: Mapping[str, str], name: str) -> int | UnsetType:
    text = form.get(name, "").strip()
    return number_of(text, name) if text else UNSET
