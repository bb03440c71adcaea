"""`waypost domain` as people run it, against a name server on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domain import zone_files
from domain.signing import record, rsa_key, signed_by
from peers.dns_server import DnsServer

SOURCE = Path(__file__).parents[2] / "src"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    made = DnsServer()
    zone_files.serve(made, [zone_files.read(name) for name in zone_files.names()])
    yield made
    made.stop()


@pytest.fixture
def waypost(tmp_path: Path, server: DnsServer) -> Run:
    """Runs one command line in an empty directory."""

    def run(*words: str, given: str = "", code: int | None = None) -> Any:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WAYPOST_")}
        done = subprocess.run(
            [sys.executable, "-m", "waypost", *words],
            input=given,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=inherited | {"PYTHONPATH": str(SOURCE), "WAYPOST_DNS__SERVERS": server.place},
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def of(done: Any, check: str) -> dict[str, Any]:
    found = [f for f in json.loads(done.stdout)["findings"] if f["check"] == check]
    assert found, done.stdout
    one: dict[str, Any] = found[0]
    return one


def test_a_right_domain_needs_no_data_directory(waypost: Run, tmp_path: Path) -> None:
    done = waypost("domain", "check", "RIGHT.example.", "--selector", "s1", "--json", code=0)
    told = json.loads(done.stdout)
    assert (told["domain"], told["ok"]) == ("right.example", True)
    assert {f["status"] for f in told["findings"]} == {"ok"}
    assert {f["check"] for f in told["findings"]} >= {"spf", "dkim", "dmarc", "mx"}
    assert set(told["findings"][0]) >= {"check", "status", "found", "why", "publish"}
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_domain_is_exit_1_with_the_record(waypost: Run) -> None:
    done = waypost("domain", "check", "dmarc-missing.example", "--json", code=1)
    assert of(done, "dmarc")["publish"] == {
        "name": "_dmarc.dmarc-missing.example",
        "type": "TXT",
        "value": "v=DMARC1; p=none; rua=mailto:postmaster@dmarc-missing.example",
    }
    text = waypost("domain", "check", "a@dmarc-missing.example", code=1).stdout
    assert "publish: _dmarc.dmarc-missing.example TXT v=DMARC1; p=none;" in text


def test_a_warning_alone_is_exit_0(waypost: Run) -> None:
    waypost("domain", "check", "dmarc-retired.example", code=0)


def test_a_name_server_that_is_away_is_not_missing_records(waypost: Run) -> None:
    done = waypost("domain", "check", "away-servfail.example", "--json", code=0)
    for finding in json.loads(done.stdout)["findings"]:
        assert finding["unknown"], finding
        assert finding["found"].startswith("could not be checked: ")
        assert "SERVFAIL" in finding["found"]
        assert finding["publish"] is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("check", "nodot"), 2, "is not a domain"),
        (("check", ""), 2, "is not a domain"),
        (("check", "a..b"), 2, "is not a domain"),
        (("check", "[192.0.2.1]"), 2, "is not a domain"),
        (("check", "right.example", "--selector", "s 1"), 2, "is not a selector"),
        (("check", "right.example", "--upstream", "x"), 1, "no data directory"),
        (("check", "right.example", "--message", "none.eml"), 1, "none.eml"),
        (("verify", "none.eml"), 1, "none.eml"),
        (("verify", "."), 1, "directory"),
        (("check",), 2, "Missing argument"),
    ],
)
def test_wrong_use_is_one_line(waypost: Run, words: tuple[str, ...], code: int, said: str) -> None:
    done = waypost("domain", *words, code=code)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_what_is_no_message_is_one_line(waypost: Run) -> None:
    done = waypost("domain", "verify", "-", given="hello\n", code=1)
    assert "there is no message in it" in done.stderr


def test_the_upstream_of_the_domains_sender_is_checked_by_default(
    waypost: Run, tmp_path: Path
) -> None:
    (tmp_path / "p").write_text("secret")
    waypost(
        *("upstream", "add", "work", "--sender", "a@google-beside-another.example"),
        *("--preset", "google-workspace", "--password-file", "p", "--no-test", "--data", "d"),
        code=0,
    )
    place = ("--data", "d", "--json")
    done = waypost("domain", "check", "google-beside-another.example", *place, code=1)
    assert json.loads(done.stdout)["upstreams"] == ["work"]
    finding = of(done, "spf")
    assert "does not allow Google Workspace" in finding["found"]
    value = "v=spf1 include:amazonses.com ip4:192.0.2.10 include:_spf.google.com -all"
    assert finding["publish"]["value"] == value
    named = waypost("domain", "check", "right.example", "--upstream", "work", *place, code=1)
    assert json.loads(named.stdout)["upstreams"] == ["work"]
    other = waypost("domain", "check", "right.example", "--selector", "s1", *place, code=0)
    assert json.loads(other.stdout)["upstreams"] == []
    lost = waypost("domain", "check", "right.example", "--upstream", "none", *place, code=1)
    assert "there is no upstream" in lost.stderr
    # An underscore is no wildcard, and a domain within another is another.
    waypost("domain", "check", "beside-another.example", *place, code=1)


def test_detect_asks_the_same_name_servers(waypost: Run) -> None:
    done = waypost("upstream", "detect", "a@google-right.example", "--json", code=0)
    assert json.loads(done.stdout)["preset"] == "google-workspace"


def test_a_received_message_is_read(waypost: Run, server: DnsServer, tmp_path: Path) -> None:
    key = rsa_key(2048)
    text = record(key)
    cut = " ".join(f'"{text[i : i + 250]}"' for i in range(0, len(text), 250))
    server.zone(
        "letters.example",
        f's7._domainkey TXT {cut}\n@ MX 10 mx\nmx A 192.0.2.25\n@ TXT "v=spf1 mx -all"\n'
        '_dmarc TXT "v=DMARC1; p=reject; rua=mailto:a@letters.example"\n',
    )
    octets = signed_by(
        key,
        "d=letters.example; s=s7; h=from:subject",
        b"From: a@letters.example\r\nSubject: s\r\n\r\nhello\r\n",
    )
    place = tmp_path / "m.eml"
    place.write_bytes(octets)
    told = json.loads(waypost("domain", "verify", str(place), "--json", code=0).stdout)
    assert (told["ok"], told["author"]) == (True, "letters.example")
    assert told["signatures"][0]["result"] == "pass"
    checked = waypost("domain", "check", "letters.example", "--message", "m.eml", "--json", code=0)
    assert "s7._domainkey.letters.example: rsa, 2048 bits" in of(checked, "dkim")["found"]
    place.write_bytes(octets.replace(b"hello", b"good bye"))
    text = waypost("domain", "verify", str(place), code=1).stdout
    assert "the body was changed after it was signed" in text
    other = waypost("domain", "check", "right.example", "--message", "m.eml", code=2)
    assert "has no DKIM signature of right.example" in other.stderr


def test_what_outsiders_write_reaches_no_terminal(waypost: Run) -> None:
    octets = "From: a@right.example\nReceived: from \x1b[31mx by \x9b2Jy; now\n\nx\n"
    done = waypost("domain", "verify", "-", given=octets, code=1)
    assert "\x1b" not in done.stdout and "\x9b" not in done.stdout
