"""`waypost sendmail`: the sendmail that programs call, without a data directory.

Promises sendmail's usual flags and exit codes, and that a letter which the relay cannot take now
is kept in the caller's drop before the call ends with 0; the next call, or `-q`, hands it over.
Knows nothing of the store.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from waypost import config as configuration
from waypost.cli import out
from waypost.cli.base import Call, pass_call
from waypost.cli.relay.local import flags
from waypost.cli.relay.local import letter as letters
from waypost.cli.relay.local.drop import Drop, Held, Kept
from waypost.cli.relay.local.flags import Ended, Exit, Mode, Said
from waypost.cli.relay.local.link import Away, Link, Outcome
from waypost.clock import Clock, SystemClock
from waypost.config import Config
from waypost.core.errors import AddressError, ConfigError, Secret

KEY_OCTETS = 4096
DROP = ".local/state/waypost/drop"
KEY = ".config/waypost/key"
BESIDE_S = 10.0  # how long a call that has its own letter works on those of others
USAGE = """\
Usage: waypost sendmail [FLAGS] [RECIPIENT]...

Hand the message on standard input to the relay, as sendmail does.

  -t            recipients are those of To, Cc and Bcc too
  -i, -oi       a line that is a lone dot does not end the message
  -f ADDRESS    the sender; -F NAME its name, where the message has no From
  -bs           speak SMTP on standard input and output
  -q            hand over what is kept in ~/.local/state/waypost/drop
  -v            say what the relay answered

The key is in the file that WAYPOST_KEY_FILE names, or in ~/.config/waypost/key. Flags of sendmail
that change nothing here are accepted. Exit codes are those of sysexits.h.
"""


class Raw(click.Command):
    """A command whose flags are not read as those of the others."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["arguments"] = tuple(args)
        return []


@click.command(cls=Raw, add_help_option=False)
@pass_call
def sendmail(call: Call, arguments: tuple[str, ...]) -> int:
    """Hand a message to the relay, as sendmail does."""
    try:
        said = flags.read(arguments)
        if said.mode is Mode.HELP:
            sys.stdout.write(USAGE)
            return Exit.OK
        return Sendmail(call.config_path, SystemClock()).run(said)
    except Ended as ended:
        _note(ended.text)
        return ended.code


class Sendmail:
    """One call. `config_path` is what --config said."""

    def __init__(self, config_path: Path | None, clock: Clock) -> None:
        told = config_path or os.environ.get("WAYPOST_CONFIG")
        self._config_path = str(Path(told).absolute()) if told else ""
        self._clock = clock
        self._drop = Drop(_home(DROP), clock)
        self._links: dict[tuple[str, str], Link | Ended | Away] = {}

    def run(self, said: Said) -> int:
        """The exit code. Raises `Ended`."""
        try:
            if said.mode is Mode.QUEUE:
                return self._hand_over(None)
            key_path = _key_path()
            if said.mode is Mode.SESSION:
                return self._session(key_path)
            return self._message(said, key_path)
        finally:
            for link in self._links.values():
                if isinstance(link, Link):
                    link.close()

    def _message(self, said: Said, key_path: str) -> int:
        config = _config(self._config_path)
        _key(key_path)  # before anything is read: a caller without one is told so
        octets = letters.read(sys.stdin.buffer, said.dots, config.limits.message_bytes)
        letter = letters.written(octets, said, config.hostname, self._clock)
        try:
            outcome = self._link(key_path, self._config_path).deliver(letter)
        except Away as away:
            outcome = Outcome(left=letter.recipients, why=str(away))
        if outcome.left:
            kept = Kept(
                key_path,
                self._config_path,
                str(letter.sender or ""),
                tuple(map(str, outcome.left)),
            )
            self._keep(kept, letter.octets, outcome.why)
        if said.verbose and outcome.answer:
            _note(outcome.answer)
        if outcome.refused:
            _note(outcome.said)
        if not outcome.left:
            self._hand_over(self._clock.monotonic() + BESIDE_S)
        return outcome.code

    def _keep(self, kept: Kept, octets: bytes, why: str) -> None:
        try:
            self._drop.keep(kept, octets)
        except OSError as error:
            text = f"{why}; and the message cannot be kept: {error.strerror or error}"
            raise Ended(Exit.TEMPORARY, text) from error
        _note(f"{why}: the message is kept, the next call or -q sends it")

    def _session(self, key_path: str) -> int:
        try:
            self._link(key_path, self._config_path).proxy(sys.stdin.fileno(), sys.stdout.fileno())
        except Away as away:
            os.write(sys.stdout.fileno(), b"421 4.3.2 The relay is away, try again later\r\n")
            raise Ended(Exit.TEMPORARY, str(away)) from away
        return Exit.OK

    def _hand_over(self, until_s: float | None) -> int:
        """Sends what is kept, oldest first; the code of the worst that happened."""
        code = Exit.OK
        try:
            for name in self._drop.names():
                if until_s is not None and self._clock.monotonic() >= until_s:
                    break
                code = max(code, self._hand_over_one(name))
        except OSError as error:
            raise Ended(Exit.TEMPORARY, f"the drop: {error.strerror or error}") from error
        return code

    def _hand_over_one(self, name: str) -> Exit:
        try:
            held = self._drop.take(name)
        except msgspec.DecodeError:
            _note(f"{name} in the drop cannot be read: look at it, and take it away")
            return Exit.DATA
        if held is None:
            return Exit.OK
        try:
            outcome = self._link(held.kept.key, held.kept.config).deliver(held.letter)
            return _settled(name, held, outcome)
        except AddressError as error:
            _note(f"{name} in the drop: {error.public}")
            return Exit.DATA
        except Away as away:
            _note(f"{name} stays in the drop: {away}")
            return Exit.TEMPORARY
        except Ended as ended:
            _note(f"{name} stays in the drop: {ended.text}")
            return ended.code
        finally:
            held.close()

    def _link(self, key_path: str, config_path: str) -> Link:
        """A link of this call, opened once; what kept it from opening keeps all that want it."""
        place = key_path, config_path
        if place not in self._links:
            try:
                self._links[place] = Link(_config(config_path), _key(key_path))
            except (Ended, Away) as error:
                self._links[place] = error
        link = self._links[place]
        if isinstance(link, Link):
            return link
        raise link


def _settled(name: str, held: Held, outcome: Outcome) -> Exit:
    if outcome.refused:
        held.refuse(tuple(map(str, outcome.refused)))
        _note(f"{name} in the drop was refused: {outcome.said}")
    left = tuple(map(str, outcome.left))
    if not left:
        held.remove()
        return outcome.code
    if left != held.kept.recipients:
        held.shorten(left)
    _note(f"{name} stays in the drop: {outcome.why}")
    return max(outcome.code, Exit.TEMPORARY)


def _config(path: str) -> Config:
    try:
        return configuration.load(Path(path) if path else None)
    except ConfigError as error:
        raise Ended(Exit.CONFIG, error.public) from error


def _home(name: str) -> Path:
    try:
        return Path.home() / name
    except RuntimeError as error:
        raise Ended(Exit.CONFIG, "this user has no home folder: set HOME") from error


def _key_path() -> str:
    told = os.environ.get("WAYPOST_KEY_FILE")
    return str(Path(told).absolute() if told else _home(KEY))


def _key(path: str) -> Secret:
    try:
        with Path(path).open("rb") as file:
            octets = file.read(KEY_OCTETS + 1)
    except PermissionError as error:
        raise Ended(Exit.NO_PERMISSION, f"the key file {path} may not be read") from error
    except OSError as error:
        text = f"no key at {path} ({error.strerror}): put one there, or set WAYPOST_KEY_FILE"
        raise Ended(Exit.CONFIG, text) from error
    text = octets.decode("ascii", "replace").strip()
    if not text or len(octets) > KEY_OCTETS or not text.isascii() or not text.isprintable():
        raise Ended(Exit.CONFIG, f"{path} does not hold a key")
    return Secret(text)


def _note(text: str) -> None:
    out.note(f"sendmail: {text}")
