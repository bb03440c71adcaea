"""The entry: finds the command, runs it, and turns what went wrong into one line and an exit code.

Promises 0 for success, 1 for failure, 2 for wrong use, 130 after an interrupt, and that a command
which is not called is not imported. Does not know what the commands do.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, cast

import click

from waypost import __version__
from waypost.cli import out
from waypost.cli.base import Call, Group
from waypost.core.errors import UsageError, WaypostError

SUCCESS, FAILURE, WRONG_USE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141

COMMANDS = MappingProxyType(
    {
        # name: (module of waypost.cli, its command, what help says of it)
        "serve": ("relay.serve", "serve", "Run the relay."),
        "demo": (
            "relay.demo",
            "demo",
            "Try it: a relay, an upstream and a message, in one command.",
        ),
        "send": ("relay.send", "send", "Send one message through the door."),
        "sendmail": ("relay.sendmail", "sendmail", "The sendmail that programs call."),
        "account": ("people.account", "account", "Who may send: tenants and their limits."),
        "key": ("people.key", "key", "The keys that applications log in with."),
        "token": ("people.token", "token", "The tokens of the management API."),
        "member": ("people.member", "member", "Who may log in to the dashboard."),
        "login-link": ("people.member", "login_link", "Let one in who lost the way."),
        "credits": ("people.credits", "credits", "Prepaid credits and their ledger."),
        "upstream": ("mail.upstream", "upstream", "The SMTP servers that mail goes out through."),
        "sender": ("mail.sender", "sender", "The addresses that mail may be From."),
        "log": ("mail.log", "log", "What became of each message, and what was refused."),
        "queue": ("mail.queue", "queue", "What waits: show, try now, cancel."),
        "domain": (
            "mail.domain",
            "domain",
            "What DNS says of a sender domain, and what to publish.",
        ),
        "audit": ("care.audit", "audit", "Prove the ledger and the queue."),
        "doctor": ("care.doctor", "doctor", "Check this installation."),
        "backup": ("care.backup", "backup", "Copy rows, spool and sealing keys while serving."),
        "restore": ("care.backup", "restore", "Bring a backup back."),
        "secrets": ("care.secrets", "secrets", "The keys that seal passwords."),
    }
)


class _Interrupted(Exception):
    """Somebody pressed Ctrl-C."""


class _PipeClosed(Exception):
    """Whoever read our output is gone."""


class Root(Group):
    """`waypost` itself: knows its commands by name and loads the one that is called."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click would print a line end, and exit 1 for the other
            raise _Interrupted from None
        except BrokenPipeError:
            raise _PipeClosed from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        loaded = importlib.import_module(f"waypost.cli.{module}")
        return cast("click.Command", getattr(loaded, name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in COMMANDS.items()])


def _version(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    if context.find_root().obj.words_say_json:  # which may stand behind it
        out.json({"name": "waypost", "version": __version__})
    else:
        out.line(f"waypost, version {__version__}")
    context.exit()


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
def root() -> None:
    """Waypost: one email relay in front of many SMTP mailboxes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line; the exit code. Raises for mistakes of ours alone."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and sys.argv[0].rpartition("/")[2] == "sendmail":
        words.insert(0, "sendmail")  # as /usr/sbin/sendmail, by a symbolic link
    if arguments is None:
        _usable_streams("--json" in words)
    try:
        _refuse_octets(words)
        call = Call("--json" in words)
        code = root.main(words, prog_name="waypost", standalone_mode=False, obj=call)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        return WRONG_USE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "waypost"
        text = f"{where}: {error.format_message()} (see {where} --help)"
        return _failed(words, text, WRONG_USE)
    except click.ClickException as error:
        return _failed(words, f"waypost: {error.format_message()}", FAILURE)
    except UsageError as error:
        return _failed(words, f"waypost: {error.public}", WRONG_USE)
    except WaypostError as error:
        return _failed(words, f"waypost: {error.public}", FAILURE)
    except (_Interrupted, KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except (_PipeClosed, BrokenPipeError):
        _let_go_of_output()
        return PIPE_CLOSED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _failed(words, f"waypost: {place}{error.strerror or error}", FAILURE)
    return code if isinstance(code, int) else SUCCESS


def _usable_streams(as_json: bool) -> None:
    """Standard streams that nothing fails at, whatever the caller's are. One that is closed is the
    null device: else a file of the store would get its number. A character that the caller's coding
    lacks is written as its number; JSON is UTF-8 (RFC 8259 8.1).
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            utf8 = "utf-8" if as_json and name == "stdout" else None
            stream.reconfigure(encoding=utf8, errors="backslashreplace")


def _refuse_octets(words: Sequence[str]) -> None:
    """Raises `UsageError` for a word that is not text. Not for sendmail, whose callers are old."""
    for word in words if "sendmail" not in words else ():
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = word.encode(errors="backslashreplace").decode()
            raise UsageError(f"{shown} is not text in UTF-8") from None


def _failed(words: Sequence[str], text: str, code: int) -> int:
    """One line on standard error; with --json the one JSON value says it too."""
    line = " ".join(text.encode(errors="backslashreplace").decode().split())
    with contextlib.suppress(OSError):
        out.note(line)
    if "--json" in words:
        with contextlib.suppress(OSError):
            out.json({"ok": False, "error": line.partition(": ")[2]})
            sys.stdout.flush()
    return code


def _let_go_of_output() -> None:
    """Whoever read our output is gone: no complaint of the interpreter when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
