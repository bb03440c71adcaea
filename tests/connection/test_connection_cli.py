"""`waypost upstream add`, `set`, `test`, `trust`, `detect`, as people type them."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from connection.connection_player import Certificates, Play, Player
from waypost.cli.main import main

PASSWORD = "Planted-Secret-80"
FIELDS = {"ok", "diagnosis", "title", "causes", "fix", "steps", "transcript", "wouldWork"}


def run(*arguments: object) -> tuple[int, str, str]:
    told, complained = io.StringIO(), io.StringIO()
    with redirect_stdout(told), redirect_stderr(complained):
        code = main([*map(str, arguments), "--data", "d"])
    assert PASSWORD not in told.getvalue() + complained.getvalue()
    return code, told.getvalue(), complained.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pw").write_text(PASSWORD + "\n")
    assert run("account", "create", "acme")[0] == 0
    return tmp_path


def add(port: int, *more: object) -> tuple[object, ...]:
    where = ("--host", "localhost", "--port", port, "--encryption", "starttls")
    return (
        "upstream",
        "add",
        "up",
        "--sender",
        "a@x.example",
        *where,
        "--password-file",
        "pw",
        *more,
    )


async def off(*arguments: object) -> tuple[int, str, str]:
    """One after the other: standard output is the process's."""
    return await asyncio.to_thread(run, *arguments)


def test_a_server_is_added_tested_and_trusted_anew(
    certificates: Certificates, folder: Path
) -> None:
    async def play() -> None:
        async with Player(Play(tls="self-signed"), certificates.contexts["self-signed"]) as player:
            code, out, err = await off(*add(player.port, "--json"))
            assert code == 0, err
            assert json.loads(out)["pin"].startswith("key:")
            code, out, err = await off("upstream", "test", "up", "--send-to", "b@y.example")
            assert (code, err) == (0, "")
            assert [line.split()[:2] for line in out.splitlines()][:3] == [
                ["ok", "resolve"],
                ["ok", "connect"],
                ["ok", "greeting"],
            ]
            assert out.endswith("up works\n")
            assert len(player.mails) == 1
            code, out, err = await off("upstream", "test", "up", "--json")
            shown = json.loads(out)
            assert set(shown) >= FIELDS
            assert shown["ok"] is True
            assert {frozenset(step) for step in shown["steps"]} == {
                frozenset({"name", "ok", "ms", "detail"})
            }
            code, out, err = await off("upstream", "trust", "up", "--json")
            trusted = json.loads(out)
            assert (code, trusted["old"]) == (0, trusted["new"])
            assert trusted["state"] == "ok"

    asyncio.run(play())


def test_what_fails_is_told_and_not_saved(certificates: Certificates, folder: Path) -> None:
    refused = Play(tls="self-signed", say={"AUTH": "535 5.7.8 no"})

    async def play() -> None:
        async with Player(refused, certificates.contexts["self-signed"]) as player:
            code, out, err = await off(*add(player.port, "--json"))
            assert code == 1
            shown: dict[str, Any] = json.loads(out)
            assert set(shown) >= FIELDS
            assert (shown["ok"], shown["diagnosis"]) == (False, "authentication_failed")
            code, out, err = await off(*add(player.port))
            assert (code, out) == (1, "")
            for words in (
                "FAIL login",
                "Likely causes:",
                "What to do:",
                "Transcript:",
                "--no-test",
            ):
                assert words in err
            assert (await off("upstream", "show", "up"))[0] == 1
            assert (await off(*add(player.port, "--no-test")))[0] == 0
            code, out, err = await off("upstream", "test", "up")
            assert (code, err) == (1, "")
            assert "authentication_failed" in out
            assert (await off("upstream", "set", "up", "--daily-cap", 5))[0] == 0
            assert (await off("upstream", "set", "up", "--password-file", "pw"))[0] == 1

    asyncio.run(play())


def test_an_account_points_at_nothing_inside(folder: Path) -> None:
    for more in ((), ("--no-test",)):
        code, out, err = run(*add(587, "--account", "acme", "--json", *more))
        assert (code, json.loads(out)["diagnosis"]) == (1, "address_not_allowed")
        assert err.count("\n") == 1


def test_detect(folder: Path) -> None:
    code, out, _ = run("upstream", "detect", "someone@gmail.com", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["preset"], found["host"], found["port"]) == ("gmail", "smtp.gmail.com", 587)
    code, out, _ = run("upstream", "detect", "someone@gmail.com")
    assert "apppasswords" in out
    assert run("upstream", "detect", "nobody")[0] == 2


def test_help_names_them(folder: Path) -> None:
    code, out, _ = run("upstream", "--help")
    assert code == 0
    for verb in ("add", "test", "set", "trust", "detect"):
        assert f"  {verb} " in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sender", "me", "--host", "localhost"), "--sender: me has no @"),
        (("--sender", "a@x.example"), "`waypost upstream detect a@x.example`"),
        (("--sender", "a@x.example", "--host", "smtp,x,com"), "--host: 'smtp,x,com' is not"),
        (("--sender", "a@x.example", "--host", "x.com:25"), "--host: 'x.com:25' holds a port"),
        (("--sender", "a@x.example", "--host", "x.com", "--port", 0), "--port: port 0"),
        (
            ("--sender", "a@x.example", "--host", "x.com", "--encryption", "rot13"),
            "--encryption: encryption is starttls, tls or none",
        ),
        (
            ("--sender", "a@x.example", "--host", "x.com", "--username", "me"),
            "--password-file: a user name needs a password",
        ),
        (
            ("--sender", "a@x.example", "--preset", "gmial"),
            "--preset: there is no preset 'gmial': did you mean gmail?",
        ),
    ],
)
def test_what_is_wrong_names_its_flag(folder: Path, words: tuple[object, ...], told: str) -> None:
    code, out, complained = run("upstream", "add", "up", *words)
    assert (code, out) == (2, "")
    assert told in complained
    assert complained.count("\n") == 1


def test_ssl_is_tls(folder: Path) -> None:
    said = ("--sender", "a@x.example", "--host", "mx.x.example", "--encryption", "SSL")
    assert run("upstream", "add", "up", *said, "--password-file", "pw", "--no-test")[0] == 0
    shown = json.loads(run("upstream", "show", "up", "--json")[1])
    assert (shown["encryption"], shown["port"]) == ("tls", 465)


@pytest.mark.parametrize(
    ("preset", "named", "username", "warned"),
    [
        ("sendgrid", (), "apikey", ""),
        ("sendgrid", ("--username", "other"), "other", ""),
        ("ses", (), "a@x.example", "at Amazon SES the user name is the SMTP user name"),
        ("ses", ("--username", "AKIA"), "AKIA", ""),
        ("mailjet", (), "a@x.example", "at Mailjet the user name is the API key"),
        ("gmail", (), "a@x.example", ""),
    ],
)
def test_a_user_name_that_is_no_address_is_asked_for(
    folder: Path, preset: str, named: tuple[str, ...], username: str, warned: str
) -> None:
    said = ("--preset", preset, "--sender", "a@x.example", "--password-file", "pw", "--no-test")
    code, out, complained = run("upstream", "add", "up", *said, *named, "--json")
    assert code == 0
    assert json.loads(out)["username"] == username
    assert warned in complained
    assert bool(warned) is ("--username" in complained)
