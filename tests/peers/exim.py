"""A real Exim that takes submission with TLS and a login, and passes mail on.

Debian's package cannot be installed beside Postfix: `.ci/run` unpacks it into `exim/` here. Exim
runs with a configuration of its own, as root, and gives root up at once for the user that Debian's
build is bound to.
"""

from __future__ import annotations

import contextlib
import pwd
import shutil
import tempfile
from pathlib import Path

import trustme

from peers.need import missing, need
from peers.process import Process, free_port, greets, wait_until

STARTS = 3
USER = "Debian-exim"
SETTINGS = """\
primary_hostname = exim.test
exim_path = {folder}/exim4
keep_environment =
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
pid_file_path = {folder}/spool/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_on_connect_ports = {implicit}
tls_advertise_hosts = *
tls_certificate = {folder}/cert.pem
tls_privatekey = {folder}/key.pem
auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
host_lookup =
rfc1413_query_timeout = 0s
log_selector = +received_recipients
acl_smtp_rcpt = submission
begin acl
submission:
  accept authenticated = *
  deny message = relay not permitted
begin routers
onward:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = onward
begin transports
onward:
  driver = smtp
  port = {onward}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{${{lookup{{$auth2}}lsearch{{{folder}/users}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${{if eq{{$auth2}}{{${{lookup{{$auth1}}lsearch{{{folder}/users}}}}}}}}
  server_set_id = $auth1
"""


class Exim:
    """`port` offers STARTTLS (or speaks TLS at once: `implicit`) and, behind it, the login of
    `user` with `password`. Its certificate is for `localhost`, by the authority in `roots`."""

    def __init__(
        self, onward_port: int, user: str, password: str, *, implicit: bool = False
    ) -> None:
        _, program = need("root", "exim4")
        try:
            owner = pwd.getpwnam(USER)
        except KeyError:
            missing(f"the user {USER}")
        self.folder = folder = Path(tempfile.mkdtemp(prefix="exim"))
        folder.chmod(0o755)
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(folder / "cert.pem", append=True)
        self.roots = folder / "roots.pem"
        authority.cert_pem.write_to_path(self.roots)
        # It runs itself anew as its user, who need not be able to reach this repository.
        self._program = str(shutil.copy(program, folder / "exim4"))
        (folder / "users").write_text(f"{user}: {password}\n")
        (folder / "spool").mkdir()
        for name in ("spool", "users", "key.pem"):
            shutil.chown(folder / name, owner.pw_uid, owner.pw_gid)
        for _ in range(STARTS):
            if self._start(onward_port, implicit):
                return
        raise AssertionError(f"Exim did not start: {self._process.output} {self.log()}")

    def _start(self, onward_port: int, implicit: bool) -> bool:
        self.port = free_port()
        text = SETTINGS.format(
            folder=self.folder,
            onward=onward_port,
            port=self.port,
            implicit=self.port if implicit else "",
        )
        conf = self.folder / "exim.conf"
        conf.write_text(text)
        self._process = Process(
            [self._program, "-C", str(conf), "-bdf"], self.folder / "daemon.log"
        )
        up = self._listening if implicit else self._greets
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self._process.running or up(), "Exim")
        if self._process.running and up():
            return True
        self._process.kill9()
        return False

    def _greets(self) -> bool:
        return greets(self.port)

    def _listening(self) -> bool:
        return f"[127.0.0.1]:{self.port}" in self.log()

    def log(self) -> str:
        return "".join(
            path.read_text(errors="replace")
            for path in sorted((self.folder / "spool").glob("*log"))
            if path.is_file()
        )

    def stop(self) -> None:
        self._process.stop()
        shutil.rmtree(self.folder)
