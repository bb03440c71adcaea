"""Waypost itself as a process: a data directory, a configuration, free ports, its command line."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers import inprocess
from peers.process import Process, free_port, wait_until

ROOT = Path(__file__).parents[2]
SABOTAGE = Path(__file__).parent / "sabotage.py"
SENDER = "noreply@relay.test"
READY_S = 60.0
# Where a test says nothing: a slow machine gives the same answers. But less than the fifteen
# seconds after which mail is found that nobody was told of.
INLINE_WAIT_S = 10


def any_certificate() -> ssl.SSLContext:
    """TLS that takes the relay's self-signed certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class CommandFailed(AssertionError):
    """A command ended with another code than 0; the text shows it whole."""


class Relay:
    """One installation. `settings` are lines of TOML put before the tables that are set here.

    `wrapper` is a command that `serve` runs under; `sabotage` names what is broken for a control.
    """

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        tables: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        sabotage: str = "",
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.config = folder / "waypost.toml"
        self.log = folder / "serve.log"
        self.submission, self.submissions, self.http = free_port(), free_port(), free_port()
        self.wrapper = list(wrapper)
        self.sabotage = sabotage
        self.env: dict[str, str] = {}
        self._log_at = 0
        self._process: Process | None = None
        self.write_config(settings, tables or {})

    def write_config(self, settings: str = "", tables: Mapping[str, str] | None = None) -> None:
        """Writes the file; a running relay sees it at its next start or SIGHUP."""
        all_tables = {
            "listen": f'submission = ["127.0.0.1:{self.submission}"]\n'
            f'submissions = ["127.0.0.1:{self.submissions}"]\n'
            f'http = ["127.0.0.1:{self.http}"]',
        }
        for name, lines in (tables or {}).items():
            all_tables[name] = f"{all_tables.get(name, '')}\n{lines}"
        if "inline_wait" not in settings:
            settings = f"inline_wait = {INLINE_WAIT_S}\n{settings}"
        text = f'data = "{self.data}"\nhostname = "relay.test"\n{settings}\n'
        text += "\n".join(f"[{name}]\n{lines}\n" for name, lines in all_tables.items())
        self.config.write_text(text)

    # The command line

    def run(
        self, *arguments: str, stdin: str | None = None, patience_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """One command, whatever its exit code."""
        return subprocess.run(
            [sys.executable, "-m", "waypost", "--config", str(self.config), *arguments],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=patience_s,
            env=self.environment(),
            cwd=self.folder,
        )

    def cli(self, *arguments: str, stdin: str | None = None) -> Any:
        """One command that must succeed, with --json: the value it prints."""
        # What a preloaded library is to see of the disk must happen in a process of its own.
        alone = "LD_PRELOAD" in self.environment()
        if not alone and inprocess.suits(arguments, self.data):
            said = ["--config", str(self.config), "--json", *arguments]
            code, told, complained = inprocess.call(
                said, stdin or "", self.environment(), self.folder
            )
        else:
            done = self.run("--json", *arguments, stdin=stdin)
            code, told, complained = done.returncode, done.stdout, done.stderr
        if code:
            raise CommandFailed(f"waypost {' '.join(arguments)}: exit {code}\n{told}{complained}")
        return json.loads(told)

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WAYPOST_")}
        return {**kept, "PYTHONPATH": str(ROOT / "src"), **self.env}

    # Its life

    @property
    def pid(self) -> int:
        """Of `serve` itself: under a wrapper that is the wrapper's child."""
        assert self._process is not None, "not started"
        pid = self._process.pid
        if not self.wrapper:
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Returns when `/readyz` says 200."""
        program = [str(SABOTAGE), self.sabotage] if self.sabotage else ["-m", "waypost"]
        command = [sys.executable, *program, "--config", str(self.config), "serve"]
        self._log_at = self.log.stat().st_size if self.log.exists() else 0
        self._process = Process(
            [*self.wrapper, *command],
            self.log,
            env=self.environment(),
            cwd=self.folder,
        )
        wait_until(self._ready_or_dead, "the relay to be ready", READY_S)
        if not self._process.running:
            raise AssertionError(f"the relay ended at its start:\n{self._process.output}")

    @property
    def said(self) -> str:
        """What it has logged since it was started last."""
        return self.log.read_bytes()[self._log_at :].decode(errors="replace")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self._process is None:
            return 0
        if self.wrapper and self.running:
            os.kill(self.pid, signal.SIGTERM)  # a wrapper such as strace does not pass it on
            code = self._process.wait()
        code = self._process.stop()
        self._process = None
        return code

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill9(self) -> None:
        """Every process of the relay, without warning."""
        assert self._process is not None
        self._process.kill9()

    def restart(self) -> None:
        assert self.stop() == 0, self.log.read_text()
        self.start()

    def readyz(self) -> int:
        """The status of `/readyz`, 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=30) as r:
                return int(r.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def _ready_or_dead(self) -> bool:
        return not self.running or self.readyz() == 200

    # What stories set up and look at

    def furnish(
        self, port: int, account: str = "acme", credits: str = "1000", sender: str = SENDER
    ) -> str:
        """An upstream at that port, without login, an account with credits, and its key."""
        self.upstream("main", port, sender)
        self.cli("account", "create", account, "--credits", credits)
        return self.key(account)

    def upstream(self, name: str, port: int, sender: str, *more: str) -> Any:
        """The operator's upstream on loopback, in plain text and without login; sender global."""
        where = ("--host", "127.0.0.1", "--port", str(port), "--encryption", "none")
        return self.cli("upstream", "add", name, "--sender", sender, *where, "--no-test", *more)

    def key(self, account: str, *more: str) -> str:
        return str(self.cli("key", "create", "--account", account, *more)["key"])

    def credits(self, account: str = "acme") -> int:
        return int(self.cli("account", "show", account)["credits"])

    def ledger(self, account: str = "acme") -> list[dict[str, Any]]:
        return list(self.cli("credits", "ledger", account))

    def messages(self, *filters: str) -> list[dict[str, Any]]:
        return list(self.cli("log", "list", "--limit", "0", *filters))

    def message(self, ident: str) -> dict[str, Any]:
        return dict(self.cli("log", "show", ident))

    def refusals(self) -> list[dict[str, Any]]:
        return list(self.cli("log", "refusals", "--limit", "0"))

    def audit(self) -> None:
        """Fails unless the ledger and the queue are proven right."""
        told = self.cli("audit")
        assert told["ok"] is True, told

    @contextmanager
    def session(self, key: str | None, starttls: bool = True) -> Iterator[smtplib.SMTP]:
        """A client session, logged in when a key is given."""
        client = smtplib.SMTP("127.0.0.1", self.submission, timeout=120)
        try:
            if starttls:
                client.starttls(context=any_certificate())
            if key is not None:
                client.login("x", key)
            yield client
        finally:
            client.close()

    def submit(
        self, key: str, message: bytes, to: Sequence[str], mail_from: str = SENDER
    ) -> tuple[int, str]:
        """One message in a session of its own: code and text of the answer that ended it."""
        with self.session(key) as client:
            return submit(client, message, to, mail_from)


def submit(
    client: smtplib.SMTP, message: bytes, to: Sequence[str], mail_from: str = SENDER
) -> tuple[int, str]:
    """MAIL, RCPT and DATA with exactly these octets; the first refusal, or the last answer."""
    steps = [f"MAIL FROM:<{mail_from}>", *(f"RCPT TO:<{a}>" for a in to)]
    for step in steps:
        code, text = client.docmd(step)
        if code >= 400:
            return code, text.decode()
    code, text = client.docmd("DATA")
    if code != 354:
        return code, text.decode()
    client.send(stuffed(message) + b".\r\n")
    code, text = client.getreply()
    return code, text.decode()


def stuffed(message: bytes) -> bytes:
    """Dots doubled where a line begins after CR LF (RFC 5321 4.5.2); CR LF at the end."""
    whole = message.replace(b"\r\n.", b"\r\n..")
    whole = b"." + whole if whole.startswith(b".") else whole
    return whole if not whole or whole.endswith(b"\r\n") else whole + b"\r\n"


def mail(
    to: str = "ann@example.com", subject: str = "Hello", body: str = "Hi.\r\n", extra: str = ""
) -> bytes:
    """A plain message from the usual sender; `extra` are more header lines with CR LF."""
    return (
        f"From: Acme <{SENDER}>\r\nTo: {to}\r\nSubject: {subject}\r\n{extra}\r\n{body}"
    ).encode()


def ident_of(answer: str) -> str:
    """The message id at the end of `OK: <id>` or `queued: <id>`."""
    return answer.rsplit(None, 1)[-1].strip("()")
