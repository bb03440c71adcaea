"""The configuration: where it comes from, what it is by default, and what stops a start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost import config
from waypost.config import BareNewline, Config, Listen, Received
from waypost.core.errors import ConfigError
from waypost.listeners import room_for_metrics
from waypost.values import Endpoint

ROOT = Path(__file__).parents[2]


def load(folder: Path, text: str = "", **environ: str) -> Config:
    path = folder / "waypost.toml"
    path.write_text(text)
    return config.load(path, environ=environ, cwd=folder)


def refused(folder: Path, text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **environ)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_the_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    made = config.load(environ={}, cwd=tmp_path)
    assert made.data == tmp_path / "waypost-data"
    assert not made.data_told
    assert made.listen.submission == (Endpoint("127.0.0.1", 2587),)
    assert made.listen.submissions == (Endpoint("127.0.0.1", 2465),)
    assert made.listen.http == (Endpoint("127.0.0.1", 8025),)
    assert (made.inline_wait_s, made.received, made.bare_newline) == (
        4.0,
        Received.FULL,
        BareNewline.MEND,
    )
    assert made.limits.message_bytes == 31_457_280
    assert [ms // 60_000 for ms in made.queue.retry_ms] == [1, 5, 15, 30, 60, 120, 240]
    assert made.keep.failed_body_ms == 7 * 86_400_000
    assert made.key_file == made.data / "sealing.keys"
    assert made.hostname


def test_the_example_file_names_every_setting_and_is_the_defaults(tmp_path: Path) -> None:
    example = (ROOT / "contrib" / "waypost.toml").read_text()
    made = load(tmp_path, example)
    assert made == config.load(environ={}, cwd=tmp_path)
    section, named = "", set()
    for line in example.splitlines():
        if found := re.match(r"\[(\w+)\]", line):
            section = found[1] + "."
        elif found := re.match(r"(?:# )?(\w+) = ", line):
            named.add(section + found[1])
    assert named == set(config.names())


def test_the_first_file_there_is_counts(tmp_path: Path) -> None:
    here, there, flagged = (tmp_path / name for name in ("waypost.toml", "b.toml", "c.toml"))
    for path in (here, there, flagged):
        path.write_text(f'hostname = "{path.stem}"')
    assert config.load(environ={}, cwd=tmp_path).hostname == "waypost"
    environ = {"WAYPOST_CONFIG": "b.toml"}
    assert config.load(environ=environ, cwd=tmp_path).hostname == "b"
    assert config.load(flagged, environ=environ, cwd=tmp_path).hostname == "c"
    with pytest.raises(ConfigError, match="there is no file"):
        config.load(tmp_path / "no.toml", environ={}, cwd=tmp_path)
    with pytest.raises(ConfigError, match="there is no file"):
        config.load(environ={"WAYPOST_CONFIG": "no.toml"}, cwd=tmp_path)


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "w.toml").write_text('data = "../data"\n[tls]\ncertificate = "a.pem"\nkey = "/k.pem"')
    made = config.load(folder / "w.toml", environ={}, cwd=tmp_path)
    assert made.data == tmp_path / "data"
    assert made.data_told
    assert made.tls.certificate == folder / "a.pem"
    assert made.tls.key == Path("/k.pem")


def test_the_data_directory_is_the_flags_then_the_variables_then_the_files(tmp_path: Path) -> None:
    (tmp_path / "waypost.toml").write_text('data = "file"')
    environ = {"WAYPOST_DATA": "variable"}
    assert config.load(environ={}, cwd=tmp_path).data == tmp_path / "file"
    assert config.load(environ=environ, cwd=tmp_path).data == tmp_path / "variable"
    made = config.load(data=Path("flag"), environ=environ, cwd=tmp_path)
    assert made.data == tmp_path / "flag"
    assert made.data_told


def test_variables_override_single_values(tmp_path: Path) -> None:
    made = load(
        tmp_path,
        '[limits]\nrecipients = 7\nrate_per_minute = 5\n[listen]\nhttp = [":1"]',
        WAYPOST_LIMITS__RATE_PER_MINUTE="0",
        WAYPOST_LISTEN__SUBMISSION="127.0.0.1:1, [::1]:2,:3",
        WAYPOST_INLINE_WAIT="0",
        WAYPOST_QUEUE__RETRY="1s,2m",
        WAYPOST_UPSTREAMS__PORTS="25,587",
        WAYPOST_LISTEN__HTTP="",
        WAYPOST_KEY_FILE="not an override",
    )
    assert (made.limits.rate_per_minute, made.limits.recipients) == (0, 7)
    assert list(map(str, made.listen.submission)) == ["127.0.0.1:1", "[::1]:2", ":3"]
    assert made.inline_wait_s == 0
    assert made.queue.retry_ms == (1000, 120_000)
    assert made.upstreams.ports == (25, 587)
    assert made.listen.http == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hostnam = 'x'", ("unknown setting hostnam", "hostname")),
        ("[limits]\nrate = 1", ("limits.rate", "limits.rate_per_minute")),
        ("[limit]\nrecipients = 1", ("unknown setting limit", "nearest", "limits")),
        ("foo = 1", ("unknown setting foo", "nearest known name is")),
        ("recipients = 1", ("unknown setting recipients", "limits.recipients")),
        ('"listen.http" = [":1"]', ("unknown setting listen.http",)),
        ("limits = 3", ("limits: expected a table",)),
        ("workers = '2'", ("workers: expected a whole number from 1 to 64", '"2"')),
        ("workers = true", ("workers", "found True")),
        ("workers = 0", ("workers", "found 0")),
        ("inline_wait = nan", ("inline_wait: expected a number",)),
        ("received = 'none'", ('"full" or "private"',)),
        ("global_sender = 'me'", ("global_sender", "no @")),
        ("[limits]\nrecipients = 1001", ("limits.recipients", "1 to 1000")),
        ("[listen]\nsubmission = '127.0.0.1:25'", ("a list, as in",)),
        ("[listen]\nsubmission = ['127.0.0.1']", ("listen.submission", "127.0.0.1:2587")),
        ("[listen]\nsubmission = [':65536']", ("listen.submission",)),
        ("[listen]\nhttp = [':25']\nhttps = [':25']", (":25", "listen.http", "listen.https")),
        ("[listen]\ntrusted_proxies = ['all']", ("10.0.0.0/8",)),
        ("[queue]\nretry = []", ("queue.retry", "at least 1")),
        ("[queue]\nretry = ['0s']", ("queue.retry", "at least 100 ms")),
        ("[queue]\nhold_max = 7", ("queue.hold_max", '"3d"')),
        ("[keep]\nlog = '30'", ("keep.log", '"3d"')),
        ("[upstreams]\nports = [0]", ("upstreams.ports",)),
        ("[alerts]\nurl = 'ftp://x'", ("alerts.url", "https://")),
        ("[alerts]\nurl = 'https://:443/x'", ("alerts.url", "https://")),
        ("[alerts]\nurl = 'https://x:99999/y'", ("alerts.url", "https://")),
        ("[alerts]\nurl = 'https://x:0/y'", ("alerts.url", "https://")),
        ("[alerts]\nurl = 'https://[::1/y'", ("alerts.url", "https://")),
        ("[alerts]\nurl = 'https://me@:443/y'", ("alerts.url", "https://")),
        ("[dns]\nservers = ['9.9.9.9:0']", ("dns.servers", "9.9.9.9")),
        ("[tls]\nkey = 'k.pem'", ("tls.key", "tls.certificate")),
        ("key_prefix = 'a b'", ("key_prefix",)),
        ("hostname = 'a b'", ("hostname", "a host name")),
        ("hostname = 'relay..test'", ("hostname", "a host name")),
        ("hostname = 'relay-.test'", ("hostname", "a host name")),
        ("a = ", ("is not TOML",)),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    said = refused(tmp_path, text)
    assert said.startswith(str(tmp_path / "waypost.toml"))
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("WAYPOST_LIMITS__RATE", "1", "WAYPOST_LIMITS__RATE_PER_MINUTE"),
        ("WAYPOST_HOSTNAM", "x", "WAYPOST_HOSTNAME"),
        ("WAYPOST_LIMITS", "5", "nearest known name is WAYPOST_LIMITS__"),
        ("WAYPOST_WORKERS", "many", "WAYPOST_WORKERS: expected a whole number"),
        ("WAYPOST_WORKERS", "", "WAYPOST_WORKERS: expected a whole number"),
        ("WAYPOST_UPSTREAMS__PORTS", "25,x", "WAYPOST_UPSTREAMS__PORTS: expected a list"),
        ("WAYPOST_limits__recipients", "1", "unknown variable WAYPOST_limits__recipients"),
        ("WAYPOST_", "1", "unknown variable WAYPOST_"),
    ],
)
def test_a_wrong_variable_stops_the_start(
    tmp_path: Path, variable: str, value: str, words: str
) -> None:
    assert words in refused(tmp_path, **{variable: value})


def test_variables_of_the_scripts_are_no_settings(tmp_path: Path) -> None:
    told = {"WAYPOST_VENV": "/opt/venv", "WAYPOST_PYTHON": "python3", "WAYPOST_KEY_FILE": "k"}
    assert config.load(environ=told, cwd=tmp_path) == config.load(environ={}, cwd=tmp_path)


def test_what_a_reload_leaves_is_named(tmp_path: Path) -> None:
    place = tmp_path / "waypost.toml"
    place.write_text('data = "d"\n')
    started = config.load(place, environ={})
    assert config.needs_restart(started, started) == []
    place.write_text(
        'data = "d"\nreceived = "private"\nglobal_sender = "a@b.test"\nhostname = "other.test"\n'
        "[limits]\nrecipients = 7\nsessions = 9\n[listen]\nmetrics = [':9000']\n"
    )
    left = config.needs_restart(started, config.load(place, environ={}))
    assert left == ["hostname", "listen.metrics"]
    assert set(config.names()) > config.RELOADED


STARTS_ANEW = {
    "data": '"other"',
    "hostname": '"other.test"',
    "workers": "2",
    "key_prefix": '"other-"',
    "listen.submission": '["127.0.0.1:1"]',
    "listen.submissions": '["127.0.0.1:1"]',
    "listen.http": '["127.0.0.1:1"]',
    "listen.https": '["127.0.0.1:1"]',
    "listen.metrics": '["127.0.0.1:1"]',
    "listen.trusted_proxies": '["192.0.2.0/24"]',
    "tls.certificate": '"c.pem"',
    "upstreams.allow_networks": '["10.0.0.0/8"]',
    "upstreams.ports": "[25]",
    "dns.servers": '["192.0.2.53"]',
    "dns.watch": "false",
    "dns.watch_every": '"2h"',
    "secrets.key_file": '"sealing"',
}


@pytest.mark.parametrize(("name", "value"), STARTS_ANEW.items())
def test_each_setting_that_needs_a_restart_is_named(tmp_path: Path, name: str, value: str) -> None:
    place = tmp_path / "waypost.toml"
    place.write_text("")
    started = config.load(place, environ={})
    section, dot, key = name.partition(".")
    place.write_text(f"[{section}]\n{key} = {value}\n" if dot else f"{name} = {value}\n")
    assert config.needs_restart(started, config.load(place, environ={})) == [name]


def test_every_setting_is_reloaded_or_named() -> None:
    assert {*config.names()} == config.RELOADED | {*STARTS_ANEW, "tls.key"}


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeffworkers = 2\n").workers == 2


def test_a_file_that_is_no_text_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "waypost.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        config.load(environ={}, cwd=tmp_path)


@given(st.text())
def test_any_text_of_a_variable_is_a_value_or_our_error(text: str) -> None:
    for name in config.names():
        variable = "WAYPOST_" + name.upper().replace(".", "__")
        try:
            made = config.load(environ={variable: text}, cwd=Path("/nowhere"))
        except ConfigError as error:
            assert "\n" not in str(error)
        else:
            assert made.data.is_absolute()


def test_metrics_of_several_workers_need_ports_of_their_own() -> None:
    def of(metrics: int) -> Listen:
        return Listen(metrics=(Endpoint("127.0.0.1", metrics),))

    room_for_metrics(of(65534), 2)
    room_for_metrics(of(8024), 1)
    with pytest.raises(ConfigError, match="port 65536, which is no listener's"):
        room_for_metrics(of(65535), 2)
    with pytest.raises(ConfigError, match="port 8025, which is another listener's"):
        room_for_metrics(of(8023), 3)
