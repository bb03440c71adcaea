"""One example of each thing that the management API shows, for its description.

Promises the very fields that are shown. Knows nothing of routes.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

_AT = "2026-05-01T08:00:00.000Z"
_MESSAGE = {
    "id": "1a1fd7e724600000",
    "status": "sent",
    "account": "acme",
    "from": "hello@acme.example",
    "recipients": 1,
    "subject": "Hello",
    "createdAt": _AT,
    "channel": "http",
    "octets": 512,
    "charged": 1,
    "refunded": 0,
}
_LINE = {
    "at": _AT,
    "amount": -1,
    "reason": "debit",
    "message": "1a1fd7e724600000",
    "recipient": None,
    "note": "",
    "balance": 999,
}
_ATTEMPT = {
    "at": _AT,
    "code": 250,
    "text": "2.0.0 Ok",
    "upstream": "mailbox",
    "uncertain": False,
}
_RECIPIENT = {
    "number": 1,
    "address": "ann@example.com",
    "status": "sent",
    "code": 250,
    "text": "2.0.0 Ok",
    "endedAt": _AT,
    "attempts": [_ATTEMPT],
}
_UPSTREAM = {
    "id": 3,
    "name": "mailbox",
    "account": "acme",
    "host": "smtp.gmail.com",
    "port": 587,
    "encryption": "starttls",
    "username": "hello@acme.example",
    "login": "password",
    "hasPassword": True,
    "connected": None,
    "validate": "on",
    "pin": "",
    "preset": "gmail",
    "fallback": None,
    "through": None,
    "connections": 5,
    "perConnection": 100,
    "perMinute": 20,
    "recipients": 100,
    "dailyCap": 500,
    "usedToday": 17,
    "state": "ok",
    "reason": "",
    "since": None,
    "nextProbeAt": None,
    "lastSuccessAt": _AT,
    "lastError": None,
    "senders": ["hello@acme.example"],
    "domains": [
        {"domain": "acme.example", "status": "ok", "checkedAt": _AT, "problems": []},
    ],
    "createdAt": _AT,
}
_DOMAIN = {
    "domain": "acme.example",
    "ok": False,
    "status": "error",
    "upstreams": ["mailbox"],
    "assumed": None,
    "findings": [
        {
            "check": "dmarc",
            "status": "error",
            "found": "there is no DMARC record",
            "why": "Gmail, Yahoo and Microsoft want a DMARC record of everybody who sends in bulk",
            "publish": {
                "name": "_dmarc.acme.example",
                "type": "TXT",
                "value": "v=DMARC1; p=none; rua=mailto:postmaster@acme.example",
            },
            "unknown": False,
        }
    ],
}
_TEST = {
    "upstream": "mailbox",
    "host": "smtp.gmail.com",
    "port": 587,
    "encryption": "starttls",
    "ok": False,
    "diagnosis": "authentication_failed",
    "title": "The server refused user name or password of hello@acme.example",
    "causes": ["an app password is needed"],
    "fix": "Make an app password and enter it here.",
    "steps": [{"name": "resolve", "ok": True, "ms": 4, "detail": "192.0.2.7"}],
    "transcript": "C: AUTH PLAIN ***",
    "wouldWork": [],
    "pin": None,
}
_DETECTED = {
    "address": "hello@acme.example",
    "domain": "acme.example",
    "preset": "google-workspace",
    "title": "Google Workspace",
    "host": "smtp.gmail.com",
    "port": 587,
    "encryption": "starttls",
    "region": None,
    "username": "the whole email address",
    "hints": ["make an app password"],
    "foundBy": "mx",
    "mx": ["aspmx.l.google.com"],
}

_READING = {
    "ok": False,
    "status": "error",
    "author": "acme.example",
    "receivedAt": _AT,
    "spf": {
        "result": "pass",
        "ip": "192.0.2.7",
        "helo": "out.acme.example",
        "mailFrom": "hello@acme.example",
        "domain": "acme.example",
        "aligned": True,
        "reason": "",
        "stated": "pass",
    },
    "signatures": [
        {
            "domain": "acme.example",
            "selector": "s1",
            "algorithm": "rsa-sha256",
            "result": "fail",
            "reason": "the body was changed on the way",
            "aligned": True,
            "keyBits": 2048,
            "signed": ["from", "to", "subject"],
        }
    ],
    "authenticationResults": [
        {
            "server": "mx.example.net",
            "results": [
                {
                    "method": "dkim",
                    "result": "fail",
                    "reason": "",
                    "properties": {"header.d": "acme.example"},
                }
            ],
        }
    ],
    "received": [
        {
            "from": "out.acme.example",
            "ip": "192.0.2.7",
            "by": "mx.example.net",
            "protocol": "ESMTPS",
            "encrypted": True,
            "at": _AT,
        }
    ],
    "findings": _DOMAIN["findings"],
}

EXAMPLES: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "AccountView": {
            "name": "acme",
            "enabled": True,
            "credits": 1000,
            "unlimited": False,
            "balance": 1000,
            "rateLimit": 120,
            "ownRate": False,
            "defaultSender": "hello@acme.example",
            "notify": None,
            "createdAt": _AT,
        },
        "LedgerView": _LINE,
        "KeyView": {
            "id": 7,
            "account": "acme",
            "name": "website",
            "enabled": True,
            "last4": "k3Yz",
            "recipients": "headers",
            "createdAt": _AT,
            "lastUsedAt": None,
        },
        "TokenView": {
            "id": 2,
            "account": "acme",
            "name": "their own panel",
            "last4": "T0kn",
            "createdAt": _AT,
            "lastUsedAt": _AT,
        },
        "MemberView": {
            "id": 5,
            "email": "ann@acme.example",
            "name": "",
            "operator": False,
            "accounts": [{"account": "acme", "role": "developer"}],
            "hasPassword": False,
            "secondFactor": False,
            "createdAt": _AT,
            "lastLoginAt": None,
            "link": "/login/invite/vFq0",
        },
        "LinkView": {
            "email": "ann@acme.example",
            "kind": "login",
            "path": "/login/login/vFq0",
            "url": "/login/login/vFq0",
            "expiresAt": _AT,
        },
        "TrailView": {
            "id": 12,
            "at": _AT,
            "account": "acme",
            "actor": "token 2 their own panel",
            "deed": "API POST keys",
            "subject": "keys website",
            "peer": "192.0.2.7",
        },
        "SenderView": {
            "id": 4,
            "address": "hello@acme.example",
            "upstream": "mailbox",
            "account": "acme",
            "global": False,
            "accounts": ["acme"],
            "fromName": "Acme",
            "dailyCap": 200,
            "usedToday": 17,
            "held": None,
            "default": ["acme"],
            "createdAt": _AT,
        },
        "UpstreamView": _UPSTREAM,
        "TrustView": {**_UPSTREAM, "old": "key:9f86d081", "new": "key:60303ae2"},
        "TestView": _TEST,
        "DetectView": _DETECTED,
        "DomainView": _DOMAIN,
        "Begun": {
            "url": "https://accounts.google.com/o/oauth2/v2/auth?client_id=...",
            "state": "6kBx0tLw",
            "redirectUri": "https://panel.acme.example/connected",
            "expiresAt": _AT,
        },
        "MessageLine": _MESSAGE,
        "MessageView": {
            **_MESSAGE,
            "recipients": [_RECIPIENT],
            "endedAt": _AT,
            "peer": "192.0.2.7",
            "key": 7,
            "upstream": "mailbox",
            "smtpMessageId": "1a1fd7e724600000@relay.example.com",
            "nextAt": None,
            "reason": "",
            "onWire": False,
            "bodyKept": False,
            "transcripts": [],
            "ledger": [_LINE],
        },
        "RefusalView": {
            "id": 9,
            "at": _AT,
            "channel": "smtp",
            "peer": "192.0.2.7",
            "account": "acme",
            "key": 7,
            "keyName": "website",
            "from": "other@acme.example",
            "to": ["ann@example.com"],
            "reason": "sender",
            "answer": "550 5.7.1 other@acme.example is not a sender of this account",
            "count": 3,
        },
        "QueueLine": {
            "upstream": "mailbox",
            "account": "acme",
            "queued": 12,
            "onWire": 1,
            "oldestAt": _AT,
            "nextAt": _AT,
            "state": "failing",
            "reason": "no connection",
        },
        "QueueChange": {"messages": 12, "recipients": 14, "onWire": 1},
        "MessageReadingView": _READING,
        "Report": {
            "ok": True,
            "checks": [
                {
                    "name": "disk",
                    "ok": True,
                    "status": "warning",
                    "detail": "3.1 GiB are free",
                    "fix": "make room: below 1 GiB no mail is taken",
                }
            ],
        },
        "SecretsView": {
            "keyFile": "/var/lib/waypost/sealing.keys",
            "keys": 2,
            "current": 2,
            "resealed": 14,
        },
        "AuditView": {
            "ok": True,
            "checks": [{"name": "paid", "ok": True, "detail": "accepted = paid"}],
        },
    }
)
