"""What a long queue costs: the same load through a relay with an empty queue, and through one in
which a million messages wait for an upstream that is dead.

    depth.py [--queued N] [--rounds N]

Fills the store as a relay does (its own commits, many at a time), starts a relay on it, and says
how long that took until it was ready and how much memory it has; then hands both to compare.py,
which takes them in turn: `ratio` is how many times as much CPU a message costs. In the end
`queue show` is timed. Needs what compare.py needs, and about 2 GB of disk for a million.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import waypost_setup as setup

from waypost.app import open_engine
from waypost.clock import SystemClock
from waypost.config import load
from waypost.core.address import parse
from waypost.core.ident import IdentMaker
from waypost.core.message import Acceptance, Addressee, Committed
from waypost.store.sqlite.engine import Engine

LANES = 10  # accounts, and as many senders, that the waiting mail is of
AT_ONCE = 2_000
BODY = b"0123456789\r\n" * 40
DEAD_PORT = 9  # discard: nobody is there


def furnish(config: Path) -> None:
    """A dead upstream, its senders, and the accounts that send through it."""
    where = ("--host", "127.0.0.1", "--port", str(DEAD_PORT), "--encryption", "none", "--no-test")
    setup.waypost(config, "upstream", "add", "dead", "--sender", "dead0@example.test", *where)
    for number in range(LANES):
        setup.waypost(config, "account", "create", f"dead{number}", "--credits", "unlimited")
        if number:
            address = f"dead{number}@example.test"
            setup.waypost(config, "sender", "add", address, "--upstream", "dead", "--global")


async def fill(config: Path, queued: int) -> None:
    """Accepts that many messages for the dead upstream."""
    clock = SystemClock()
    engine = open_engine(load(config), clock, None, serving=False)
    maker = IdentMaker(engine.worker, engine.last_id())
    facts = engine.directory()
    senders = [facts.sender_for(0, parse(f"dead{n}@example.test")) for n in range(LANES)]
    accounts = [a.id for a in facts.accounts.values() if a.name.startswith("dead")]
    try:
        for done in range(0, queued, AT_ONCE):
            some = []
            for number in range(done, min(done + AT_ONCE, queued)):
                sender = senders[number % LANES]
                assert sender is not None
                ident = maker.make(clock.wall_ms())
                account_id = accounts[number // LANES % LANES]
                some.append(one(engine, ident, account_id, sender.id, facts.generation))
            committed = await asyncio.gather(*some)
            assert all(isinstance(outcome, Committed) for outcome in committed)
            if done % (50 * AT_ONCE) == 0:
                print(f"  {done + len(some)} queued", file=sys.stderr, flush=True)
    finally:
        await engine.close()


async def one(
    engine: Engine, ident: int, account_id: int, sender_id: int, generation: int
) -> object:
    sender = engine.directory().senders[sender_id]
    return await engine.commit(
        Acceptance(
            id=ident,
            generation=generation,
            channel="smtp",
            account_id=account_id,
            key_id=None,
            peer="192.0.2.1",
            sender_id=sender_id,
            upstream_id=sender.upstream_id,
            envelope_from=sender.address,
            subject="waits",
            message_id="",
            smtp_message_id=f"{ident:x}@example.test",
            null_sender=False,
            addressees=(Addressee(parse(f"to{ident}@example.com"), False),),
            head=b"Subject: waits\r\n\r\n",
            rest=BODY,
            raw_octets=len(BODY),
            digest=hashlib.sha256(b"%d" % ident).digest(),
            eight_bit=False,
            rate_per_minute=0,
            repeat_window_ms=0,
        )
    )


def started(config: Path, http: int) -> tuple[float, float]:
    """(seconds until ready, MB of memory after some seconds of looking at its queue)."""
    began = time.monotonic()
    with setup.serving(config, http) as pid:
        ready_s = time.monotonic() - began
        time.sleep(20)
        status = Path(f"/proc/{pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    assert peak is not None
    return ready_s, int(peak[1]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", default="kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waypost-depth-") as made:
        folder = Path(made)
        servers = {name: setup.prepared(folder, name) for name in ("empty", "deep")}
        deep = folder / "deep.toml"
        furnish(folder / "empty.toml")
        furnish(deep)
        began = time.monotonic()
        asyncio.run(fill(deep, options.queued))
        print(f"filled with {options.queued} in {time.monotonic() - began:.0f} s")
        for name in servers:
            ready_s, peak_mb = started(folder / f"{name}.toml", setup.VARIANTS[name][2] + 1)
            print(f"{name}: ready in {ready_s:.1f} s, at most {peak_mb:.0f} MB")
        given = [f"--server={name}={path}" for name, path in servers.items()]
        rounds = ["--set", options.set, "--rounds", str(options.rounds)]
        compare = [sys.executable, str(setup.HERE / "compare.py"), *given, *rounds]
        code = subprocess.run(compare, check=False).returncode
        began = time.monotonic()
        shown = json.loads(setup.waypost(deep, "--json", "queue", "show"))
        print(f"queue show: {time.monotonic() - began:.2f} s, {shown[0]['queued']} queued")
        return code


if __name__ == "__main__":
    sys.exit(main())
