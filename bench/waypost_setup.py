"""Sets Waypost up for the benchmark, twice, and hands both to compare.py with the arguments given.

Everything is on but the limits: `waypost` answers after the first try (inline_wait 4 s),
`waypost-0` when the message is committed. Each has a data directory of its own, an account with
unlimited credits (ledger kept) and the sink as its upstream. All of it is gone afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
SINK_PORT = 2626  # compare.py's
SENDER = "noreply@example.test"
VARIANTS = {"waypost": (4.0, 12587), "waypost-0": (0.0, 12687)}  # name: inline_wait, first port
READY_S = 20

CONFIG = """\
data = "{data}"
hostname = "relay.test"
inline_wait = {inline_wait}

[listen]
submission = ["127.0.0.1:{port}"]
submissions = []
http = ["127.0.0.1:{http}"]

[limits]
rate_per_minute = 0
sessions_per_address = 2000
"""


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WAYPOST_")}
    return {**kept, "PYTHONPATH": str(HERE.parent / "src")}


def waypost(config: Path, *arguments: str) -> str:
    """Standard output of one command."""
    command = [sys.executable, "-m", "waypost", "--config", str(config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        raise SystemExit(f"waypost {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def serving(config: Path, http: int) -> Iterator[None]:
    command = [sys.executable, "-m", "waypost", "--config", str(config), "serve"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + READY_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz", timeout=1).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise SystemExit("waypost serve did not come up") from None
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def prepared(folder: Path, name: str) -> Path:
    """A server.json for compare.py, of a Waypost that has all it needs."""
    inline_wait, port = VARIANTS[name]
    config, server = folder / f"{name}.toml", folder / f"{name}.json"
    http = port + 1
    config.write_text(
        CONFIG.format(data=folder / name, inline_wait=inline_wait, port=port, http=http)
    )
    with serving(config, http):
        where = ("--host", "127.0.0.1", "--port", str(SINK_PORT), "--encryption", "none")
        waypost(config, "upstream", "add", "sink", "--sender", SENDER, *where, "--no-test")
        waypost(config, "account", "create", "bench", "--credits", "unlimited")
        key = json.loads(waypost(config, "--json", "key", "create", "--account", "bench"))["key"]
    server.write_text(
        json.dumps(
            {
                "start": [sys.executable, "-m", "waypost", "--config", str(config), "serve"],
                "port": port,
                "user": "x",
                "password": key,
                "from": SENDER,
                "env": {"PYTHONPATH": str(HERE.parent / "src")},
                "ready_s": READY_S,
            }
        )
    )
    return server


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as made:
        servers: list[str] = []
        for name in VARIANTS:
            servers += ["--server", f"{name}={prepared(Path(made), name)}"]
        compare = [sys.executable, str(HERE / "compare.py"), *servers, *sys.argv[1:]]
        return subprocess.run(compare, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
