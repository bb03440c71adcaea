"""The configuration: one TOML file and the environment, read once into one tree of frozen structs.

Promises that every value is of its type and in its range, that paths are absolute, and that units
stand in the names. Anything else is a `ConfigError` that names the place (file or variable, and
setting), what was expected and the nearest known name. Does not know who uses a value, and opens no
file but its own.
"""

from __future__ import annotations

import enum
import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from waypost import values
from waypost.core.address import Address
from waypost.core.errors import ConfigError, Secret
from waypost.values import UNITS_MS, Endpoint

PREFIX = "WAYPOST_"
NOT_OVERRIDES = frozenset(
    {
        *("WAYPOST_CONFIG", "WAYPOST_DATA", "WAYPOST_KEY_FILE"),
        *("WAYPOST_VENV", "WAYPOST_PYTHON"),  # of scripts/environment, which may be exported
    }
)
PLACES = ("waypost.toml", "/etc/waypost/waypost.toml")
DATA = "waypost-data"

RETRY_LOW_MS = 100
# Message ids hold 8 bits of worker; more processes than cores gain nothing.
WORKERS_MOST = 64
MIB_BYTES = 1 << 20


class Received(enum.StrEnum):
    """What the Received field of an accepted message tells of the client."""

    FULL = "full"
    PRIVATE = "private"


class BareNewline(enum.StrEnum):
    """What becomes of a CR or LF that stands alone in a message."""

    MEND = "mend"
    REFUSE = "refuse"


class Listen(msgspec.Struct, frozen=True):
    """The listeners; `trusted_proxies` are networks whose X-Forwarded-For counts."""

    submission: tuple[Endpoint, ...] = (Endpoint("127.0.0.1", 2587),)
    submissions: tuple[Endpoint, ...] = (Endpoint("127.0.0.1", 2465),)
    http: tuple[Endpoint, ...] = (Endpoint("127.0.0.1", 8025),)
    https: tuple[Endpoint, ...] = ()
    metrics: tuple[Endpoint, ...] = ()
    trusted_proxies: tuple[str, ...] = ()


class Tls(msgspec.Struct, frozen=True):
    """PEM files. No certificate: one is made. No key: it is in the file of the certificate."""

    certificate: Path | None = None
    key: Path | None = None


class Limits(msgspec.Struct, frozen=True):
    """Section 5 of the contract; rate 0 is none; sessions are of all workers together."""

    rate_per_minute: int = 120
    recipients: int = 100
    message_bytes: int = 31_457_280
    body_bytes: int = 10_485_760
    sessions: int = 2000
    sessions_per_address: int = 200
    memory_bytes: int = 268_435_456


_DAY_MS = UNITS_MS["d"]


class Queue(msgspec.Struct, frozen=True):
    """When mail is tried again (the last wait repeats) and given up; `resubmission_ms` 0 is off."""

    retry_ms: tuple[int, ...] = tuple(m * 60_000 for m in (1, 5, 15, 30, 60, 120, 240))
    give_up_after_ms: int = 3 * _DAY_MS
    hold_max_ms: int = 7 * _DAY_MS
    resubmission_ms: int = _DAY_MS


class Keep(msgspec.Struct, frozen=True):
    """How long after its end a thing is kept; 0 is not at all."""

    body_ms: int = 0
    failed_body_ms: int = 7 * _DAY_MS
    log_ms: int = 30 * _DAY_MS
    refusals_ms: int = 30 * _DAY_MS


class Upstreams(msgspec.Struct, frozen=True):
    """What tenants' upstreams may point at beside public addresses, and at which ports."""

    allow_networks: tuple[str, ...] = ()
    ports: tuple[int, ...] = (25, 465, 587, 2465, 2525, 2587)


class Dns(msgspec.Struct, frozen=True):
    """Whom to ask; none: the resolvers of this machine. `watch`: whether the domains in use are
    checked, each once in `watch_every_ms`."""

    servers: tuple[Endpoint, ...] = ()
    watch: bool = True
    watch_every_ms: int = _DAY_MS


class Alerts(msgspec.Struct, frozen=True):
    """Where alerts are posted (empty: nowhere), and what signs them (None: it is made and kept in
    the data directory). An account with `credits` left or fewer is told of."""

    url: str = ""
    secret: Secret | None = None
    credits: int = 100


class Secrets(msgspec.Struct, frozen=True):
    """Where the sealing keys are; None: in the data directory."""

    key_file: Path | None = None


class Config(msgspec.Struct, frozen=True):
    """Everything that was set. `data_told`: the data directory was named, so it may be created."""

    data: Path
    data_told: bool
    source: Path | None
    hostname: str
    workers: int = 1
    key_prefix: str = "hyd-mail-"
    global_sender: Address | None = None
    inline_wait_s: float = 4.0
    received: Received = Received.FULL
    bare_newline: BareNewline = BareNewline.MEND
    listen: Listen = Listen()
    tls: Tls = Tls()
    limits: Limits = Limits()
    queue: Queue = Queue()
    keep: Keep = Keep()
    upstreams: Upstreams = Upstreams()
    dns: Dns = Dns()
    alerts: Alerts = Alerts()
    secrets: Secrets = Secrets()

    @property
    def key_file(self) -> Path:
        return self.secrets.key_file or self.data / "sealing.keys"


class _Setting(NamedTuple):
    """A known name: the struct field it fills, how it is read, and what a variable's text is."""

    field: str
    read: values.Read
    kind: str = "text"  # "whole", "number", "truth", "list", "wholes", "secret"


_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123 2.1
_NAME = rf"(?=.{{1,255}}\Z){_LABEL}(?:\.{_LABEL})*"
_LISTENERS = ("submission", "submissions", "http", "https", "metrics")

_SETTINGS: dict[str, _Setting] = {
    "data": _Setting("data", values.path),
    "hostname": _Setting("hostname", values.text(rf"(?:{_NAME})?", "a host name")),
    "workers": _Setting("workers", values.whole(1, WORKERS_MOST), "whole"),
    "key_prefix": _Setting(
        "key_prefix",
        values.text(r"[A-Za-z0-9_.-]{0,32}", "up to 32 letters, digits, dots, - and _"),
    ),
    "global_sender": _Setting("global_sender", values.address),
    "inline_wait": _Setting("inline_wait_s", values.number(0, 300), "number"),
    "received": _Setting("received", values.choice(Received)),
    "bare_newline": _Setting("bare_newline", values.choice(BareNewline)),
    **{f"listen.{n}": _Setting(n, values.several(values.endpoint), "list") for n in _LISTENERS},
    "listen.trusted_proxies": _Setting("trusted_proxies", values.several(values.network), "list"),
    "tls.certificate": _Setting("certificate", values.path),
    "tls.key": _Setting("key", values.path),
    "limits.rate_per_minute": _Setting("rate_per_minute", values.whole(0, 1_000_000), "whole"),
    "limits.recipients": _Setting(
        "recipients", values.whole(1, 1000), "whole"
    ),  # RCPT stops at 1,000
    "limits.message_bytes": _Setting(
        "message_bytes", values.whole(1024, 1024 * MIB_BYTES), "whole"
    ),
    "limits.body_bytes": _Setting("body_bytes", values.whole(1024, 1024 * MIB_BYTES), "whole"),
    "limits.sessions": _Setting("sessions", values.whole(1, 1_000_000), "whole"),
    "limits.sessions_per_address": _Setting(
        "sessions_per_address", values.whole(1, 1_000_000), "whole"
    ),
    "limits.memory_bytes": _Setting("memory_bytes", values.whole(MIB_BYTES, 1 << 40), "whole"),
    "queue.retry": _Setting(
        "retry_ms", values.several(values.duration(RETRY_LOW_MS), at_least=1), "list"
    ),
    "queue.give_up_after": _Setting("give_up_after_ms", values.duration(1000)),
    "queue.hold_max": _Setting("hold_max_ms", values.duration(1000)),
    "queue.resubmission": _Setting("resubmission_ms", values.duration(0)),
    "keep.body": _Setting("body_ms", values.duration(0)),
    "keep.failed_body": _Setting("failed_body_ms", values.duration(0)),
    "keep.log": _Setting("log_ms", values.duration(0)),
    "keep.refusals": _Setting("refusals_ms", values.duration(0)),
    "upstreams.allow_networks": _Setting("allow_networks", values.several(values.network), "list"),
    "upstreams.ports": _Setting("ports", values.several(values.whole(1, 65535)), "wholes"),
    "dns.servers": _Setting("servers", values.several(values.name_server), "list"),
    "dns.watch": _Setting("watch", values.yes_or_no, "truth"),
    "dns.watch_every": _Setting("watch_every_ms", values.duration(1_000)),
    "alerts.url": _Setting("url", values.web_address),
    "alerts.secret": _Setting("secret", values.signing_secret, "secret"),
    "alerts.credits": _Setting("credits", values.whole(0, 1_000_000_000), "whole"),
    "secrets.key_file": _Setting("key_file", values.path),
}

RELOADED = frozenset(
    {
        # what `App.reload` takes over
        *("inline_wait", "received", "bare_newline", "global_sender"),
        *(name for name in _SETTINGS if name.startswith(("limits.", "queue.", "keep.", "alerts."))),
    }
)

_SECTIONS: dict[str, type[msgspec.Struct]] = {
    "listen": Listen,
    "tls": Tls,
    "limits": Limits,
    "queue": Queue,
    "keep": Keep,
    "upstreams": Upstreams,
    "dns": Dns,
    "alerts": Alerts,
    "secrets": Secrets,
}


def load(
    path: Path | None = None,
    data: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Config:
    """The configuration of this start; `path` and `data` are the flags. Raises `ConfigError`.

    The file is the first there is of `path`, WAYPOST_CONFIG (these two must exist), ./waypost.toml
    and /etc/waypost/waypost.toml. The data directory is `data`, WAYPOST_DATA, the file's, or
    waypost-data beside the file (in `cwd` where there is none).
    """
    here = Path.cwd() if cwd is None else cwd
    source = _source(path, environ.get("WAYPOST_CONFIG", ""), here)
    found: dict[str, Any] = {}
    folder = here
    if source is not None:
        folder = source.parent
        for name, value in _pairs(_parsed(source), source):
            found[name] = _read(name, value, folder, f"{source}: {name}")
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable not in NOT_OVERRIDES:
            name = _named(variable)
            found[name] = _read(name, _typed(name, text), here, variable)
    told = data or environ.get("WAYPOST_DATA")
    if told:
        place = "WAYPOST_DATA" if data is None else "--data"
        found["data"] = _read("data", str(told), here, place)
    return _built(found, source, folder)


def default(data: Path, **changes: Any) -> Config:
    """All defaults, with the fields of `Config` that are named."""
    parts: dict[str, Any] = {"data_told": True, "source": None, "hostname": _host()}
    parts.update(changes)
    return Config(data=data, **parts)


def needs_restart(started: Config, now: Config) -> list[str]:
    """The settings that are other than at the start and that no reload takes over."""
    return [
        name
        for name, setting in _SETTINGS.items()
        if name not in RELOADED and _value(started, name, setting) != _value(now, name, setting)
    ]


def _value(config: Config, name: str, setting: _Setting) -> object:
    section, dot, _ = name.partition(".")
    return getattr(getattr(config, section) if dot else config, setting.field)


def names() -> Iterable[str]:
    """Every setting, as `section.name`."""
    return _SETTINGS.keys()


def _built(found: dict[str, Any], source: Path | None, folder: Path) -> Config:
    parts: dict[str, Any] = {section: {} for section in _SECTIONS}
    for name, value in found.items():
        section, dot, _ = name.partition(".")
        (parts[section] if dot else parts)[_SETTINGS[name].field] = value
    for section, kind in _SECTIONS.items():
        parts[section] = kind(**parts[section])
    told = parts.get("data") is not None
    parts["data"] = parts.get("data") or folder / DATA
    parts["hostname"] = parts.get("hostname") or _host()
    where = source or "the environment"
    if parts["tls"].key and not parts["tls"].certificate:
        raise ConfigError(f"{where}: tls.key is set without tls.certificate: name both, or neither")
    _distinct(parts["listen"], where)
    return Config(data_told=told, source=source, **parts)


def _distinct(listen: Listen, where: Path | str) -> None:
    seen: dict[Endpoint, str] = {}
    for name in _LISTENERS:
        for endpoint in getattr(listen, name):
            if endpoint.port and endpoint in seen:
                raise ConfigError(
                    f"{where}: listen.{name}: {endpoint} is also in listen.{seen[endpoint]}"
                )
            seen[endpoint] = name


def _source(flag: Path | None, variable: str, here: Path) -> Path | None:
    for named, place in (
        (flag, "--config"),
        (Path(variable) if variable else None, "WAYPOST_CONFIG"),
    ):
        if named is not None:
            full: Path | None = _read("data", str(named), here, place)
            if full is None or not full.is_file():
                raise ConfigError(f"{place}: there is no file {full}")
            return full
    return next((here / place for place in PLACES if (here / place).is_file()), None)


def _parsed(source: Path) -> dict[str, object]:
    try:
        return tomllib.loads(source.read_text("utf-8-sig"))  # some editors begin with a BOM
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{source}: is not TOML: {error}") from error


def _pairs(table: Mapping[str, object], source: Path) -> Iterable[tuple[str, object]]:
    for key, value in table.items():
        if key in _SECTIONS:
            if not isinstance(value, dict):
                raise ConfigError(
                    f"{source}: {key}: expected a table [{key}], found {values.shown(value)}"
                )
            for inner, setting in value.items():
                yield _known(f"{key}.{inner}", f"{source}: unknown setting {key}.{inner}"), setting
        else:
            # A quoted "listen.http" is one odd name in TOML, not a setting of [listen].
            name = key.replace(".", "/")
            yield _known(name, f"{source}: unknown setting {key}"), value


def _named(variable: str) -> str:
    name = variable.removeprefix(PREFIX).replace("__", ".")
    # A slash is in no name: variables are in capitals.
    plain = name.lower() if name.isupper() else f"/{name}"
    return _known(plain, f"unknown variable {variable}")


def _known(name: str, problem: str) -> str:
    if name in _SETTINGS:
        return name
    import difflib  # 5 ms that only this failing start pays

    last = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, _SETTINGS, 1, 0.6) or [
        known for known in _SETTINGS if known.rpartition(".")[2] == last
    ]
    variable = problem.startswith("unknown variable")
    named = [*_SETTINGS] if variable else [*_SETTINGS, *_SECTIONS]
    near = near or difflib.get_close_matches(name, named, 1, 0.0)
    if near and variable:
        near = [PREFIX + near[0].upper().replace(".", "__")]
    raise ConfigError(problem + (f"; the nearest known name is {near[0]}" if near else ""))


def _typed(name: str, text: str) -> object:
    """The value that TOML would have given for a variable's text."""
    kind = _SETTINGS[name].kind
    try:
        if kind == "whole":
            return int(text)
        if kind == "number":
            return float(text)
        if kind == "truth":
            return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
        items = [item.strip() for item in text.split(",") if item.strip()]
        if kind == "wholes":
            return [int(item) for item in items]
    except ValueError:
        return text
    return items if kind == "list" else text


def _read(name: str, value: object, folder: Path, place: str) -> Any:
    try:
        return _SETTINGS[name].read(value, folder)
    except values.Wrong as wrong:
        found = "another" if _SETTINGS[name].kind == "secret" else values.shown(value)
        raise ConfigError(f"{place}: expected {wrong}, found {found}") from None


def _host() -> str:
    """The machine's name, as it calls itself: asking DNS for a longer one could take seconds."""
    name = socket.gethostname()
    return name if re.fullmatch(_NAME, name) else "localhost"
