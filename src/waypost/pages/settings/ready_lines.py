"""What an application needs to send with a key, as lines to copy: for the usual programs.

Promises lines that work as they stand. Knows nothing of keys but their text.
"""

from __future__ import annotations

import json
import re

import msgspec

from waypost.config import Config
from waypost.pages.frame.ask import Ask
from waypost.values import Endpoint

USER = "waypost"  # the name is ignored
TO = "you@example.com"
EVERYWHERE = ("", "::", "0.0.0.0")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


class Lines(msgspec.Struct, frozen=True):
    """`ident`: for the address of the part of the page."""

    ident: str
    title: str
    text: str


def base_of(ask: Ask) -> str:
    """Where the pages are, as the browser asked for them."""
    host = ask.host if _HOST.fullmatch(ask.host) else "127.0.0.1"
    return f"{'https' if ask.https else 'http'}://{host}"


def server_of(config: Config) -> tuple[str, int]:
    """Host and port of the listener with STARTTLS, as a client outside names it."""
    known = config.listen.submission
    endpoint = known[0] if known else Endpoint("", 587)
    host = endpoint.host if endpoint.host not in EVERYWHERE else config.hostname
    return host, endpoint.port


def _direct(config: Config, base: str) -> bool:
    """The pages were asked for at the relay's own https, not through a proxy."""
    ports = [one.port for one in config.listen.https]
    return base.startswith("https://") and any(base.endswith(f":{port}") for port in ports)


def lines_for(
    key: str, sender: str, config: Config, base: str, *, own_certificate: bool
) -> list[Lines]:
    """For every program. `own_certificate`: the relay made it, so that nobody can verify it."""
    curl = "curl --insecure" if own_certificate and _direct(config, base) else "curl"
    unverified = "  tls: { rejectUnauthorized: false }, // the relay made its certificate itself\n"
    host, port = server_of(config)
    quoted, from_ = json.dumps(key), json.dumps(sender)
    body = json.dumps({"from": sender, "to": TO, "subject": "Hello", "text": "It works."})
    shell = body.replace("'", "'\\''")
    place = f"[{host}]:{port}"
    return [
        Lines(
            "curl",
            "curl",
            f"{curl} {base}/api/v1/email/send \\\n  -H 'Authorization: Bearer {key}' \\\n"
            f"  -H 'Content-Type: application/json' \\\n  -d '{shell}'",
        ),
        Lines(
            "smtplib",
            "Python (smtplib)",
            "import smtplib\nfrom email.message import EmailMessage\n\nmessage = EmailMessage()\n"
            f'message["From"] = {from_}\nmessage["To"] = "{TO}"\nmessage["Subject"] = "Hello"\n'
            'message.set_content("It works.")\n\n'
            f'with smtplib.SMTP("{host}", {port}) as server:\n    server.starttls()\n'
            f'    server.login("{USER}", {quoted})\n    server.send_message(message)',
        ),
        Lines(
            "nodemailer",
            "Node.js (nodemailer)",
            'import nodemailer from "nodemailer";\n\n'
            "const transport = nodemailer.createTransport({\n"
            f'  host: "{host}", port: {port}, secure: false, requireTLS: true,\n'
            f'  auth: {{ user: "{USER}", pass: {quoted} }},\n'
            f"{unverified if own_certificate else ''}}});\n"
            f'await transport.sendMail({{\n  from: {from_}, to: "{TO}",\n'
            '  subject: "Hello", text: "It works.",\n});',
        ),
        Lines(
            "django",
            "Django (settings.py)",
            f'EMAIL_HOST = "{host}"\nEMAIL_PORT = {port}\nEMAIL_USE_TLS = True\n'
            f'EMAIL_HOST_USER = "{USER}"\nEMAIL_HOST_PASSWORD = {quoted}\n'
            f"DEFAULT_FROM_EMAIL = {from_}",
        ),
        Lines(
            "laravel",
            "Laravel (.env)",
            f"MAIL_MAILER=smtp\nMAIL_HOST={host}\nMAIL_PORT={port}\nMAIL_ENCRYPTION=tls\n"
            f"MAIL_USERNAME={USER}\nMAIL_PASSWORD={key}\nMAIL_FROM_ADDRESS={sender}",
        ),
        Lines(
            "postfix",
            "Postfix (main.cf, a key with “envelope”)",
            f"relayhost = {place}\nsmtp_sasl_auth_enable = yes\n"
            f"smtp_sasl_password_maps = inline:{{ {{ {place} = {USER}:{key} }} }}\n"
            "smtp_sasl_security_options = noanonymous\nsmtp_tls_security_level = encrypt",
        ),
    ]
