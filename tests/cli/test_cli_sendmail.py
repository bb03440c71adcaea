"""`waypost sendmail` against the real relay: flags, exit codes, the drop, two calls at once."""

from __future__ import annotations

import email
import email.policy
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from peers.process import free_port, wait_until
from peers.recording import Recording, RecordingServer
from peers.relay import ROOT, SENDER, Relay
from waypost.cli.relay.local.drop import Drop, Kept
from waypost.cli.relay.local.link import Away, Link
from waypost.cli.relay.local.pace import HELD_LINE_OCTETS, Pace
from waypost.clock import SystemClock
from waypost.config import load
from waypost.core.errors import Secret

TO = "ann@example.com"
HELLO = f"From: {SENDER}\nTo: {TO}\nSubject: Hello\n\nHi.\n".encode()
Made = Callable[..., "Caller"]


class Caller:
    """A user with a home of its own, who calls sendmail."""

    def __init__(self, home: Path, config: Path, key: str | None) -> None:
        self.home = home
        self.config = config
        self.keys = home / ".config/waypost"
        self.keys.mkdir(parents=True)
        if key is not None:
            (self.keys / "key").write_text(key + "\n")
        self.drop = home / ".local/state/waypost/drop"
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("WAYPOST_")},
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(home),
            "WAYPOST_CONFIG": str(config),
        }

    def start(self, *flags: str, program: str = "") -> subprocess.Popen[bytes]:
        command = [program] if program else [sys.executable, "-m", "waypost", "sendmail"]
        return subprocess.Popen(
            [*command, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            cwd=self.home,
        )

    def run(self, *flags: str, given: bytes = HELLO) -> tuple[int, str]:
        """Exit code and what was said on standard error."""
        process = self.start(*flags)
        said, error = process.communicate(given, 120)
        return process.returncode, (said + error).decode()

    def sends(self, *flags: str, given: bytes = HELLO) -> None:
        assert self.run(*flags, given=given) == (0, "")

    @property
    def kept(self) -> list[Path]:
        return sorted(self.drop.glob("*.mail")) if self.drop.is_dir() else []


CREDITS = 1000


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Relay, RecordingServer, str]]:
    """One relay and one upstream for the module, and the key of their account."""
    server = RecordingServer(Recording())
    book = server.start()
    relay = Relay(
        tmp_path_factory.mktemp("sendmail"), "inline_wait = 15", {"queue": 'retry = ["6h"]'}
    )
    try:
        relay.start()
        key = relay.furnish(book.port, credits=str(CREDITS))
        relay.cli("account", "set", "acme", "--rate-limit", "none")
        yield relay, server, key
    finally:
        relay.stop()
        server.stop()


@pytest.fixture
def recording(shared: tuple[Relay, RecordingServer, str]) -> Iterator[Recording]:
    relay, server, _ = shared
    book = server.book
    book.lines.clear()
    yield book
    if book.answers:
        book.answers.clear()
        server.away()  # who hangs is let go of
        server.start()
        relay.cli("upstream", "resume", "main")
    book.messages.clear()


@pytest.fixture
def relay(shared: tuple[Relay, RecordingServer, str]) -> Iterator[Relay]:
    relay = shared[0]
    yield relay
    if not relay.running:
        relay.start()


@pytest.fixture
def caller(
    shared: tuple[Relay, RecordingServer, str], relay: Relay, recording: Recording, tmp_path: Path
) -> Caller:
    return Caller(tmp_path / "home", relay.config, shared[2])


@pytest.fixture
def lonely(tmp_path: Path) -> Caller:
    """One whose relay is not there."""
    config = tmp_path / "waypost.toml"
    config.write_text(f'[listen]\nsubmission = ["127.0.0.1:{free_port()}"]\n')
    return Caller(tmp_path / "home", config, "hyd-mail-none")


def test_a_message_for_the_recipients_that_are_named(caller: Caller, recording: Recording) -> None:
    caller.sends("-i", TO, "bob@example.com")
    (message,) = recording.messages
    assert set(message.recipients) == {TO, "bob@example.com"}
    assert message.octets.endswith(b"Subject: Hello\r\n\r\nHi.\r\n")
    assert message.octets.count(b"Date: ") == message.octets.count(b"Message-ID: ") == 1
    assert not caller.drop.exists()


def test_recipients_of_the_header_and_no_bcc_is_lost(caller: Caller, recording: Recording) -> None:
    head = f"From: {SENDER}\nTo: Ann <{TO}>, team: b@example.com,\n c@example.com;\n"
    head += "Cc: d@example.com\nBcc: e@example.com\nbcc: f@example.com,\n\tANN@example.com\n\nHi.\n"
    caller.sends("-ti", "g@example.com", given=head.encode())
    (message,) = recording.messages
    assert sorted(message.recipients) == sorted([TO, *(f"{c}@example.com" for c in "bcdefg")])
    assert b"e@example.com" not in message.octets
    assert b"f@example.com" not in message.octets


def test_an_envelope_key_gets_bcc_as_well(
    relay: Relay, caller: Caller, recording: Recording
) -> None:
    (caller.keys / "key").write_text(relay.key("acme", "--recipients", "envelope"))
    head = f"From: {SENDER}\nTo: {TO}\nBcc: e@example.com\n\nHi.\n"
    caller.sends("-t", given=head.encode())
    (message,) = recording.messages
    assert sorted(message.recipients) == [TO, "e@example.com"]


@pytest.mark.parametrize("flag", ["-i", "-oi"])
def test_a_lone_dot_is_text_where_it_is_said(
    caller: Caller, recording: Recording, flag: str
) -> None:
    caller.sends(flag, TO, given=HELLO + b".\n.two\nmore\n")
    assert recording.messages[0].octets.endswith(b"\r\nHi.\r\n.\r\n.two\r\nmore\r\n")


def test_a_lone_dot_ends_the_message_otherwise(caller: Caller, recording: Recording) -> None:
    caller.sends(TO, given=HELLO + b".\nnot this\n")
    assert recording.messages[0].octets.endswith(b"\r\n\r\nHi.\r\n")


def test_sender_and_name(caller: Caller, recording: Recording) -> None:
    given = f"To: {TO}\n\nHi.\n".encode()
    caller.sends("-f", SENDER, "-F", "Ann Ä", "-t", given=given)
    caller.sends(f"-f{SENDER}", "-FAcme, Inc.", "-t", given=given)
    caller.sends("-f", SENDER, "-F", "M\udcfcller", "-t", given=given)  # in Latin-1
    first, second, third = (message.octets for message in recording.messages)
    assert "From: =?utf-8?" in first.decode().replace("UTF-8", "utf-8")
    named = email.message_from_bytes(third, policy=email.policy.default)["From"]
    assert named.addresses[0].display_name == "Müller"
    assert f'From: "Acme, Inc."\r\n <{SENDER}>\r\n'.encode() in second


def test_harmless_flags_and_an_end_of_flags(caller: Caller, recording: Recording) -> None:
    flags = "-oem -om -odb -oi -G -U -n -B8BITMIME -N never -R hdrs -Ohost=x -V id -h 3 -X /x -bm"
    caller.sends(*flags.split(), "--", TO)
    assert recording.messages[0].recipients == [TO]


def test_text_without_a_header_and_a_mailbox_line(caller: Caller, recording: Recording) -> None:
    caller.sends("-f", SENDER, TO, given=b"just text\nwith a: colon\n")
    caller.sends("-t", given=b"From ann Thu Jan  1 00:00:00 1970\n" + HELLO)
    first, second = (message.octets for message in recording.messages)
    assert first.endswith(b"\r\n\r\njust text\r\nwith a: colon\r\n")
    assert b"ann Thu" not in second


def test_verbose_says_the_answer(caller: Caller) -> None:
    code, said = caller.run("-v", TO)
    assert code == 0
    assert said.startswith("sendmail: 250 OK: ")


WRONG: list[tuple[int, list[str], bytes]] = [
    (64, ["-z"], HELLO),
    (64, ["-f"], HELLO),
    (64, ["--frob"], HELLO),
    (64, ["-bp"], HELLO),
    (64, [], HELLO),
    (64, ["-t"], f"From: {SENDER}\n\nHi.\n".encode()),
    (64, ["-F", "a\nb", TO], HELLO),
    (64, ["-f", "nobody here", TO], HELLO),
    (65, [TO], b"From: a@b.example\nX: a\x0bb\n\n"),
    (65, [TO], HELLO + b"\0\n"),
    (67, ["root"], HELLO),
    (67, ["-t"], b"From: x@y.example\nTo: ann <\n\n"),
    (67, ["ä@example.com"], HELLO),
    (77, [TO], f"From: other@example.com\nTo: {TO}\n\nHi.\n".encode()),
]


def test_exit_codes_of_what_is_wrong(caller: Caller, recording: Recording) -> None:
    for code, flags, given in WRONG:
        got, said = caller.run(*flags, given=given)
        assert got == code, (flags, said)
        assert said.startswith("sendmail: ")
        assert said.count("\n") == 1
    assert not recording.messages
    assert not caller.drop.exists()


def test_a_message_that_is_too_large(caller: Caller) -> None:
    caller.env["WAYPOST_LIMITS__MESSAGE_BYTES"] = "10000"
    code, said = caller.run("-i", TO, given=HELLO + b"x" * 10_000)
    assert code == 65
    assert "10000 bytes" in said


def test_the_upstream_refuses_everybody(caller: Caller, recording: Recording) -> None:
    recording.answers["RCPT"] = "550 5.2.1 mailbox closed"
    code, said = caller.run(TO)
    assert code == 69
    assert "mailbox closed" in said
    assert not caller.drop.exists()


def test_keys_that_are_wrong_or_missing(caller: Caller) -> None:
    (caller.keys / "key").write_text("hyd-mail-wrong")
    code, said = caller.run(TO)
    assert code == 77
    assert "hyd-mail-wrong" not in said
    (caller.keys / "key").write_text("\n")
    assert caller.run(TO)[0] == 78
    (caller.keys / "key").unlink()
    assert caller.run(TO)[0] == 78
    caller.env["WAYPOST_CONFIG"] = "/nowhere.toml"
    assert caller.run(TO)[0] == 78
    assert not caller.drop.exists()


def test_the_key_file_of_the_environment(caller: Caller, recording: Recording) -> None:
    (caller.keys / "key").rename(caller.home / "elsewhere")
    caller.env["WAYPOST_KEY_FILE"] = "elsewhere"
    caller.sends(TO)
    assert len(recording.messages) == 1


def test_a_listener_with_tls_first(relay: Relay, caller: Caller, recording: Recording) -> None:
    own = caller.home / "own.toml"
    own.write_text(f'[listen]\nsubmission = []\nsubmissions = ["127.0.0.1:{relay.submissions}"]\n')
    caller.env["WAYPOST_CONFIG"] = str(own)
    caller.sends(TO)
    assert len(recording.messages) == 1


@pytest.mark.slow
def test_the_relay_away_then_back(relay: Relay, caller: Caller, recording: Recording) -> None:
    relay.stop()
    code, said = caller.run(
        "-t", given=HELLO.replace(b"\nSubject", b"\nBcc: b@example.com\nSubject")
    )
    assert code == 0
    assert "kept" in said
    (kept,) = caller.kept
    assert kept.stat().st_mode & 0o777 == 0o600
    assert caller.drop.stat().st_mode & 0o777 == 0o700
    assert (caller.keys / "key").read_text().strip() not in kept.read_text()
    assert caller.run("-q")[0] == 75
    assert caller.kept == [kept]
    relay.start()
    assert caller.run("-q") == (0, "")
    assert caller.kept == []
    (message,) = recording.messages
    assert sorted(message.recipients) == [TO, "b@example.com"]
    assert caller.run("-q") == (0, "")


def test_the_next_call_sends_what_was_kept(
    relay: Relay, caller: Caller, recording: Recording
) -> None:
    relay.stop()
    caller.run("first@example.com")
    relay.start()
    caller.sends("second@example.com")
    assert caller.kept == []
    sent = [address for message in recording.messages for address in message.recipients]
    assert {"first@example.com", "second@example.com"} <= set(sent)


def test_a_temporary_answer_keeps_it(relay: Relay, caller: Caller, recording: Recording) -> None:
    relay.cli("credits", "add", "acme", str(-relay.credits()))
    code, said = caller.run(TO)
    assert (code, len(caller.kept)) == (0, 1)
    assert "451" in said
    relay.cli("credits", "add", "acme", str(CREDITS))
    assert caller.run("-q") == (0, "")
    assert len(recording.messages) == 1


def test_refused_for_good_later(relay: Relay, caller: Caller, recording: Recording) -> None:
    relay.stop()
    caller.run(TO, given=f"From: other@example.com\nTo: {TO}\n\nHi.\n".encode())
    caller.run(TO)
    relay.start()
    code, said = caller.run("-q")
    assert code == 77
    assert "refused" in said
    assert caller.kept == []
    assert len(list(caller.drop.glob("*.refused"))) == 1
    assert len(recording.messages) == 1
    assert caller.run("-q") == (0, "")


def test_each_letter_goes_with_the_key_it_came_with(
    relay: Relay, caller: Caller, recording: Recording
) -> None:
    relay.cli("account", "create", "other", "--credits", "10")
    before = relay.credits()
    (caller.home / "theirs").write_text(relay.key("other"))
    relay.stop()
    caller.env["WAYPOST_KEY_FILE"] = str(caller.home / "theirs")
    caller.run(TO)
    del caller.env["WAYPOST_KEY_FILE"]
    relay.start()
    caller.sends("-i", "bob@example.com", given=HELLO.replace(b"To: ann", b"To: bob"))
    assert (relay.credits("other"), relay.credits("acme")) == (9, before - 1)


def test_nowhere_to_keep_it(lonely: Caller) -> None:
    lonely.drop.parent.mkdir(parents=True)
    lonely.drop.write_text("not a folder")
    code, said = lonely.run(TO)
    assert code == 75
    assert "cannot be kept" in said


@pytest.mark.slow
def test_two_calls_at_once_send_each_letter_once(
    relay: Relay, caller: Caller, recording: Recording
) -> None:
    relay.stop()
    for number in range(6):
        caller.run(f"to{number}@example.com", given=HELLO.replace(b"ann@", b"to%d@" % number))
    assert len(caller.kept) == 6
    relay.start()
    before = relay.credits()
    with ThreadPoolExecutor(3) as pool:
        codes = [code for code, _ in pool.map(lambda _: caller.run("-q"), range(3))]
    assert codes == [0, 0, 0]
    assert caller.kept == []
    assert sorted(m.recipients for m in recording.messages) == [
        [f"to{n}@example.com"] for n in range(6)
    ]
    assert before - relay.credits() == 6


def test_a_letter_that_another_call_has_is_left_alone(
    relay: Relay, caller: Caller, recording: Recording
) -> None:
    relay.stop()
    caller.run(TO)
    relay.start()
    with caller.kept[0].open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert caller.run("-q") == (0, "")
        assert len(caller.kept) == 1
    assert caller.run("-q") == (0, "")
    assert (len(caller.kept), len(recording.messages)) == (0, 1)


def test_killed_between_the_answer_and_its_removal(
    relay: Relay, caller: Caller, recording: Recording
) -> None:
    """The relay has the letter, the drop too: sent again, it is known, and costs nothing."""
    relay.stop()
    caller.run(TO)
    (kept,) = caller.kept
    copy = kept.read_bytes()
    relay.start()
    assert caller.run("-q") == (0, "")
    kept.write_bytes(copy)
    before = relay.credits()
    assert caller.run("-q") == (0, "")
    assert caller.kept == []
    assert len(recording.messages) == 1
    assert relay.credits() == before


@pytest.mark.slow
def test_killed_while_it_hands_over(relay: Relay, caller: Caller, recording: Recording) -> None:
    relay.stop()
    caller.run(TO)
    relay.start()
    recording.answers["dot"] = "hang"  # the relay waits for its upstream, the call for the relay
    messages = len(relay.messages())
    process = caller.start("-q")
    wait_until(lambda: "DATA" in recording.lines, "the upstream's DATA")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(caller.kept) == 1
    before = relay.credits()
    assert caller.run("-q") == (0, "")
    assert caller.kept == []
    assert relay.credits() == before
    assert len(relay.messages()) == messages + 1


def test_a_session_on_standard_input(caller: Caller, recording: Recording) -> None:
    process = caller.start("-bs")
    assert process.stdin is not None
    assert process.stdout is not None
    message = HELLO.replace(b"\n", b"\r\n").decode()
    for said, code in (
        ("", b"220 "),
        ("EHLO me", b"250 "),
        (f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{TO}>", b"250 "),
        ("", b"250 "),
        ("DATA", b"354 "),
        (message + ".", b"250 OK: "),
        ("QUIT", b"221 "),
    ):
        if said:
            process.stdin.write(said.encode() + b"\r\n")
            process.stdin.flush()
        line = process.stdout.readline()
        while line[3:4] == b"-":
            line = process.stdout.readline()
        assert line.startswith(code), line
    assert process.communicate(None, 60) == (b"", b"")
    assert process.returncode == 0
    assert recording.messages[0].recipients == [TO]


SCRIPT = (
    f"EHLO me\nMAIL FROM:<{SENDER}>\nRCPT TO:<{TO}>\nDATA\n"
    f"From: {SENDER}\nTo: {TO}\nSubject: {{}}\n\nOne.\n..Two.\n.\n"
)


@pytest.mark.parametrize(("line_end", "last"), [("\n", "QUIT\n"), ("\r\n", "QUIT"), ("\n", "")])
def test_a_session_piped_in_whole(
    caller: Caller, recording: Recording, line_end: str, last: str
) -> None:
    script = SCRIPT.format("a") + SCRIPT.format("b").removeprefix("EHLO me\n") + last
    code, said = caller.run("-bs", given=script.replace("\n", line_end).encode())
    assert code == 0
    assert [line[:3] for line in said.splitlines() if line[3:4] == " "] == [
        *("220", "250", *2 * ("250", "250", "354", "250")),
        *(["221"] if last else []),
    ]
    assert [m.recipients for m in recording.messages] == [[TO], [TO]]
    assert recording.messages[1].octets.endswith(b"Subject: b\r\n\r\nOne.\r\n.Two.\r\n")


def test_a_session_that_ends_in_its_text(caller: Caller, recording: Recording) -> None:
    code, said = caller.run("-bs", given=SCRIPT.format("x").removesuffix(".\n").encode())
    assert code == 0
    assert said.splitlines()[-1].startswith("354 ")
    assert recording.messages == []


def turns(pieces: Sequence[bytes]) -> list[bytes]:
    """What goes on where the relay answers each line at once, and DATA with 354."""
    pace, gone = Pace(), b""
    sent: list[bytes] = []

    def answer(due: bytes) -> None:
        nonlocal gone
        while due:
            sent.append(due)
            gone += due
            text = b"DATA\r\n" in gone and b"\r\n.\r\n" not in gone
            if text and not due.endswith(b"DATA\r\n"):
                return
            due = pace.heard(b"354 go\r\n" if text else b"250-a\r\n250 b\r\n")

    for piece in pieces:
        answer(pace.said(piece))
    answer(pace.ended())
    return sent


def test_the_pace_at_every_cut() -> None:
    text = b"x\r\n.\nRSET\r\n..y\r\n.\r\n"
    whole = b"EHLO a\r\nMAIL FROM:<a@b.c>\r\nDATA\r\n" + text + b"NOOP\r\nQUIT\r\n"
    for cut in range(len(whole) + 1):
        sent = turns([whole[:cut], whole[cut:]])
        assert b"".join(sent) == whole
        assert sent[:3] == [b"EHLO a\r\n", b"MAIL FROM:<a@b.c>\r\n", b"DATA\r\n"]
        assert sent[-2:] == [b"NOOP\r\n", b"QUIT\r\n"]
    assert turns([bytes([octet]) for octet in whole])[-2:] == [b"NOOP\r\n", b"QUIT\r\n"]


def test_the_pace_of_a_line_without_end() -> None:
    line = b"x" * (3 * HELD_LINE_OCTETS)
    whole = b"EHLO a\r\nDATA\r\n" + line + b"\r\n.\r\nQUIT\r\n"
    step = HELD_LINE_OCTETS // 2
    sent = turns([whole[at : at + step] for at in range(0, len(whole), step)])
    assert b"".join(sent) == whole
    assert max(map(len, sent)) < 2 * HELD_LINE_OCTETS


def test_a_session_without_a_relay(lonely: Caller) -> None:
    code, said = lonely.run("-bs", given=b"QUIT\r\n")
    assert code == 75
    assert said.startswith("421 4.3.2 ")


def test_under_the_name_of_sendmail(caller: Caller, recording: Recording) -> None:
    program = caller.home / "sendmail"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom waypost.cli.main import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    process = caller.start("-t", "-i", program=str(program))
    said, error = process.communicate(HELLO, 120)
    assert (process.returncode, said, error) == (0, b"", b"")
    assert len(recording.messages) == 1


def test_help(lonely: Caller) -> None:
    code, said = lonely.run("--help")
    assert code == 0
    assert "-oi" in said


def test_the_key_is_never_said_in_clear(
    lonely: Caller, recording: Recording, tmp_path: Path
) -> None:
    lonely.config.write_text(f'[listen]\nsubmission = ["127.0.0.1:{recording.port}"]\n')
    code, said = lonely.run(TO)
    assert (code, len(lonely.kept)) == (0, 1)
    assert "STARTTLS" in said
    assert recording.lines == [f"EHLO {load(lonely.config, environ={}).hostname}"]


def test_nor_to_another_machine_whose_certificate_is_not_valid(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Link, "_is_here", lambda _: False)
    with pytest.raises(Away, match="certificate"):
        Link(load(relay.config, environ={}), Secret("hyd-mail-x"))


def test_what_is_kept_is_synced_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def synced(file: int) -> None:
        done.append(Path(f"/proc/self/fd/{file}").readlink().name.rpartition(".")[2])
        sync(file)

    def renamed(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    folder = tmp_path / "state.d" / "a.drop"
    drop = Drop(folder, SystemClock())
    drop.keep(Kept("/k", "", SENDER, (TO,)), b"Subject: x\r\n\r\n")
    assert done[-3:] == ["tmp", "rename", "drop"]
    assert done[-4] == "d"  # and the folder, when it was made
    (name,) = drop.names()
    held = drop.take(name)
    assert held is not None
    assert held.letter.octets == b"Subject: x\r\n\r\n"
    assert drop.take(name) is None
    held.close()


def test_what_a_killed_call_left_half_written_is_swept(tmp_path: Path) -> None:
    for name, age_s in (("old.tmp", 7200), ("new.tmp", 0)):
        (tmp_path / name).touch()
        now_s = SystemClock().wall_ms() // 1000
        os.utime(tmp_path / name, (now_s - age_s, now_s - age_s))
    assert Drop(tmp_path, SystemClock()).names() == []
    assert [p.name for p in tmp_path.iterdir()] == ["new.tmp"]


def test_more_recipients_than_the_relay_takes_at_once(
    relay: Relay, caller: Caller, recording: Recording
) -> None:
    (caller.keys / "key").write_text(relay.key("acme", "--recipients", "envelope"))
    many = [f"r{n}@example.com" for n in range(130)]
    caller.sends("-i", *many)
    sent = [address for message in recording.messages for address in message.recipients]
    assert sorted(sent) == sorted(many)
    assert caller.kept == []
