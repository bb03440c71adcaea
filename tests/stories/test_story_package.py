"""What is installed: the wheel in an environment of its own, the service under its own limits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from peers.recording import Recording
from peers.relay import Relay, mail

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "contrib" / "waypost.service"
PATIENCE_S = 600
LEAST_EXPOSURE = 2.0  # of 10; systemd calls 0 to 4 "OK"


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_holds_all_and_its_demo_runs(tmp_path: Path) -> None:
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path,
        ROOT,
        cwd=tmp_path,
    )
    (wheel,) = tmp_path.glob("waypost-*.whl")
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source))
        for path in source.joinpath("waypost").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert wanted <= held
    assert any(name.endswith(".sql") for name in wanted)
    assert not any(
        name.split("/")[0] not in ("waypost", f"{wheel.stem[:13]}.dist-info") for name in held
    )

    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False)
    packages = (
        fresh / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # What it depends on is taken from here; a .pth in there, such as the editable one, is not read.
    packages.joinpath("others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = fresh / "bin" / "python"
    where = run(python, "-c", "import waypost; print(waypost.__file__)", cwd=tmp_path, env={})
    assert where.startswith(str(fresh))
    told = run(python, "-m", "waypost", "demo", "--once", cwd=tmp_path, env={})
    assert "byte for byte" in told


@pytest.mark.slow
def test_the_service_is_right_and_hardened(tmp_path: Path, need: Callable[..., list[str]]) -> None:
    need("systemd-analyze")
    unit = tmp_path / "waypost.service"
    text = UNIT.read_text().replace("/usr/local/bin/waypost", sys.executable)
    unit.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.M))
    assert run("systemd-analyze", "verify", "--man=no", unit, cwd=tmp_path).strip() == ""
    told = run("systemd-analyze", "security", "--offline=true", unit, cwd=tmp_path)
    found = re.search(r"exposure level for waypost.service: ([0-9.]+)", told)
    assert found is not None and float(found[1]) <= LEAST_EXPOSURE, told


def allowed(tmp_path: Path) -> set[str]:
    """The system calls that the unit's filters leave."""
    left: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.M):
        names = set[str]()
        for word in line.removeprefix("~").split():
            names |= _members(word, tmp_path)
        left = left - names if line.startswith("~") else left | names
    return left


def _members(word: str, tmp_path: Path) -> set[str]:
    if not word.startswith("@"):
        return {word}
    found = set[str]()
    for line in run("systemd-analyze", "syscall-filter", word, cwd=tmp_path).splitlines()[1:]:
        name = line.strip()
        if name and not name.startswith("#"):
            found |= _members(name, tmp_path)
    return found


@pytest.mark.slow
def test_all_that_it_asks_the_kernel_for_is_allowed(
    tmp_path: Path, recording: Recording, need: Callable[..., list[str]]
) -> None:
    """A call that the filter forbids kills the process; memory that may be written and run too."""
    need("systemd-analyze")
    need("strace")
    may = allowed(tmp_path) | _members("@default", tmp_path)
    trace = tmp_path / "trace"
    wrapper = ["strace", "-f", "-qq", "-o", str(trace)]
    relay = Relay(tmp_path / "relay", settings="workers = 2", wrapper=wrapper)
    try:
        relay.start()
        key = relay.furnish(recording.port)
        assert relay.submit(key, mail(), ["ann@example.com"])[1].startswith("OK:")
        relay.signal(signal.SIGHUP)
    finally:
        relay.stop()
    lines = trace.read_text("utf-8", "replace")
    asked = set(re.findall(r"^\d+ +([a-z][a-z0-9_]+)\(", lines, re.M))
    if os.geteuid() == 0:
        asked.discard("fchown")  # SQLite's, of root alone: to its files' owner
    assert len(asked) > 50
    assert asked - may == set()
    both = [x for x in lines.splitlines() if re.search(r"(mmap|mprotect)\(.*WRITE\|PROT_EXEC", x)]
    assert both == []
