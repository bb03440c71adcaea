"""A real Dovecot that takes submission with TLS and a login, and passes mail on."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from peers.need import need
from peers.process import Process, free_port, greets, wait_until

STARTS = 3
SETTINGS = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = submission
listen = 127.0.0.1
hostname = dovecot.test
mail_location = maildir:{folder}/mail
mail_uid = dovecot
mail_gid = dovecot
first_valid_uid = 1
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
ssl = required
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
submission_relay_host = 127.0.0.1
submission_relay_port = {onward}
submission_relay_ssl = no
service submission-login {{
  inet_listener submission {{
    port = {port}
  }}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=dovecot gid=dovecot home={folder}/home
}}
"""


class Dovecot:
    """`port` offers STARTTLS and, behind it, the login of `user` with `password`, by the mechanisms
    that are named. Its folder is not below pytest's, which its daemons may not enter."""

    def __init__(self, onward_port: int, user: str, password: str, mechanisms: str) -> None:
        _, program, openssl = need("root", "dovecot", "openssl")
        if not Path("/usr/lib/dovecot/submission-login").exists():
            need("submission-login")
        self.folder = folder = Path(tempfile.mkdtemp(prefix="dovecot"))
        folder.chmod(0o755)
        for name in ("mail", "home"):
            (folder / name).mkdir()
            subprocess.run(["chown", "dovecot:dovecot", str(folder / name)], check=True)
        subprocess.run(
            [
                *(openssl, "req", "-x509", "-newkey", "ec"),
                *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
                *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
                *("-subj", "/CN=dovecot.test"),
            ],
            check=True,
            capture_output=True,
        )
        (folder / "users").write_text(f"{user}:{{PLAIN}}{password}\n")
        for _ in range(STARTS):
            if self._start(program, onward_port, mechanisms):
                return
        raise AssertionError(f"Dovecot did not start: {self._process.output} {self.log()}")

    def _start(self, program: str, onward_port: int, mechanisms: str) -> bool:
        self.port = free_port()
        text = SETTINGS.format(
            folder=self.folder, onward=onward_port, port=self.port, mechanisms=mechanisms
        )
        (self.folder / "dovecot.conf").write_text(text)
        command = [program, "-F", "-c", str(self.folder / "dovecot.conf")]
        self._process = Process(command, self.folder / "master.log")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self._process.running or greets(self.port), "Dovecot")
        if self._process.running and greets(self.port):
            return True
        self._process.kill9()
        return False

    def log(self) -> str:
        path = self.folder / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        self._process.stop()
        shutil.rmtree(self.folder)
