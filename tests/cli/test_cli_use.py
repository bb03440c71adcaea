"""How commands behave, whatever they do: flags, exit codes, one line for an error, the place."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from waypost import __version__
from waypost.cli import out
from waypost.cli.main import COMMANDS

Run = Callable[..., Any]
SOURCE = Path(__file__).parents[2] / "src"


def test_the_global_flags_stand_anywhere(here: Run, waypost: Run, tmp_path: Path) -> None:
    shown = here("account", "show", "acme").json
    (tmp_path / "w.toml").write_text('data = "d"')
    for line in (
        ("--data", "d", "--json", "account", "show", "acme"),
        ("account", "--data", "d", "--json", "show", "acme"),
        ("account", "show", "--json", "acme", "--data=d"),
        ("--json", "account", "--config", "w.toml", "show", "acme"),
    ):
        assert waypost(*line).json == shown
    assert waypost("account", "show", "acme", "--json", WAYPOST_DATA="d").json == shown
    assert waypost("account", "show", "acme", "--json", WAYPOST_CONFIG="w.toml").json == shown


def test_no_command_makes_a_data_directory_untold(waypost: Run, tmp_path: Path) -> None:
    for line in (
        ("account", "list"),
        ("account", "create", "acme"),
        ("upstream", "list"),
        ("log", "tail"),
        ("audit",),
        ("backup", "copy"),
        ("secrets", "rotate"),
    ):
        ran = waypost(*line)
        assert ran.code == 1
        assert ran.out == ""
        assert ran.err == (
            "waypost: no data directory at ./waypost-data: start `waypost serve` "
            "or name it with --data\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_told_place_is_made_private(waypost: Run, tmp_path: Path) -> None:
    assert waypost("account", "create", "acme", "--data", "new/place", "--json").json
    assert (tmp_path / "new" / "place").stat().st_mode & 0o777 == 0o700
    (tmp_path / "empty").mkdir(mode=0o755)
    assert waypost("account", "create", "acme", "--data", "empty", "--json").json
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o700
    (tmp_path / "empty").chmod(0o777)
    assert waypost("account", "create", "beta", "--data", "empty", "--json").json
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o700


def test_a_place_that_others_use_keeps_its_mode(waypost: Run, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "shared" / "theirs").touch()
    (tmp_path / "home" / "folder").mkdir(parents=True)
    (tmp_path / "home").chmod(0o755)
    for name in ("acme", "beta"):  # the second finds our database there
        assert waypost("account", "create", name, "--data", "shared", "--json").json
        assert (tmp_path / "shared").stat().st_mode & 0o7777 == 0o1777
        assert waypost("account", "create", name, "--data", "home", "--json").json
        assert (tmp_path / "home").stat().st_mode & 0o7777 == 0o755


def test_an_empty_place_is_not_the_working_directory(waypost: Run, tmp_path: Path) -> None:
    for line in (
        ("account", "list", "--data", ""),
        ("--data", "", "account", "create", "acme"),
        ("account", "list", "--config", ""),
        ("backup", ""),
        ("restore", ""),
    ):
        ran = waypost(*line, "--json")
        assert ran.code == 2, line
        assert "it is empty" in ran.err, line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ((), 2),
        (("account",), 2),
        (("acount", "list"), 2),
        (("account", "show"), 2),
        (("account", "list", "--limit", "-1"), 2),
        (("account", "list", "--nonsense"), 2),
        (("account", "list", "--config", "absent.toml"), 1),
        (("account", "list", "--data", "/dev/null/x"), 1),
        (("account", "list", "--data", "/dev/null"), 1),
        (("--version",), 0),
        (("--help",), 0),
    ],
)
def test_exit_codes(waypost: Run, line: tuple[str, ...], code: int) -> None:
    ran = waypost(*line)
    assert ran.code == code
    assert bool(ran.err) == bool(code)
    if code == 1:
        assert ran.err.count("\n") == 1


def test_the_version_is_told_as_json_too(waypost: Run) -> None:
    for line in (("--version", "--json"), ("--json", "--version")):
        assert waypost(*line).json == {"name": "waypost", "version": __version__}
    assert waypost("--version").out == f"waypost, version {__version__}\n"


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        (("--json", "account", "show", "nobody", "--data", "d"), 1, "there is no account “nobody”"),
        (("account", "show", "--json"), 2, "Missing argument 'NAME'. (see"),
        (("nonsense", "--json"), 2, "No such command 'nonsense'. (see"),
        (("--json", "account", "list"), 1, "no data directory at ./waypost-data"),
        (("account", "show", "\udcff", "--json"), 2, r"\udcff is not text in UTF-8"),
        (("serve", "--workers", "65", "--json"), 2, "Invalid value for '--workers': expected a"),
        (
            ("account", "create", "a", "--data", "d", "--notify", "me@", "--json"),
            2,
            "--notify: me@ has nothing after the @",
        ),
    ],
)
def test_a_failure_is_one_json_value_too(
    waypost: Run, line: tuple[str, ...], code: int, error: str
) -> None:
    ran = waypost(*line)
    assert ran.code == code
    assert ran.failed.startswith(error)
    assert ran.err.endswith(f": {ran.failed}\n")


def test_a_broken_configuration_is_one_line(waypost: Run, tmp_path: Path) -> None:
    (tmp_path / "waypost.toml").write_text("[limits]\nrate_per_minut = 3\n")
    ran = waypost("account", "list")
    assert ran.code == 1
    assert ran.err == (
        f"waypost: {tmp_path}/waypost.toml: unknown setting limits.rate_per_minut; "
        "the nearest known name is limits.rate_per_minute\n"
    )


def test_a_store_of_a_newer_program_is_one_line(here: Run, tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "d" / "waypost.db"))
    db.pragma("user_version", 9999)
    db.close()
    sealed = (tmp_path / "d" / "sealing.keys").read_bytes()
    for command in ("account list", "backup copy", "secrets rotate", "queue show", "audit"):
        ran = here(*command.split())
        assert (ran.code, ran.failed) == (1, ran.err.removeprefix("waypost: ").rstrip()), command
        assert ran.err.count("\n") == 1
        assert "newer" in ran.err
    assert not (tmp_path / "copy").exists()
    assert (tmp_path / "d" / "sealing.keys").read_bytes() == sealed


def test_a_backup_of_a_newer_program_is_not_brought_back(here: Run, tmp_path: Path) -> None:
    assert here("backup", "copy").code == 0
    copy = tmp_path / "copy" / "waypost.db"
    octets = bytearray(copy.read_bytes())
    manifest = tmp_path / "copy" / "waypost-backup.json"
    before = hashlib.sha256(octets).hexdigest()
    octets[60:64] = (9999).to_bytes(4, "big")
    copy.write_bytes(octets)
    told = manifest.read_text().replace(before, hashlib.sha256(octets).hexdigest())
    manifest.write_text(told)
    (tmp_path / "d").rename(tmp_path / "old")
    ran = here("restore", "copy")
    assert ran.code == 1
    assert "newer" in ran.err
    assert not (tmp_path / "d" / "waypost.db").exists()


def test_a_file_that_is_no_store_is_one_line(here: Run, tmp_path: Path) -> None:
    (tmp_path / "d" / "waypost.db").write_bytes(b"not a database at all, " * 1000)
    ran = here("account", "list")
    assert (ran.code, ran.failed) == (1, ran.err.removeprefix("waypost: ").rstrip())
    assert ran.err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_root_acts_as_the_owner_of_the_data_directory(
    here: Run, waypost: Run, tmp_path: Path
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    for path in (tmp_path / "d", *(tmp_path / "d").rglob("*")):
        os.chown(path, 12345, 12345)
    (tmp_path / "secret").write_text("x\n")
    (tmp_path / "secret").chmod(0o600)  # root's: read before root becomes the owner
    flags = ("--data", "d", "--json")
    assert waypost("account", "create", "other", *flags).json
    tried = waypost(
        "upstream", "set", "up", "--password-file", "secret", "--host", "x.invalid", *flags
    )
    assert tried.code == 1  # with all that a test needs readable for who is not root
    set_ = ("upstream", "set", "up", "--password-file", "secret", "--no-test")
    assert waypost(*set_, *flags).json
    said = ("--account", "acme", "--from", "me@example.com", "--to", "a@example.org")
    sent = waypost("send", *said, *flags)
    assert sent.json["status"] == "queued"
    assert "no relay is running" in sent.err
    assert "Traceback" not in waypost("doctor", *flags).err
    for path in (tmp_path / "d").rglob("*"):
        assert path.stat().st_uid == 12345, path


def test_an_ended_reader_is_no_error(here: Run, tmp_path: Path) -> None:
    process = subprocess.run(
        f"{sys.executable} -m waypost --data d credits ledger acme | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stderr == ""
    assert process.stdout.strip() in ("0", "141")


def test_streams_that_are_closed_or_of_another_coding(waypost: Run, tmp_path: Path) -> None:
    environ = {"PYTHONIOENCODING": "ascii"}
    made = waypost("account", "create", "müller", "--data", "d", "--json", **environ)
    assert made.json["name"] == "müller"
    assert "m\\xfcller" in waypost("account", "list", "--data", "d", **environ).out
    process = subprocess.run(
        f"{sys.executable} -m waypost account list --data d <&- >&-",
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
        check=True,
    )
    assert process.stderr == b""


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A run of the tests in the background ignores interrupts, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_is_quiet(here: Run, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "waypost", "--data", "d", "log", "tail"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        # It is following once it has the store open; until then an interrupt would meet imports.
        until = time.monotonic() + 20
        while time.monotonic() < until and not _following(process.pid):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        try:
            told, complained = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, told, complained) == (130, b"", b"")


def _following(pid: int) -> bool:
    """Asleep between two looks, as the kernel tells it."""
    stack = Path(f"/proc/{pid}/wchan").read_text()
    loaded = "apsw" in Path(f"/proc/{pid}/maps").read_text()
    return loaded and "futex" in stack


def test_commands_do_not_load_the_servers(tmp_path: Path) -> None:
    """What makes `account show` quick: none of the big libraries is imported."""
    script = (
        "import sys; from waypost.cli.main import main; "
        "code = main(['account', 'create', 'a', '--data', 'd', '--json']); "
        "big = {'litestar', 'uvicorn', 'uvloop', 'structlog', 'rich', 'cryptography', 'asyncio'}; "
        "print(sorted(big & set(sys.modules)), code)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "[] 0"


def test_every_command_explains_itself(waypost: Run) -> None:
    for name in set(COMMANDS) - {"serve", "demo", "send", "sendmail"}:  # sendmail has its own flags
        ran = waypost(name, "--help")
        assert ran.code == 0
        assert "--json" in ran.out


def test_what_outsiders_wrote_cannot_command_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out.table([{"subject": "a\x1b[2J\r\nb\u202e"}], {"SUBJECT": "subject"}, "none")
    out.facts({"subject": "a\x1b[2J\n"})
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\u202e" not in said and "\r" not in said
    assert said.count("\n") == 3
