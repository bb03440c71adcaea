#!/usr/bin/env python3
"""Run the same SMTP submission load through several relays, in turn, and print what each cost.

    compare.py [--peer postfix] [--peer haraka=DIR] [--server NAME=FILE.json]
               [--set quick|core|http|kept] [--rounds N] [--json]

Each relay gets mail over STARTTLS + AUTH PLAIN from smtpload (built from the C file beside this
one), must commit it, and passes it on in plain text to one smtp-sink (Debian's postfix package). A
run ends when the sink has counted every accepted message. Needs root, cc, libssl-dev and the
postfix package; haraka is a directory in which `npm install Haraka` was run. Everything is on
loopback; nothing is left running.

FILE.json describes a server that this script starts:
    {"start": ["command", "arg", ...], "port": 2587, "user": "x", "password": "...",
     "from": "noreply@example.test", "env": {...}, "cwd": "...", "ready_s": 20, "http": 2589}
It must relay to 127.0.0.1 port 2626. It is stopped with SIGTERM. With "http" it is given the same
messages over POST /api/v1/email/send at that port instead (httpload, built from its C file), and
only those loads that say something there: sessions kept, one recipient, not pipelined.

Figures, each a median over the rounds, the relays taken in turn so that a drift of the machine's
speed meets all:
    cpu_ms     CPU milliseconds a message, user and system, all processes of the relay, until the
               sink has everything (from a cpuacct control group where there is one, else summed
               over the process tree)
    e2e_per_s  messages a second until the sink has everything
    p50, p99   milliseconds from MAIL FROM to the answer to DATA
    rss_mb     resident memory of all its processes at the end
    ratio      cpu_ms of the first --server divided into each relay's
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SINK_PORT = 2626
GROUP_ROOT = pathlib.Path("/sys/fs/cgroup/cpuacct")

WORKLOADS = {
    # name: (messages, smtpload arguments)
    "kept sessions, 10 KB, 20 clients": (3000, ["-c", "20", "-s", "10240"]),
    "a new TLS session each, 10 KB, 20 clients": (1500, ["-c", "20", "-s", "10240", "-m", "1"]),
    "kept sessions, 10 KB, 100 clients": (3000, ["-c", "100", "-s", "10240"]),
    "kept sessions, 2 KB, 20 clients": (3000, ["-c", "20", "-s", "2048"]),
    "one client, 10 KB": (500, ["-c", "1", "-s", "10240"]),
    "kept sessions, 100 KB, 10 clients": (800, ["-c", "10", "-s", "102400"]),
    "10 recipients each, 10 KB, 20 clients": (800, ["-c", "20", "-s", "10240", "-r", "10"]),
    "pipelined, 10 KB, 20 clients": (3000, ["-c", "20", "-s", "10240", "-P"]),
}
SETS = {
    "quick": list(WORKLOADS)[:2],
    "core": list(WORKLOADS),
    "http": ["kept sessions, 2 KB, 20 clients"],
    "kept": list(WORKLOADS)[:1],
}


class Group:
    """The processes of one relay, and what they have used."""

    def __init__(self, name: str) -> None:
        self.path = GROUP_ROOT / f"relay-{name}"
        self.usable = False
        if os.access(GROUP_ROOT, os.W_OK):
            self.path.mkdir(exist_ok=True)
            self.usable = True
        self.root_pid = 0

    def enter(self) -> None:
        """Called in the child, before exec."""
        os.setsid()
        if self.usable:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self) -> list[int]:
        if self.usable:
            return [int(p) for p in (self.path / "cgroup.procs").read_text().split()]
        found, queue = [], [self.root_pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                queue += [
                    int(p)
                    for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                ]
        return found

    def cpu_s(self) -> float:
        if self.usable:
            return int((self.path / "cpuacct.usage").read_text()) / 1e9
        ticks = 0
        for pid in self.pids():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))
            except OSError:
                pass
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        total = 0
        for pid in self.pids():
            try:
                match = re.search(
                    r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()
                )
                total += int(match.group(1)) if match else 0
            except OSError:
                pass
        return total / 1024

    def stop(self) -> None:
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.pids():
                with contextlib.suppress(OSError):
                    os.kill(pid, sig)
            for _ in range(50):
                if not any(pathlib.Path(f"/proc/{pid}").exists() for pid in self.pids()):
                    return
                time.sleep(0.1)


class Relay:
    def __init__(
        self,
        name: str,
        start: list[str],
        port: int,
        user: str,
        password: str,
        sender: str,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        ready_s: float = 20,
        http: int = 0,
    ) -> None:
        self.name, self.start_command, self.port, self.http = name, start, port, http
        self.user, self.password, self.sender = user, password, sender
        self.env, self.cwd, self.ready_s = env or {}, cwd, ready_s
        self.group = Group(name)

    def start(self) -> None:
        log = pathlib.Path(tempfile.gettempdir(), f"relay-{self.name}.log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.start_command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **self.env},
                cwd=self.cwd,
                preexec_fn=self.group.enter,
            )
        self.group.root_pid = process.pid
        until = time.monotonic() + self.ready_s
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                    if s.recv(3) == b"220":
                        return
            except OSError:
                time.sleep(0.2)
        raise SystemExit(f"{self.name} did not come up on port {self.port}; see {log}")


class Sink:
    """smtp-sink, and how many messages it has counted."""

    def __init__(self) -> None:
        self.file = tempfile.NamedTemporaryFile(prefix="sink-")  # noqa: SIM115 - kept until stop
        self.process = subprocess.Popen(
            [
                shutil.which("smtp-sink") or "/usr/sbin/smtp-sink",
                "-c",
                "-u",
                "nobody",
                f"127.0.0.1:{SINK_PORT}",
                "1000",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.file.fileno(),
            stderr=subprocess.STDOUT,
        )
        for _ in range(50):
            try:
                socket.create_connection(("127.0.0.1", SINK_PORT), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("smtp-sink did not start")

    def count(self) -> int:
        path = pathlib.Path(self.file.name)
        with path.open("rb") as f:
            f.seek(max(0, path.stat().st_size - 4096))
            found = re.findall(rb"mesg=(\d+)", f.read())
        return int(found[-1]) if found else 0

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.file.close()


def build_load(folder: pathlib.Path, name: str) -> str:
    binary = folder / name
    subprocess.run(
        ["cc", "-O2", "-pthread", "-o", binary, HERE / f"{name}.c", "-lssl", "-lcrypto"], check=True
    )
    return str(binary)


def certificate(folder: pathlib.Path) -> tuple[str, str]:
    key, cert = folder / "key.pem", folder / "cert.pem"
    if not cert.exists():
        subprocess.run(
            ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)],
            check=True,
        )
        subprocess.run(
            [
                "openssl",
                "req",
                "-new",
                "-x509",
                "-key",
                str(key),
                "-out",
                str(cert),
                "-days",
                "30",
                "-subj",
                "/CN=relay.test",
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        key.chmod(0o644)
    return str(cert), str(key)


def postfix(folder: pathlib.Path) -> Relay:
    """Postfix for submission: Cyrus SASL in the process, no input brake, queue on this disk."""
    cert, key = certificate(folder)
    config = folder / "postfix"
    if config.exists():
        shutil.rmtree(config)
    shutil.copytree("/etc/postfix", config, symlinks=True)
    (config / "sasl").mkdir(exist_ok=True)
    (config / "sasl/smtpd.conf").write_text(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n"
    )
    subprocess.run(
        ["saslpasswd2", "-p", "-c", "-u", "relay.test", "bench"], input=b"secret\n", check=True
    )
    subprocess.run(["chgrp", "postfix", "/etc/sasldb2"], check=True)
    pathlib.Path("/etc/sasldb2").chmod(0o640)
    queue, data = folder / "queue", folder / "data"
    for d in (queue, data):
        if d.exists():
            shutil.rmtree(d)
        d.mkdir(mode=0o755)
    shutil.chown(data, "postfix", "postfix")
    settings = {
        "compatibility_level": "3.6",
        "myhostname": "relay.test",
        "mydestination": "",
        "mynetworks": "",
        "queue_directory": str(queue),
        "data_directory": str(data),
        "relayhost": f"[127.0.0.1]:{SINK_PORT}",
        "default_transport": "smtp",  # a "local only" set-up says error
        "relay_transport": "relay",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "maillog_file": "",
        "alias_maps": "",
        "alias_database": "",
        "smtpd_tls_chain_files": f"{key}, {cert}",
        "smtpd_tls_cert_file": "",
        "smtpd_tls_key_file": "",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_auth_only": "yes",
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "cyrus",
        "smtpd_sasl_path": "smtpd",
        "cyrus_sasl_config_path": str(config / "sasl"),
        "smtpd_sasl_local_domain": "relay.test",
        "smtpd_sasl_security_options": "noanonymous",
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
        "smtpd_recipient_restrictions": "",
        "smtpd_peername_lookup": "no",
        "smtpd_client_connection_count_limit": "0",
        "smtpd_recipient_limit": "1000",
        "message_size_limit": "31457280",
        "in_flow_delay": "0",
        "default_process_limit": "200",
        "smtp_tls_security_level": "none",
        "smtp_connection_cache_destinations": f"[127.0.0.1]:{SINK_PORT}",
        "smtp_destination_concurrency_limit": "100",
        "initial_destination_concurrency": "50",
        "smtp_destination_recipient_limit": "100",
        "disable_dns_lookups": "yes",
        "smtp_host_lookup": "native",
    }
    subprocess.run(
        ["postconf", "-c", str(config), "-e", *[f"{k} = {v}" for k, v in settings.items()]],
        check=True,
    )
    master = (config / "master.cf").read_text()
    master = (
        re.sub(r"(?m)^(smtp|2525|\d+)\s+inet.*smtpd.*$", "", master)
        + "\n2525 inet n - n - 200 smtpd\n"
    )
    (config / "master.cf").write_text(master)
    subprocess.run(["postfix", "-c", str(config), "check"], check=False, stderr=subprocess.DEVNULL)
    return Relay(
        "postfix",
        ["/usr/lib/postfix/sbin/master", "-c", str(config), "-d"],
        2525,
        "bench@relay.test",
        "secret",
        "noreply@example.test",
    )


def haraka(folder: pathlib.Path, install: str) -> Relay:
    """Haraka with its own outbound queue, two workers, the sink as the only exchanger."""
    cert, key = certificate(folder)
    home = folder / "haraka"
    if home.exists():
        shutil.rmtree(home)
    for d in ("config", "plugins", "queue"):
        (home / d).mkdir(parents=True)
    package = pathlib.Path(install) / "node_modules/Haraka"
    shutil.copy(package / "config/connection.ini", home / "config/connection.ini")
    shutil.copy(cert, home / "config/tls_cert.pem")
    shutil.copy(key, home / "config/tls_key.pem")
    for name, text in {
        "smtp.ini": "listen=127.0.0.1:2540\nnodes=2\n",
        "me": "relay.test\n",
        "loglevel": "warn\n",
        "log.ini": "level=warn\n",
        "plugins": "tls\nauth/flat_file\nsink_route\n",
        "auth_flat_file.ini": "[core]\nmethods=PLAIN,LOGIN\n[users]\nbench=secret\n",
        "tls.ini": "key=tls_key.pem\ncert=tls_cert.pem\n",
        "outbound.ini": "concurrency_max=100\nenable_tls=false\nlocal_mx_ok=true\n",
        "databytes": "31457280\n",
    }.items():
        (home / "config" / name).write_text(text)
    (home / "plugins/sink_route.js").write_text(
        "exports.hook_lookup_rdns = (next) => next(OK, 'localhost');\n"
        "exports.hook_get_mx = (next) =>\n"
        f"  next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {SINK_PORT} }});\n"
    )
    return Relay(
        "haraka",
        ["node", str(package / "bin/haraka"), "-c", str(home)],
        2540,
        "bench",
        "secret",
        "noreply@example.test",
        cwd=install,
    )


def applies(relay: Relay, arguments: list[str]) -> bool:
    """Whether a load says something of this relay: over HTTP only plain ones do."""
    return not relay.http or not {"-m", "-r", "-P"} & set(arguments)


def one_run(
    relay: Relay, sink: Sink, loads: dict[str, str], messages: int, arguments: list[str]
) -> dict[str, float]:
    before, cpu, began = sink.count(), relay.group.cpu_s(), time.monotonic()
    common = ["-w", relay.password, "-f", relay.sender, "-n", str(messages), "-T", "100"]
    if relay.http:
        how = [loads["httpload"], "-p", str(relay.http)]
    else:
        how = [loads["smtpload"], "-p", str(relay.port), "-t", "-u", relay.user]
    out = subprocess.run([*how, *common, *arguments], capture_output=True, text=True).stdout
    result = json.loads(out)
    if not result["ok"]:
        raise SystemExit(f"{relay.name}: nothing was accepted: {result['last_error']}")
    until = time.monotonic() + 100
    while sink.count() - before < result["ok"] and time.monotonic() < until:
        time.sleep(0.01)
    ended, arrived = time.monotonic(), sink.count() - before
    time.sleep(0.3)
    return {
        "accepted": result["ok"],
        "refused": result["failed"],
        "arrived": arrived,
        "cpu_ms": (relay.group.cpu_s() - cpu) / result["ok"] * 1000,
        "e2e_per_s": result["ok"] / (ended - began),
        "p50": result["p50_ms"],
        "p99": result["p99_ms"],
        "rss_mb": relay.group.rss_mb(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", action="append", default=[], metavar="NAME=FILE.json")
    parser.add_argument("--peer", action="append", default=[], metavar="postfix | haraka=DIR")
    parser.add_argument("--set", choices=SETS, default="quick")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="relay-bench-"))
    folder.chmod(0o755)
    relays = []
    for item in options.server:
        name, _, path = item.partition("=")
        s = json.loads(pathlib.Path(path).read_text())
        relays.append(
            Relay(
                name,
                s["start"],
                s["port"],
                s["user"],
                s["password"],
                s["from"],
                s.get("env"),
                s.get("cwd"),
                s.get("ready_s", 20),
                s.get("http", 0),
            )
        )
    for item in options.peer:
        name, _, argument = item.partition("=")
        relays.append(postfix(folder) if name == "postfix" else haraka(folder, argument))
    loads = {name: build_load(folder, name) for name in ("smtpload", "httpload")}
    sink = Sink()
    table: dict[str, dict[str, dict[str, float]]] = {}
    try:
        for relay in relays:
            relay.start()
        for workload in SETS[options.set]:
            messages, arguments = WORKLOADS[workload]
            meant = [relay for relay in relays if applies(relay, arguments)]
            rows: dict[str, list[dict[str, float]]] = {r.name: [] for r in meant}
            for relay in meant:  # warm up
                one_run(relay, sink, loads, max(50, messages // 10), arguments)
            for _ in range(options.rounds):
                for relay in meant:
                    rows[relay.name].append(one_run(relay, sink, loads, messages, arguments))
            table[workload] = {
                n: {k: statistics.median(r[k] for r in rr) for k in rr[0]} for n, rr in rows.items()
            }
            for n, rr in rows.items():
                table[workload][n]["lost"] = sum(r["accepted"] - r["arrived"] for r in rr)
            first = table[workload][relays[0].name]["cpu_ms"]
            for n in table[workload]:
                table[workload][n]["ratio"] = table[workload][n]["cpu_ms"] / first
            if not options.json:
                print(f"\n{workload} ({messages} messages, median of {options.rounds})")
                print(
                    f"  {'relay':<12}{'cpu_ms':>8}{'ratio':>7}{'e2e/s':>8}"
                    f"{'p50 ms':>8}{'p99 ms':>9}{'rss MB':>8}{'lost':>6}"
                )
                for n, r in table[workload].items():
                    print(
                        f"  {n:<12}{r['cpu_ms']:>8.3f}{r['ratio']:>7.2f}{r['e2e_per_s']:>8.0f}"
                        f"{r['p50']:>8.2f}{r['p99']:>9.2f}"
                        f"{r['rss_mb']:>8.0f}{r['lost']:>6.0f}",
                        flush=True,
                    )
    finally:
        for relay in relays:
            relay.group.stop()
        sink.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
