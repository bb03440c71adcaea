"""A real Postfix with a configuration, queue and port of its own, apart from the machine's."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from peers.need import need
from peers.process import Process, free_port, greets, wait_until

STARTS = 3
SERVICES = """\
{port} inet n - n - 20 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """Starts with the given main.cf settings over sane ones for loopback; `port` takes mail.

    `sasl` is the smtpd.conf of Cyrus SASL, which Debian's Postfix reads beside main.cf.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], sasl: str = "") -> None:
        _, program = need("root", "master")
        self.folder = folder
        # Its sockets are in the queue's folder, and the path of a socket has 107 octets at most.
        short = Path(tempfile.mkdtemp(prefix="postfix-"))
        self._short = short
        self.config, self.queue, data = folder / "config", short / "queue", folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        for each in (self.config, self.queue, data):
            each.mkdir(parents=True)
        for parent in [short, folder, *folder.parents][: len(folder.parts) - 1]:
            parent.chmod(parent.stat().st_mode | 0o755)  # its daemons are not root
        shutil.chown(data, "postfix", "postfix")
        self.maillog = folder / "maillog"
        everything = {
            "compatibility_level": "3.6",
            "myhostname": "postfix.test",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "queue_directory": str(self.queue),
            "data_directory": str(data),
            "maillog_file": str(self.maillog),
            "maillog_file_prefixes": str(folder),
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "alias_database": "",
            "local_transport": "error:no local mail",
            "smtpd_peername_lookup": "no",
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject",
            "smtpd_recipient_restrictions": "",
            "disable_dns_lookups": "yes",
            "smtp_host_lookup": "native",
            "message_size_limit": "41943040",
            "minimal_backoff_time": "1s",
            "queue_run_delay": "1s",
            **settings,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in everything.items())
        (self.config / "main.cf").write_text(lines)
        (self.config / "sasl").mkdir()
        (self.config / "sasl" / "smtpd.conf").write_text(sasl)
        for name in ("postfix-files", "dynamicmaps.cf"):
            if Path("/etc/postfix", name).exists():
                shutil.copy(Path("/etc/postfix", name), self.config / name)
        for _ in range(STARTS):
            if self._start(program):
                return
        raise AssertionError(f"Postfix did not start: {self._process.output} {self.log()}")

    def _start(self, program: str) -> bool:
        """Whether it came up; another may have taken the port between the look and the bind."""
        self.port = free_port()
        (self.config / "master.cf").write_text(SERVICES.format(port=self.port))
        subprocess.run(
            [need("postfix")[0], "-c", str(self.config), "check"], check=False, capture_output=True
        )
        self._process = Process([program, "-c", str(self.config), "-d"], self.folder / "master.log")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self._process.running or greets(self.port), "Postfix")
        if self._process.running and greets(self.port):
            return True
        self._process.kill9()
        return False

    def log(self) -> str:
        return self.maillog.read_text(errors="replace") if self.maillog.exists() else ""

    def stop(self) -> None:
        self._process.stop()
        shutil.rmtree(self._short, ignore_errors=True)


def relayhost_settings(port: int, key: str) -> dict[str, str]:
    """A Postfix that hands everything to Waypost: SASL, TLS required, the key as the password."""
    return {
        "relayhost": f"[127.0.0.1]:{port}",
        "smtp_sasl_auth_enable": "yes",
        "smtp_sasl_password_maps": f"static:anything:{key}",
        "smtp_sasl_security_options": "noanonymous",
        "smtp_tls_security_level": "encrypt",
    }


def upstream_postfix(folder: Path, onward_port: int, user: str, password: str) -> Postfix:
    """A Postfix that asks for STARTTLS and the login of `user`, and passes mail to `onward_port`.

    The user's name is `user@postfix.test`.
    """
    need("root", "master")
    openssl, saslpasswd = need("openssl", "saslpasswd2")
    secrets = folder / "secrets"
    secrets.mkdir(parents=True)
    certificate, key, users = secrets / "cert.pem", secrets / "key.pem", secrets / "sasldb2"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"),
            *("-subj", "/CN=postfix.test"),
        ],
        check=True,
        capture_output=True,
    )
    subprocess.run(
        [saslpasswd, "-f", str(users), "-p", "-c", "-u", "postfix.test", user],
        input=password.encode(),
        check=True,
    )
    shutil.chown(users, "postfix", "postfix")
    sasl = (
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\n"
        f"mech_list: PLAIN LOGIN\nsasldb_path: {users}\n"
    )
    settings = {
        "mynetworks": "",
        "relayhost": f"[127.0.0.1]:{onward_port}",
        "smtp_tls_security_level": "none",
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_auth_only": "yes",
        "smtpd_tls_chain_files": f"{key}, {certificate}",
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "cyrus",
        "smtpd_sasl_path": "smtpd",
        "smtpd_sasl_local_domain": "postfix.test",
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
    }
    return Postfix(folder / "postfix", settings, sasl)
