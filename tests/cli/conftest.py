"""One data directory, and `waypost` run in it as people run it: a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

SOURCE = Path(__file__).parents[2] / "src"


class Ran:
    """What a command did."""

    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    @property
    def json(self) -> Any:
        """The one JSON value on standard output."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out)


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
            timeout=60,
            check=False,
        )
        assert "Traceback" not in process.stderr, process.stderr
        return Ran(process)

    return run


@pytest.fixture
def here(waypost: Waypost) -> Waypost:
    """The same, with --data and --json said, on an account, an upstream and its sender."""

    def run(*arguments: object, given: str = "", **environ: str) -> Ran:
        return waypost(*arguments, "--data", "d", "--json", given=given, **environ)

    made = run("account", "create", "acme", "--credits", 100)
    assert made.code == 0, made.err
    made = run(
        *("upstream", "add", "up", "--sender", "Me@Example.com", "--host", "mx.example.com"),
        *("--password-file", "-"),
        given="hunter2\n",
    )
    assert made.code == 0, made.err
    return run
