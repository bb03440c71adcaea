"""The checks of files, store, certificate and machine, each a list of findings.

Promises to change nothing on the machine but a probe file in the data directory, which is taken
away at once. Knows nothing of how findings are shown.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import tempfile
from collections.abc import Generator, Iterator

from waypost.config import Config
from waypost.core.errors import ConfigError, StoreAway, WaypostError
from waypost.desk import office, upstreams
from waypost.desk.care.finding import Finding, State
from waypost.desk.office import Desk
from waypost.intake import bounds
from waypost.intake.certificate import CERTIFICATE_FILE, KEY_FILE, Certificate
from waypost.store.keep.check import quick_check
from waypost.upstream.seal import SealError

PRIVATE = 0o077  # bits that others must not have
DAY_MS = 86_400_000
CERTIFICATE_WARNING_DAYS = 14  # ACME clients renew a month before the end
CLOCK_EARLIEST_MS = 1_767_225_600_000  # 2026-01-01: this program is younger
CLOCK_SLACK_MS = 120_000  # what file systems and a clock being set may differ by
DISK_WARNING_FACTOR = 4  # of what stops the mail
DESCRIPTORS_BESIDE_SESSIONS = 200  # store, spool, listeners, upstream connections


def data(config: Config) -> Iterator[Finding]:
    """The data directory: its mode, its owner, and whether it can be written."""
    seen = config.data.stat()
    if seen.st_mode & PRIVATE:
        yield Finding.of(
            "data",
            State.WARNING,
            f"others may enter {config.data} (mode {stat.S_IMODE(seen.st_mode):o})",
            f"chmod 700 {config.data}",
        )
        return
    try:
        with tempfile.TemporaryFile(dir=config.data) as probe:
            probe.write(b"waypost")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        mend = "run as its owner, or give it to the relay's user with chown"
        if error.errno == errno.EROFS:
            mend = (
                "mount its file system writable (one that turned read-only by itself has damage:"
                " see the kernel's log, check it with fsck); a relay that runs goes on by itself"
            )
        found = f"{config.data} cannot be written: {error.strerror}"
        yield Finding.of("data", State.ERROR, found, mend)
        return
    yield Finding.of("data", State.OK, str(config.data))


def disk(config: Config) -> Iterator[Finding]:
    """Room for mail."""
    free, total = bounds.free_octets(config.data)
    least = min(bounds.DISK_FREE_BYTES, total // bounds.DISK_FREE_PART)
    found = f"{free >> 20} MiB free of {total >> 20} MiB; mail stops below {least >> 20} MiB"
    if free < least:
        yield Finding.of("disk", State.ERROR, found, "make room: new mail is answered 452 now")
    elif free < least * DISK_WARNING_FACTOR:
        yield Finding.of("disk", State.WARNING, found, "make room before it stops the mail")
    else:
        yield Finding.of("disk", State.OK, found)


def store(desk: Desk, config: Config, *, whole: bool = True) -> Iterator[Finding]:
    """The database file, then the ledger and the queue in it (`whole`), then the ways out."""
    if not desk.exists():
        yield Finding.of(
            "store", State.WARNING, "there is no store yet", "`waypost serve` makes one"
        )
        return
    try:
        if whole:
            broken = yield from _proven(desk, config)
            if broken:
                return
        servers = upstreams.list_(desk, limit=0)
    except WaypostError as error:
        yield Finding.of("store", State.ERROR, error.public, "see the log of the relay")
        return
    for server in servers:
        if server.state != "ok":
            yield Finding.of(
                "upstreams",
                State.WARNING,
                f"{server.name} is {server.state}: {server.reason}",
                f"when it is mended: waypost upstream resume {server.name}",
            )
    if not servers:
        yield Finding.of(
            "upstreams",
            State.WARNING,
            "there is none: nothing can go out",
            "`waypost upstream add`",
        )
    elif all(server.state == "ok" for server in servers):
        yield Finding.of("upstreams", State.OK, f"{len(servers)}, all in order")


def _proven(desk: Desk, config: Config) -> Generator[Finding, None, bool]:
    """The file and its sums; whether the file is broken, so that nothing else can be read."""
    wrong = quick_check(config.data)
    if wrong:
        yield Finding.of("store", State.ERROR, wrong, "restore the last good backup")
        return True
    yield Finding.of("store", State.OK, "the file is whole")
    failed = [check for check in office.audit(desk).checks if not check.ok]
    for check in failed:
        yield Finding.of("audit", State.ERROR, f"{check.name}: {check.detail}", "`waypost audit`")
    if not failed:
        yield Finding.of("audit", State.OK, "the ledger and the queue add up")
    return False


def sealing_keys(config: Config) -> Iterator[Finding]:
    """The file that opens the passwords: there, private, readable."""
    from waypost.desk.secrets import read

    path = config.key_file
    if not path.exists():
        yield Finding.of("secrets", State.OK, "no sealing keys yet: nothing was sealed")
        return
    mode = path.stat().st_mode
    if mode & PRIVATE:
        yield Finding.of(
            "secrets",
            State.ERROR,
            f"others may read {path} (mode {stat.S_IMODE(mode):o})",
            f"chmod 600 {path}, then `waypost secrets rotate`",
        )
        return
    try:
        ring = read(path)
    except (SealError, StoreAway) as error:
        yield Finding.of("secrets", State.ERROR, error.public, "restore the file from a backup")
        return
    yield Finding.of("secrets", State.OK, f"{len(ring.numbers())} in {path}")


def clock(config: Config, now_ms: int) -> Iterator[Finding]:
    """The time of day: sane, and not before what was written already."""
    newest_ms = max(
        (path.stat().st_mtime_ns // 1_000_000 for path in config.data.glob("waypost.db*")),
        default=0,
    )
    if now_ms < CLOCK_EARLIEST_MS:
        said = "the machine's clock stands before 2026"
    elif newest_ms > now_ms + CLOCK_SLACK_MS:
        said = f"the store was written {(newest_ms - now_ms) // 1000} s in the future"
    else:
        yield Finding.of("clock", State.OK, "plausible")
        return
    yield Finding.of("clock", State.ERROR, said, "set the clock, and let NTP keep it")


def certificate(config: Config, now_ms: int) -> Iterator[Finding]:
    """What clients are shown."""
    pem = config.tls.certificate or config.data / CERTIFICATE_FILE
    if config.tls.certificate is None and not pem.exists():
        yield Finding.of("certificate", State.OK, "none yet: `waypost serve` makes one")
        return
    key = config.tls.key or (pem if config.tls.certificate else config.data / KEY_FILE)
    try:
        days = (Certificate(pem, key).ends_at_ms - now_ms) // DAY_MS
    except ConfigError as error:
        yield Finding.of("certificate", State.ERROR, error.public, "name a certificate and its key")
        return
    if days < 0:
        yield Finding.of("certificate", State.ERROR, f"{pem} has expired", "renew it")
    elif days < CERTIFICATE_WARNING_DAYS:
        yield Finding.of("certificate", State.WARNING, f"{pem} ends in {days} days", "renew it")
    elif config.tls.certificate is None:
        yield Finding.of("certificate", State.OK, f"{pem}, self-signed: clients must accept that")
    else:
        yield Finding.of("certificate", State.OK, f"{pem}, for {days} more days")


def descriptors(config: Config) -> Iterator[Finding]:
    """Open files that a process may have, against the sessions that are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = config.limits.sessions + DESCRIPTORS_BESIDE_SESSIONS
    allowed = hard if hard != resource.RLIM_INFINITY else needed
    if allowed < needed:
        yield Finding.of(
            "files",
            State.WARNING,
            f"a process may open {allowed} files; {config.limits.sessions} sessions need {needed}",
            "LimitNOFILE= of the service, or fewer limits.sessions",
        )
    else:
        yield Finding.of("files", State.OK, f"{soft} open files allowed, {needed} may be needed")
