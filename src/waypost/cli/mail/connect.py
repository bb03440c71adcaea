"""`waypost upstream connect`: a login by token (XOAUTH2) instead of a password.

Promises that the URL for the browser is the only thing of it that is printed, and that a token was
got before anything is saved. Knows nothing of token servers.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from waypost.cli import out
from waypost.cli.base import Call, Command, PasswordFile, account_option, pass_call
from waypost.cli.mail.redirect import Listener, code_in
from waypost.cli.mail.trying import diagnosed, trial_of
from waypost.core.errors import UsageError

WAIT_S = 600.0  # as long as a consent may take
KEY_OCTETS = 65_536
PASTED_CHARACTERS = 16_384
_OPTIONS = (
    click.option("--client-id", default="", metavar="ID", help="Of the registered application."),
    click.option(
        "--client-secret-file", "secret", type=PasswordFile(), help="- is standard input."
    ),
    click.option("--tenant", default="", metavar="NAME", help="Microsoft: the organisation."),
    click.option("--provider", type=click.Choice(["google", "microsoft", "yahoo"]), default=None),
    click.option("--client-credentials", is_flag=True, help="The application's own right."),
    click.option(
        "--service-account", metavar="FILE", default=None, help="Google: the account's JSON key."
    ),
    click.option(
        "--no-browser",
        "--paste",
        "paste",
        is_flag=True,
        help="No browser here: paste the address that the other one ends at.",
    ),
    click.option("--redirect-port", type=int, default=0, metavar="PORT", help="Default: any."),
    click.option("--redirect-uri", default="", metavar="URL", help="As registered; with --paste."),
    click.option("--authorize-url", default="", metavar="URL", help="Instead of the provider's."),
    click.option("--token-url", default="", metavar="URL", help="Instead of the provider's."),
    click.option("--scope", default="", metavar="TEXT", help="Instead of the provider's."),
    click.option("--no-test", is_flag=True, help="Do not try the login afterwards."),
)


def _options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(cls=Command)
@click.argument("name")
@_options
@account_option(help="Its owner; without it, the operator.")
@pass_call
def connect(call: Call, /, name: str, account: str | None, **flags: Any) -> int:
    """Log in by token (XOAUTH2): prints an address, and waits for the consent given there."""
    from waypost.desk.connection import connect as deeds

    _excluded(flags)
    client = deeds.Client(
        client_id=flags["client_id"],
        client_secret=flags["secret"],
        provider=flags["provider"] or "",
        tenant=flags["tenant"],
        authorize_url=flags["authorize_url"],
        token_url=flags["token_url"],
        scope=flags["scope"],
        trusted=True,
    )
    desk = call.desk()
    if flags["service_account"] is not None:
        octets = _read(flags["service_account"])
        view = deeds.by_service_account(desk, name, octets, client, account=account)
    elif flags["client_credentials"]:
        view = deeds.by_client(desk, name, client, account=account)
    else:
        view = _consented(call, name, account, client, flags)
    works = flags["no_test"] or _works(call, name, account)
    if works:
        from waypost.desk import upstreams

        view = upstreams.show(desk, name, account=account)
    call.thing(view)
    return 0 if works else 1


def _excluded(flags: dict[str, Any]) -> None:
    ways = [flags["client_credentials"], flags["service_account"] is not None, flags["paste"]]
    if sum(ways) > 1:
        raise UsageError("--client-credentials, --service-account and --no-browser exclude another")
    if flags["redirect_uri"] and not flags["paste"]:
        raise UsageError("--redirect-uri goes with --no-browser", "redirect_uri")
    if not 0 <= flags["redirect_port"] <= 65_535:
        raise UsageError("a port is from 1 to 65535", "redirect_port")
    of_client = ("secret", "tenant", "provider", "authorize_url", "token_url", "scope")
    said = [name for name in of_client if flags[name]]
    needs = bool(said) or flags["client_credentials"]
    if needs and not flags["client_id"] and flags["service_account"] is None:
        raise UsageError("--client-id is needed: that of the application", "client_id")


def _consented(call: Call, name: str, account: str | None, client: Any, flags: Any) -> Any:
    from waypost.clock import SystemClock
    from waypost.desk import upstreams
    from waypost.desk.connection import connect as deeds
    from waypost.upstream import oauth

    desk = call.desk()
    preset = upstreams.show(desk, name, account=account).preset
    host = "127.0.0.1"
    if client.provider or any(preset in p.presets for p in oauth.PROVIDERS.values()):
        host = oauth.provider_for(preset, client.provider).loopback
    used = client if client.client_id else None
    tell = out.note if call.json else out.line
    if flags["paste"]:
        uri = flags["redirect_uri"] or f"http://{host}:{flags['redirect_port'] or 8_976}"
        begun = deeds.begin(desk, name, uri, used, account=account)
        tell("Open this address in a browser, and consent:")
        tell(begun.url)
        tell(f"The browser then goes to {uri} and may find nothing there.")
        tell("Paste the whole address that it went to:")
        sys.stdout.flush()
        pasted = sys.stdin.readline(PASTED_CHARACTERS)
        code = code_in(pasted, begun.state)
    else:
        listener = Listener(flags["redirect_port"])
        uri = f"http://{host}:{listener.port}"
        begun = deeds.begin(desk, name, uri, used, account=account)
        tell("Open this address in a browser on this machine, and consent:")
        tell(begun.url)
        sys.stdout.flush()
        monotonic = SystemClock().monotonic
        until = monotonic() + WAIT_S
        code = listener.wait(begun.state, lambda: monotonic() < until)
    return deeds.finish(desk, code, begun.state, account=account)


def _works(call: Call, name: str, account: str | None) -> bool:
    """Tries the login; the upstream stays connected, whatever comes of it."""
    from waypost.desk.connection import trial

    tested = trial.test(call.desk(), trial_of(call), name, account=account)
    if not tested.ok:
        if not call.json:
            diagnosed(tested, out.note)
        out.note(f"waypost: connected, but its test fails: {tested.diagnosis}: {tested.title}")
    return tested.ok


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (`-` and such are no concern here)
            octets = file.read(KEY_OCTETS + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "service_account") from error
    if len(octets) > KEY_OCTETS:
        raise UsageError(f"{path} is no service account's key", "service_account")
    return octets
