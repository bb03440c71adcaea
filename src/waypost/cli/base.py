"""What every command shares: the global flags, the place it works on, and its options' types.

Promises that the global flags may stand before or after any command, that a data directory is made
only where its place was told, and that root acts as the data directory's owner. Does not know what
the commands do, and imports the desk only when one asks for it.
"""

from __future__ import annotations

import importlib
import os
import pwd
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from msgspec import UNSET, UnsetType

from waypost.cli import out
from waypost.core.errors import ConfigError, NotFound, Secret, UsageError

if TYPE_CHECKING:
    from waypost.config import Config
    from waypost.desk.office import Desk, Hand

PASSWORD_OCTETS = 4096
_LATER = (
    "concurrent.futures.thread",
    "importlib.readers",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "stringprep",
    "cryptography.exceptions",
    "cryptography.hazmat.primitives.ciphers.aead",
    "waypost.store.migrate",
)
LISTED = 100  # section 11: lists the newest 100 unless told
Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])
if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]  # older versions, which run as well, have no type arguments
else:
    _ParamType = click.ParamType


class Call:
    """One call of `waypost`: what its global flags said, and where it works. `words_say_json`: for
    who cannot wait until all words are read."""

    def __init__(self, words_say_json: bool = False) -> None:
        self.words_say_json = words_say_json
        self.json = False
        self.config_path: Path | None = None
        self.data_path: Path | None = None
        self._config: Config | None = None

    @property
    def config(self) -> Config:
        """Raises `ConfigError`."""
        if self._config is None:
            from waypost import config

            self._config = config.load(self.config_path, self.data_path)
        return self._config

    def desk(self) -> Desk:
        """The desk of this data directory. Raises `NotFound` where there is none, none told."""
        from waypost.clock import SystemClock
        from waypost.desk.office import Desk
        from waypost.desk.secrets import FileSealer

        config, clock = self.config, SystemClock()
        become_owner(config.data)
        desk = Desk(
            data=config.data,
            clock=clock,
            sealer=FileSealer(config.key_file, clock),
            key_file=config.key_file,
            key_prefix=config.key_prefix,
            rate_per_minute=config.limits.rate_per_minute,
            global_sender=config.global_sender,
            body_ms=config.keep.body_ms,
            failed_body_ms=config.keep.failed_body_ms,
            create=config.data_told,
            hand=_hand(),
        )
        if not config.data_told and not desk.exists():
            raise NotFound(no_place(config.data))
        return desk

    def thing(self, view: object, *, leave_out: Sequence[str] = ()) -> None:
        """Prints one thing."""
        if self.json:
            out.json(view)
        else:
            out.facts(view, leave_out=leave_out)

    def things(self, views: Sequence[object], columns: dict[str, str], empty: str) -> None:
        """Prints a list."""
        if self.json:
            out.json(views)
        else:
            out.table(views, columns, empty)


def _hand() -> Hand:
    """The command that runs, for the audit trail: its name and its arguments, never its options
    but the account's.
    """
    from waypost.desk.office import Hand

    context = click.get_current_context()
    deed = context.command_path.partition(" ")[2]
    named = [p.name or "" for p in context.command.params if isinstance(p, click.Argument)]
    given = [str(context.params[name]) for name in named if context.params.get(name)]
    account = context.params.get("account")
    if account is None and deed.split(" ")[0] in ("account", "credits"):
        account = context.params.get("name") or context.params.get("account")
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    subject = "".join(c if c.isprintable() else "?" for c in " ".join(given))
    return Hand(actor=f"{user}, command line", deed=deed, subject=subject[:300], account=account)


def no_place(data: Path) -> str:
    """What to say where no data directory is and nobody named one."""
    near = f"./{data.name}" if data.parent == Path.cwd() else str(data)
    return f"no data directory at {near}: start `waypost serve` or name it with --data"


def become_owner(data: Path) -> None:
    """As root: act as the data directory's owner, so that the relay can use what is written."""
    if os.geteuid() != 0 or not data.is_dir():
        return
    owner = data.stat()
    if owner.st_uid != 0:
        # What is imported later may lie where only root can read.
        for module in _LATER:
            importlib.import_module(module)
        os.setgroups([owner.st_gid])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)


def serve_as_owner(data: Path) -> None:
    """As root: be the data directory's owner from now on, so that no file of the relay is root's.

    Raises `ConfigError` where the owner cannot read this program: it could not go on with it.
    """
    if os.geteuid() != 0 or not data.is_dir():
        return
    owner = data.stat()
    if owner.st_uid == 0:
        return
    os.setgroups([owner.st_gid])
    os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
    os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
    for needed in (os.__file__, __file__):
        if not os.access(needed, os.R_OK):
            raise ConfigError(
                f"the data directory {data} belongs to user {owner.st_uid}, who cannot read"
                f" {needed}: install Waypost where that user can, or own the data directory"
            )


def _kept(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    call: Call = context.ensure_object(Call)
    if parameter.name == "json" and value:
        call.json = True
    elif parameter.name == "config" and value is not None:
        call.config_path = value
    elif parameter.name == "data" and value is not None:
        call.data_path = value


class Place(click.Path):
    """A path that names something: an empty text, as of a variable that is not set, would be the
    working directory."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            self.fail("it is empty: name a path, or leave it out", param, ctx)
        return super().convert(value, param, ctx)


def _globals() -> list[click.Option]:
    place = Place(path_type=Path)
    return [
        click.Option(
            ["--config"],
            type=place,
            expose_value=False,
            callback=_kept,
            metavar="FILE",
            help="The configuration file.",
        ),
        click.Option(
            ["--data"],
            type=place,
            expose_value=False,
            callback=_kept,
            metavar="DIR",
            help="The data directory.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_kept,
            help="Print one JSON value.",
        ),
    ]


class Command(click.Command):
    """A command that takes the global flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_globals())

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise UsageError(_with_flag(self, error), error.field) from error


def _with_flag(command: click.Command, error: UsageError) -> str:
    """What is wrong, with the flag that it was said by: the deeds know fields, not flags."""
    for param in command.params:
        if param.name == error.field and isinstance(param, click.Option):
            flag = str(max(param.opts, key=len))
            return error.public if flag in error.public else f"{flag}: {error.public}"
    return error.public


class Group(click.Group):
    """A noun with its verbs; takes the global flags too."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_globals())


class Number(_ParamType):
    """A whole number from `low` to `high`, or a word that stands for None."""

    name = "number"

    def __init__(self, word: str = "", low: int = 0, high: int | None = None) -> None:
        self._word = word
        self._low = low
        self._high = high

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"N|{self._word}" if self._word else "N"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | None:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # a default
        if self._word and value == self._word:
            return None
        try:
            number = int(value)
        except ValueError:
            number = self._low - 1
        if number < self._low or (self._high is not None and number > self._high):
            least = f" of at least {self._low}" if self._low > -(2**62) else ""
            bounds = least if self._high is None else f" from {self._low} to {self._high}"
            self.fail(f"expected a whole number{bounds}" + (f" or {self._word}" * bool(self._word)))
        return number


class Moment(_ParamType):
    """A time as ISO 8601, in UTC where it names no offset; milliseconds since 1970."""

    name = "time"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "TIME"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            moment = datetime.fromisoformat(value)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return int(aware.timestamp() * 1000)
        except (ValueError, OverflowError):
            self.fail("expected a time such as 2026-05-01 or 2026-05-01T12:00:00Z")


class PasswordFile(_ParamType):
    """A file, or - for standard input, that holds a password; read at once, as whoever calls."""

    name = "password file"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "FILE|-"

    def convert(self, value: Any, param: Any, ctx: Any) -> Secret:
        try:
            if value == "-":
                octets = sys.stdin.buffer.read(PASSWORD_OCTETS + 1)
            else:
                with Path(value).open("rb") as file:
                    octets = file.read(PASSWORD_OCTETS + 1)
            text = octets.decode()
        except OSError as error:
            self.fail(f"{value} cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self.fail(f"{value} does not hold text in UTF-8")
        if text.endswith("\n"):
            text = text[:-1].removesuffix("\r")
        if not text or len(octets) > PASSWORD_OCTETS or "\0" in text:
            self.fail(f"{value} does not hold a password of 1 to {PASSWORD_OCTETS} octets")
        return Secret(text)


def account_option(
    required: bool = False, help: str = "Of this account."
) -> Callable[[Wrapped], Wrapped]:
    return click.option("--account", required=required, metavar="NAME", help=help)


def limit_option() -> Callable[[Wrapped], Wrapped]:
    return click.option(
        "--limit", type=Number(), default=LISTED, show_default=True, help="How many; 0: all."
    )


def unset(value: Any, said: bool) -> Any | UnsetType:
    """The value where it was said, else UNSET."""
    return value if said else UNSET


def said(context: click.Context, name: str) -> bool:
    """Whether an option was given, whatever its value."""
    return context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


pass_call = click.make_pass_decorator(Call, ensure=True)
