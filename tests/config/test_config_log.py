"""The log: one line a fact, whatever a value holds, and never a secret."""

from __future__ import annotations

import json

import pytest

from waypost import log


@pytest.mark.parametrize("as_json", [False, True])
def test_a_fact_is_one_line_without_secrets(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    log.setup(as_json)
    log.get("intake").info(
        "refused",
        peer="1.2.3.4\r\nlevel=error",
        words="a\u2028b\x1b[31m",
        password="hunter2",
        api_key="hunter2",
        accessToken="hunter2",
        n=3,
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert len(captured.err.splitlines()) == 1
    assert "hunter2" not in captured.err
    assert "\x1b" not in captured.err
    assert "refused" in captured.err and "1.2.3.4" in captured.err
    if as_json:
        assert json.loads(captured.err)["n"] == 3


def test_debug_is_not_logged_and_long_values_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    log.get("wire").debug("line", text="AUTH PLAIN AAAA")
    log.get("wire").info("line", text="x" * 100_000)
    said = capsys.readouterr().err
    assert "AUTH" not in said
    assert len(said) < 3000


def test_an_exception_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    try:
        raise ValueError("broken\nhere")
    except ValueError:
        log.get("app").exception("trouble")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ValueError" in said
