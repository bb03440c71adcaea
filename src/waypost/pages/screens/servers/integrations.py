"""SMTP integrations: the servers that mail goes out through. Listed, looked at, paused, removed.

Knows nothing of how one is tried: that is `trying`.
"""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
from litestar.handlers import HTTPRouteHandler

from waypost.core.errors import NotFound, Secret, UsageError, WaypostError, WrongState
from waypost.desk import accounts, upstreams
from waypost.desk.connection import connect
from waypost.desk.connection.detect import detect
from waypost.desk.view.overview import words
from waypost.desk.views import UpstreamView
from waypost.pages.frame.ask import Answer, Ask
from waypost.pages.frame.frame import Frame
from waypost.pages.screens.servers.owner import owner_of
from waypost.pages.settings.ready_lines import base_of
from waypost.transport.check.lookup import DnsLookup
from waypost.upstream import oauth, presets

SHOWN = 100
CONSENT = "/integrations/consent"
DONE = {
    "saved": "It works, and is saved.",
    "untested": "Saved without a test.",
    "connected": "It is connected: test it.",
}


def handlers(frame: Frame) -> list[HTTPRouteHandler]:
    """The routes."""
    about = ("name", "account")
    lookup = DnsLookup(frame.config.dns.servers)
    return [
        frame.get("/integrations", show),
        frame.get("/integrations/new", new),
        frame.get("/integrations/one", one),
        frame.get("/integrations/detect", lambda ask: detected(ask, lookup), slow=True),
        frame.get(CONSENT, consent),
        frame.post("/integrations/pause", pause, "pause upstream", subject=about),
        frame.post("/integrations/resume", resume, "resume upstream", subject=about),
        frame.post("/integrations/remove", remove, "remove upstream", subject=about),
        frame.post("/integrations/connect", begin, "connect upstream", subject=about),
        frame.post(CONSENT, finish, "connect upstream", slow=True),
    ]


def path_of(name: str, owner: str | None, done: str = "") -> str:
    """Where an integration is shown. In the query, since a name may hold a slash."""
    said = {"name": name, "account": owner or "", "done": done}
    return "/integrations/one?" + urlencode({k: v for k, v in said.items() if v})


def show(ask: Ask) -> Answer:
    found = upstreams.list_(ask.desk, account=ask.account, limit=SHOWN)
    return ask.page("mail/integrations.html", found=found, path_of=path_of)


def new(ask: Ask) -> Answer:
    return form(ask, None, {"sender": ask.query.get("sender", "")})


def one(ask: Ask) -> Answer:
    view = upstreams.show(ask.desk, ask.query.get("name", ""), account=owner_of(ask))
    return form(ask, view, values_of(view), done=DONE.get(ask.query.get("done", "")))


def form(
    ask: Ask,
    view: UpstreamView | None,
    values: dict[str, str],
    status: int = 200,
    **facts: object,
) -> Answer:
    """The form of a new one, or the page of one that is there."""
    names = []
    if view is None and ask.account is None:
        names = [found.name for found in accounts.list_(ask.desk, limit=SHOWN)]
    preset = presets.PRESETS.get(values.get("preset", ""))
    can_connect = preset is not None and any(
        preset.name in provider.presets for provider in oauth.PROVIDERS.values()
    )
    empty = {"error": None, "field": "", "trial": None, "steps": (), "done": None}
    return ask.page(
        "mail/integration.html",
        status,
        **empty
        | {
            "view": view,
            "values": values,
            "presets": [_preset(found) for found in presets.PRESETS.values()],
            "hints": preset.hints if preset is not None else (),
            "accounts": names,
            "can_connect": can_connect,
            "redirect_uri": base_of(ask) + CONSENT,
            "care": words(view.reason) if view is not None and view.reason else None,
        }
        | facts,
    )


def values_of(view: UpstreamView) -> dict[str, str]:
    """What the form of one that is there is filled with."""
    return {
        "name": view.name,
        "account": view.account or "",
        "host": view.host,
        "port": str(view.port),
        "encryption": view.encryption,
        "username": view.username,
        "validate": view.validate,
        "preset": view.preset,
        "login": view.login,
        "connections": str(view.connections),
        "per_connection": str(view.per_connection),
        "per_minute": str(view.per_minute),
        "recipients": str(view.recipients),
        "daily_cap": "" if view.daily_cap is None else str(view.daily_cap),
    }


def detected(ask: Ask, lookup: DnsLookup) -> Answer:
    """What DNS says of an address's provider, for the form."""
    try:
        found = detect(lookup, ask.query.get("address", ""))
        return Answer(msgspec.json.encode(found), media_type="application/json")
    except WaypostError as error:
        told = msgspec.json.encode({"error": error.public})
        return Answer(told, media_type="application/json")


def pause(ask: Ask) -> Answer:
    owner = owner_of(ask)
    done = upstreams.pause(ask.about(owner), ask.form.get("name", ""), account=owner)
    return ask.see(path_of(done.name, owner), "Paused: its mail waits.")


def resume(ask: Ask) -> Answer:
    owner = owner_of(ask)
    done = upstreams.resume(ask.about(owner), ask.form.get("name", ""), account=owner)
    return ask.see(path_of(done.name, owner), "It goes on.")


def remove(ask: Ask) -> Answer:
    owner, fail = owner_of(ask), ask.form.get("fail") == "yes"
    done = upstreams.remove(ask.about(owner), ask.form.get("name", ""), account=owner, fail=fail)
    return ask.see("/integrations", f"{done.name} is removed, with its senders.")


def begin(ask: Ask) -> Answer:
    """The page that leads to the provider, where the person consents."""
    name, owner = ask.form.get("name", ""), ask.account
    if ask.form.get("account", "") != (owner or ""):
        raise WrongState("choose its account at the top of the page, then connect it")
    secret = ask.form.get("client_secret", "")
    client_id = ask.form.get("client_id", "").strip()
    client = None
    if client_id:
        client = connect.Client(
            client_id=client_id,
            client_secret=Secret(secret) if secret else None,
            tenant=ask.form.get("tenant", "").strip(),
        )
    begun = connect.begin(ask.desk, name, base_of(ask) + CONSENT, client, account=owner)
    return ask.page("mail/consent.html", begun=begun, name=name, code="", state="")


def consent(ask: Ask) -> Answer:
    """Back from the provider: finished by a button, not by whoever loads the address."""
    if ask.query.get("error"):
        said = ask.query.get("error_description") or ask.query["error"]
        raise UsageError(f"the provider gave no consent: {said[:300]}", "code")
    code, state = ask.query.get("code", ""), ask.query.get("state", "")
    if not code or not state:
        raise NotFound("there is no consent in this address: begin again at the integration")
    return ask.page("mail/consent.html", begun=None, name="", code=code, state=state)


def finish(ask: Ask) -> Answer:
    code, state = ask.form.get("code", ""), ask.form.get("state", "")
    view = connect.finish(ask.desk, code, state, account=ask.account)
    return ask.see(path_of(view.name, ask.account, "connected"))


def _preset(found: presets.Preset) -> dict[str, str]:
    """A preset as the attributes of its option, which the page's script fills the form from."""
    limits = found.limits
    host = found.host
    if "{region}" in host and found.regions:
        host = host.replace("{region}", found.regions[0])
    return {
        "name": found.name,
        "title": found.title,
        "host": host,
        "port": str(found.port),
        "encryption": found.encryption.value,
        "connections": str(limits.connections),
        "per_connection": str(limits.per_connection),
        "per_minute": str(limits.per_minute),
        "recipients": str(limits.recipients),
        "daily_cap": "" if limits.daily_cap is None else str(limits.daily_cap),
        "hints": msgspec.json.encode(found.hints).decode(),
    }
