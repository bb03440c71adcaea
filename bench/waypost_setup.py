"""Sets Waypost up for the benchmark and hands it to compare.py with the arguments given.

    waypost_setup.py [--as waypost,waypost-0] [arguments of compare.py]

Everything is on but the limits. `waypost` answers after the first try (inline_wait 4 s),
`waypost-0` when the message is committed, `waypost-http` is `waypost` given the mail over its HTTP
API, `waypost-2` has two workers. Each has a data directory of its own, an account with unlimited
credits (ledger kept) and the sink as its upstream. All of it is gone afterwards.
"""

from __future__ import annotations

import argparse
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
VARIANTS = {  # name: inline_wait, workers, first port
    "waypost": (4.0, 1, 12587),
    "waypost-0": (0.0, 1, 12687),
    "waypost-http": (4.0, 1, 12787),
    "waypost-2": (4.0, 2, 12887),
    "empty": (4.0, 1, 12987),  # these two are depth.py's
    "deep": (4.0, 1, 13087),
}
READY_S = 20

CONFIG = """\
data = "{data}"
hostname = "relay.test"
inline_wait = {inline_wait}
workers = {workers}

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
def serving(config: Path, http: int) -> Iterator[int]:
    """A relay that is ready; its process id."""
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
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def prepared(folder: Path, name: str) -> Path:
    """A server.json for compare.py, of a Waypost that has all it needs."""
    inline_wait, workers, port = VARIANTS[name]
    config, server = folder / f"{name}.toml", folder / f"{name}.json"
    http = port + 1
    config.write_text(
        CONFIG.format(
            data=folder / name, inline_wait=inline_wait, workers=workers, port=port, http=http
        )
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
                "http": http if name.endswith("-http") else 0,
            }
        )
    )
    return server


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--as", dest="names", default="waypost,waypost-0")
    options, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as made:
        servers: list[str] = []
        for name in options.names.split(","):
            servers += ["--server", f"{name}={prepared(Path(made), name)}"]
        compare = [sys.executable, str(HERE / "compare.py"), *servers, *others]
        return subprocess.run(compare, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
