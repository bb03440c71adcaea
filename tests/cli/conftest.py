"""`waypost` run as people run it, a process of its own, or called in this one, which is quicker."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Protocol

import pytest

from waypost.cli.main import main

SOURCE = Path(__file__).parents[2] / "src"


class Ran:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        """The one JSON value on standard output."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def failed(self) -> str:
        """The error that the one JSON value on standard output tells."""
        assert self.code in (1, 2), self.out
        assert self.out.count("\n") == 1
        said = json.loads(self.out)
        assert said["ok"] is False
        return str(said["error"])


class Waypost(Protocol):
    def __call__(self, *arguments: object, given: str = "", **environ: str) -> Ran: ...


@pytest.fixture
def waypost(tmp_path: Path) -> Waypost:
    """Runs one command line, in `tmp_path`, with no variables but the named ones."""

    def run(*arguments: object, given: str = "", **environ: str) -> Ran:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WAYPOST_")}
        process = subprocess.run(
            [sys.executable, "-m", "waypost", *map(str, arguments)],
            input=given,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=inherited | {"PYTHONPATH": str(SOURCE)} | environ,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in process.stderr, process.stderr
        return Ran(process.returncode, process.stdout, process.stderr)

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Waypost:
    """The same without a process, with --data and --json said.

    The data directory holds an account with 100 credits, an upstream and its sender.
    """
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, given: str = "", **environ: str) -> Ran:
        told, complained = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("WAYPOST_")]:
                patch.delenv(name)
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
            with redirect_stdout(told), redirect_stderr(complained):
                code = main([*map(str, arguments), "--data", "d", "--json"])
        return Ran(code, told.getvalue(), complained.getvalue())

    made = run("account", "create", "acme", "--credits", 100)
    assert made.code == 0, made.err
    made = run(
        *("upstream", "add", "up", "--sender", "Me@Example.com", "--host", "mx.example.com"),
        *("--password-file", "-", "--no-test"),
        given="hunter2\n",
    )
    assert made.code == 0, made.err
    return run
