"""What asks others than the mail servers: providers of tokens, and DNS, of the management API.

Promises that an account's token reaches no server that the account names. Knows nothing of OAuth
and of DNS records.
"""

from __future__ import annotations

from typing import Any

from waypost.core.errors import StoreAway, UsageError, WaypostError
from waypost.desk.connection import connect
from waypost.desk.connection.connect import Begun
from waypost.desk.connection.detect import detect
from waypost.desk.connection.views import DetectView
from waypost.desk.domains import check
from waypost.desk.domains.verify import verify
from waypost.desk.domains.views import DomainView, MessageReadingView
from waypost.desk.views import UpstreamView
from waypost.pages.api import query as reads
from waypost.pages.manage.route import Ask, Route
from waypost.pages.manage.shapes import Client, Consent, Consented, Received, ServiceAccount

READ_OCTETS = 4 << 20  # of a message that is read, in base64
CLIENT: dict[str, Any] = {"clientId": "app-1.example", "clientSecret": "the secret"}


def routes() -> list[Route]:
    """All of them."""
    return [*_of_consents(), *_of_dns()]


def _of_consents() -> list[Route]:
    own: dict[str, Any] = {
        "method": "POST",
        "query": ("account",),
        "errors": (409,),
        "slow": True,
    }
    return [
        Route(
            path="/upstreams/{upstream}/consent",
            summary="Begin a login by token: the address where a person consents in a browser",
            do=_begin,
            gives=Begun,
            takes=Consent,
            example={"redirectUri": "https://panel.acme.example/connected", **CLIENT},
            **{**own, "slow": False},
        ),
        Route(
            path="/consents",
            summary="Finish it with what the browser brought back; each state is taken once",
            do=_finish,
            gives=UpstreamView,
            takes=Consented,
            example={"code": "4/0Ad", "state": "6kBx0tLw", "account": "acme"},
            **{**own, "query": ()},
        ),
        Route(
            path="/upstreams/{upstream}/client-credentials",
            summary="Log in by the application's own right",
            do=_by_client,
            gives=UpstreamView,
            takes=Client,
            example={**CLIENT, "tenant": "acme.example"},
            **own,
        ),
        Route(
            path="/upstreams/{upstream}/service-account",
            summary="Log in by a service account that may act for the mailbox",
            do=_by_service_account,
            gives=UpstreamView,
            takes=ServiceAccount,
            example={"key": "the text of the key file"},
            **own,
        ),
    ]


def _of_dns() -> list[Route]:
    return [
        Route(
            method="GET",
            path="/upstream-presets",
            summary="Which provider an address is with, by its DNS, and what to enter for it",
            do=_detect,
            gives=DetectView,
            query=("address",),
            slow=True,
        ),
        Route(
            method="GET",
            path="/domains/{domain}",
            summary="SPF, DKIM, DMARC and MX of a sender domain, and what to publish",
            do=_check,
            gives=DomainView,
            query=("account", "upstream", "selector", "blocklists"),
            slow=True,
        ),
        Route(
            method="POST",
            path="/message-readings",
            summary="A received message read: its signatures, SPF and DMARC, and what to fix",
            do=_read,
            gives=MessageReadingView,
            takes=Received,
            example={"message": "RnJvbTogYW5uQGV4YW1wbGUuY29tDQoNCkhpLg0K"},
            slow=True,
            body_octets=READ_OCTETS,
        ),
    ]


def _begin(ask: Ask) -> Begun:
    said: Consent = ask.body
    client = _client(ask, said) if said.client_id else None
    name, back = ask.path["upstream"], said.redirect_uri
    return connect.begin(ask.desk, name, back, client, account=ask.whose)


def _finish(ask: Ask) -> UpstreamView:
    said: Consented = ask.body
    return connect.finish(ask.desk, said.code, said.state, account=ask.of(said.account))


def _by_client(ask: Ask) -> UpstreamView:
    client = _client(ask, ask.body)
    return connect.by_client(ask.desk, ask.path["upstream"], client, account=ask.whose)


def _by_service_account(ask: Ask) -> UpstreamView:
    said: ServiceAccount = ask.body
    if said.key is None:
        raise UsageError("send the text of the key file", "key")
    octets = said.key.reveal().encode()
    name, client = ask.path["upstream"], _client(ask, said)
    return connect.by_service_account(ask.desk, name, octets, client, account=ask.whose)


def _client(ask: Ask, said: Client) -> connect.Client:
    return connect.Client(
        client_id=said.client_id,
        client_secret=said.client_secret,
        provider=said.provider,
        tenant=said.tenant,
        authorize_url=said.authorize_url,
        token_url=said.token_url,
        scope=said.scope,
        trusted=not ask.mine,
    )


def _detect(ask: Ask) -> DetectView:
    if "address" not in ask.query:
        raise UsageError("say the address whose provider is asked for", "address")
    return detect(ask.means.lookup, ask.query["address"])


def _check(ask: Ask) -> DomainView:
    said = ask.query.get("selector", "")
    asked = check.Asked(
        upstream=ask.query.get("upstream"),
        account=ask.whose,
        selectors=tuple(part.strip() for part in said.split(",")) if said else (),
        blocklists=reads.yes(ask.query, "blocklists"),
    )
    resolver = ask.means.dns.resolver()
    return check.check(ask.desk, resolver, ask.path["domain"], asked)


def _read(ask: Ask) -> MessageReadingView:
    said: Received = ask.body
    try:
        return verify(ask.means.dns.resolver(), said.message, ask.desk.clock.wall_ms())
    except StoreAway:
        raise
    except WaypostError as error:
        raise UsageError(error.public, "message") from error
