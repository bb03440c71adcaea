"""The listening sockets of a relay: bound first, so that a taken port stops the start.

Promises one clear line where an address cannot be had. Knows nothing of what is served on them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence

import msgspec

from waypost.config import Config, Listen
from waypost.core.errors import ConfigError
from waypost.values import PORT_MAX, Endpoint

BACKLOG = 512


class Sockets(msgspec.Struct):
    """What a relay, or one of its workers, listens on."""

    submission: list[socket.socket]
    submissions: list[socket.socket]
    http: list[socket.socket]
    https: list[socket.socket]
    metrics: list[socket.socket]

    def close(self) -> None:
        for kind in self.__struct_fields__:
            for bound in getattr(self, kind):
                bound.close()


def bind(config: Config, *, shared: bool = False) -> Sockets:
    """Binds all listeners; `shared`: other sockets of ours may have the same addresses, and the
    kernel spreads connections over them. `ConfigError` names the address and what to do."""
    sockets = Sockets([], [], [], [], [])
    try:
        for kind in Sockets.__struct_fields__:
            for endpoint in getattr(config.listen, kind):
                getattr(sockets, kind).append(_bound(endpoint, f"listen.{kind}", shared))
    except ConfigError:
        sockets.close()
        raise
    return sockets


def bind_each(config: Config, workers: int) -> list[Sockets]:
    """The listeners of each of several workers; first it is seen that nobody else has them.

    Each worker tells its own metrics: the first at the port that is set, the others at those that
    follow it, since a scrape must know whom it asks.
    """
    alone = bind(config)
    taken = {
        kind: tuple(
            msgspec.structs.replace(endpoint, port=bound.getsockname()[1])
            for endpoint, bound in zip(
                getattr(config.listen, kind), getattr(alone, kind), strict=True
            )
        )
        for kind in Sockets.__struct_fields__
    }
    alone.close()
    listen = msgspec.structs.replace(config.listen, **taken)
    config = msgspec.structs.replace(config, listen=listen)
    room_for_metrics(listen, workers)
    return [bind(_of_worker(config, number), shared=True) for number in range(workers)]


def room_for_metrics(listen: Listen, workers: int) -> None:
    """Raises `ConfigError` where a worker's metrics would be at a port that is another's: the
    kernel would spread connections over both."""
    taken = [
        endpoint.port for kind in Sockets.__struct_fields__ for endpoint in getattr(listen, kind)
    ]
    for number in range(1, workers):
        for endpoint in listen.metrics:
            port = endpoint.port + number
            if port > PORT_MAX or port in taken:
                raise ConfigError(
                    f"listen.metrics: worker {number} would tell its metrics at port {port}, which"
                    f" is {'another' if port in taken else 'no'} listener's: set another port"
                )
            taken.append(port)


def _of_worker(config: Config, number: int) -> Config:
    metrics = tuple(
        msgspec.structs.replace(endpoint, port=endpoint.port + number)
        for endpoint in config.listen.metrics
    )
    listen = msgspec.structs.replace(config.listen, metrics=metrics)
    return msgspec.structs.replace(config, listen=listen)


def _bound(endpoint: Endpoint, setting: str, shared: bool) -> socket.socket:
    family = socket.AF_INET if endpoint.host and ":" not in endpoint.host else socket.AF_INET6
    host = endpoint.host or "::"
    try:
        bound = socket.create_server(
            (host, endpoint.port),
            family=family,
            backlog=BACKLOG,
            reuse_port=shared,
            dualstack_ipv6=not endpoint.host and socket.has_dualstack_ipv6(),
        )
    except socket.gaierror as error:
        raise ConfigError(f"{setting}: {endpoint} is no address of this machine") from error
    except OSError as error:
        raise ConfigError(f"{setting}: {endpoint} {_why_not_bound(error)}") from error
    bound.setblocking(False)
    return bound


def _why_not_bound(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "is taken by another program: stop that one, or set another port"
        case errno.EACCES:
            return "may not be bound: ports below 1024 need the right CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return "is no address of this machine"
    return f"cannot be bound: {error.strerror}"


def places(sockets: Sockets) -> dict[str, Sequence[str]]:
    """What these listen on, by kind, as `host:port`."""
    return {
        "submission (STARTTLS)": _names(sockets.submission),
        "submissions (TLS)": _names(sockets.submissions),
        "http": _names(sockets.http),
        **({"https": _names(sockets.https)} if sockets.https else {}),
        **({"metrics": _names(sockets.metrics)} if sockets.metrics else {}),
    }


def _names(sockets: Sequence[socket.socket]) -> list[str]:
    names = []
    for bound in sockets:
        host, port = bound.getsockname()[:2]
        names.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return names


def pages_at(config: Config, names: Mapping[str, Sequence[str]] | None = None) -> str:
    """Where the dashboard is, as a browser on this machine or behind its name asks for it; nothing
    where no pages are served. `names`: what `places` gave, for ports that the system chose.
    """
    for scheme, endpoints in (("https", config.listen.https), ("http", config.listen.http)):
        if not endpoints:
            continue
        host, port = endpoints[0].host, endpoints[0].port
        if names is not None and names.get(scheme):
            port = int(names[scheme][0].rpartition(":")[2])
        if scheme == "https" or host in ("", "::", "0.0.0.0"):
            host = config.hostname
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return ""
