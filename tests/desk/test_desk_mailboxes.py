"""Upstreams and senders: every deed, and everything it refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from waypost.core.address import parse
from waypost.core.errors import NotFound, Secret, UsageError, WrongState
from waypost.desk import accounts, logs, office, senders, upstreams
from waypost.desk.connection import kept
from waypost.desk.connection.edits import Fields
from waypost.desk.office import Desk
from waypost.pages.screens.servers import senders as screen
from waypost.store.connect import connect
from waypost.store.directory import Loaded, load
from waypost.store.shared import Shared
from waypost.upstream.settings import Form

HOST = Form(host="smtp.example.com")


def fields(sender: str = "a@x.org", form: Form = HOST, **more: Any) -> Fields:
    return Fields(form=form, sender=sender, **{"password": Secret("sesame77"), **more})


def loaded(desk: Desk) -> Loaded:
    """What a relay would judge by now."""
    db = connect(desk.data)
    try:
        opener = lambda number, blob: desk.sealer.open(  # noqa: E731 - one expression
            blob, f"upstream:{number}:password".encode()
        )
        return load(db, opener, None)
    finally:
        db.close()


def found(desk: Desk, account: str, address: str) -> str | None:
    """The upstream that mail of this account from this address takes."""
    directory = loaded(desk).directory
    ids = {row.name: row.id for row in directory.accounts.values()}
    sender = directory.sender_for(ids[account], parse(address))
    return None if sender is None else loaded(desk).upstreams[sender.upstream_id].name


def test_an_upstream_is_added_with_its_sender_for_all(desk: Desk) -> None:
    made = upstreams.add(desk, "main", fields(from_name="Acme"))
    assert made == upstreams.show(desk, "main")
    told = msgspec.json.decode(msgspec.json.encode(made))
    assert {
        key: told[key]
        for key in ("name", "account", "host", "port", "encryption", "username", "state", "reason")
    } == {
        "name": "main",
        "account": None,
        "host": "smtp.example.com",
        "port": 587,
        "encryption": "starttls",
        "username": "a@x.org",
        "state": "ok",
        "reason": "",
    }
    assert b"sesame77" not in msgspec.json.encode(made)
    (sender,) = senders.list_(desk)
    assert (sender.address, sender.everyone, sender.from_name) == ("a@x.org", True, "Acme")
    opened = upstreams.load(desk, "main")
    assert opened.password == Secret("sesame77")
    assert b"sesame77" not in (desk.data / "waypost.db").read_bytes()


def test_whose_an_upstream_is_says_whose_its_sender_is(desk: Desk) -> None:
    for name in ("acme", "other"):
        accounts.create(desk, name)
    upstreams.add(desk, "own", fields(), account="acme")
    upstreams.add(desk, "given", fields("b@x.org"), for_account="acme")
    own, given = upstreams.show(desk, "own", account="acme"), upstreams.show(desk, "given")
    assert (own.account, given.account) == ("acme", None)
    assert found(desk, "acme", "A@X.ORG") == "own"
    assert found(desk, "acme", "b@x.org") == "given"
    assert found(desk, "other", "a@x.org") is None
    assert found(desk, "other", "b@x.org") is None
    assert [row.name for row in upstreams.list_(desk, account="acme")] == ["own"]
    assert [row.name for row in upstreams.list_(desk)] == ["given", "own"]
    with pytest.raises(NotFound):
        upstreams.show(desk, "own")
    with pytest.raises(NotFound):
        upstreams.show(desk, "own", account="other")
    with pytest.raises(UsageError):
        upstreams.add(desk, "x", fields("c@x.org"), account="acme", for_account="acme")


def test_one_address_may_be_everybodys_and_adding_one_changes_no_other(desk: Desk) -> None:
    for name in ("acme", "other", "third"):
        accounts.create(desk, name)
    upstreams.add(desk, "global", fields())
    upstreams.add(desk, "given", fields(), for_account="other")
    upstreams.add(desk, "own", fields(), account="acme")
    assert found(desk, "acme", "a@x.org") == "own"
    assert found(desk, "other", "a@x.org") == "given"
    assert found(desk, "third", "a@x.org") == "global"
    with pytest.raises(WrongState, match="global"):
        upstreams.add(desk, "second", fields())
    with pytest.raises(WrongState, match="given"):
        upstreams.add(desk, "second", fields(), for_account="other")
    with pytest.raises(WrongState, match="own"):
        upstreams.add(desk, "second", fields(), account="acme")
    assert len(upstreams.list_(desk)) == 3
    assert len(senders.list_(desk)) == 3


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (Fields(form=HOST), "sender"),
        (fields("nobody"), "sender"),
        (Fields(form=Form(host="a b"), sender="a@x.org", password=Secret("p")), "host"),
        (Fields(sender="a@x.org"), "host"),
        (fields(password=Secret("")), "password"),
        (Fields(form=Form(host="h.example", username="u"), sender="a@x.org"), "password"),
        (fields(fallback="main"), "fallback"),
        (fields(from_name="a\nb"), "from_name"),
    ],
)
def test_wrong_fields_of_an_upstream_are_named(desk: Desk, wrong: Fields, field: str) -> None:
    with pytest.raises(UsageError) as told:
        upstreams.add(desk, "main", wrong)
    assert told.value.field == field
    assert upstreams.list_(desk) == []


def test_only_the_operator_may_do_without_a_login(desk: Desk) -> None:
    accounts.create(desk, "acme")
    made = upstreams.add(desk, "main", Fields(form=HOST, sender="a@x.org"))
    assert (made.username, made.has_password) == ("", False)
    with pytest.raises(UsageError, match="password"):
        upstreams.add(desk, "own", Fields(form=HOST, sender="a@x.org"), account="acme")


def test_a_name_is_taken_once_an_owner(desk: Desk) -> None:
    accounts.create(desk, "acme")
    upstreams.add(desk, "main", fields())
    with pytest.raises(WrongState, match="already"):
        upstreams.add(desk, "main", fields("b@x.org"))
    assert upstreams.add(desk, "main", fields(), account="acme").account == "acme"


def test_pointing_a_password_elsewhere_asks_for_it_again(desk: Desk) -> None:
    upstreams.add(desk, "main", fields())
    for form in (Form(host="evil.example"), Form(port=2525), Form(username="root")):
        with pytest.raises(UsageError) as told:
            upstreams.change(desk, "main", Fields(form=form))
        assert told.value.field == "password"
        again = upstreams.change(desk, "main", Fields(form=form, password=Secret("new")))
        assert upstreams.load(desk, "main").password == Secret("new")
        assert again.host != "smtp.example.com" or form.host is msgspec.UNSET
    assert upstreams.change(desk, "main", Fields(form=Form(daily_cap=5))).daily_cap == 5


def test_an_edit_is_a_new_edition_tried_at_once(desk: Desk, mail: Any) -> None:
    shared = Shared(desk.data)
    try:
        mail.sql("UPDATE upstream SET state = 'failing', reason = 'r', probe_at = 9, probes = 2")
        mail.sql("UPDATE sender SET held = 'no'")
        mail.sql("UPDATE upstream SET pin = 'key:aa'")
        before, bell = upstreams.load(desk, "main").edition, shared.bell
        upstreams.change(desk, "main", Fields(form=Form(connections=3)))
        now = upstreams.load(desk, "main")
        assert now.edition > before
        assert (now.health.state, now.health.reason, now.health.probe_at_ms) == ("ok", "", 0)
        assert now.limits.connections == 3
        assert now.pin == "key:aa"
        assert senders.list_(desk)[0].held is None
        assert shared.bell == bell + 1
        upstreams.change(desk, "main", Fields(form=Form(validate="on")))
        assert upstreams.load(desk, "main").pin == ""
    finally:
        shared.close()


def test_a_draft_is_what_would_be_saved(desk: Desk) -> None:
    drafted = upstreams.draft(desk, "main", fields())
    upstreams.add(desk, "main", fields())
    kept = upstreams.load(desk, "main")
    assert msgspec.structs.replace(drafted, id=kept.id) == kept
    edit = Fields(form=Form(validate="off"), password=Secret("new"))
    drafted = upstreams.draft(desk, "main", edit)
    assert upstreams.load(desk, "main") == kept
    upstreams.change(desk, "main", edit)
    kept = upstreams.load(desk, "main")
    assert (drafted.validate, drafted.password, drafted.edition) == (
        kept.validate,
        kept.password,
        kept.edition,
    )
    with pytest.raises(UsageError, match="again"):
        upstreams.draft(desk, "main", Fields(form=Form(host="evil.example")))


def test_pause_resume_and_trust(desk: Desk, mail: Any) -> None:
    paused = upstreams.pause(desk, "main", reason="maintenance")
    assert (paused.state, paused.reason) == ("paused", "maintenance")
    assert [event.kind for event in logs.events(desk)] == ["upstream.paused"]
    edition = upstreams.load(desk, "main").edition
    assert upstreams.resume(desk, "main").state == "ok"
    assert upstreams.load(desk, "main").edition > edition
    upstreams.pause(desk, "main")
    trusted = upstreams.trust(desk, "main", "key:" + "ab" * 32)
    assert (trusted.pin, trusted.state) == ("key:" + "ab" * 32, "ok")
    assert upstreams.trust(desk, "main").pin == ""
    with pytest.raises(UsageError):
        upstreams.trust(desk, "main", "anything")
    for deed in (upstreams.pause, upstreams.resume, upstreams.trust, upstreams.remove):
        with pytest.raises(NotFound):
            deed(desk, "none")


def test_a_fallback_is_named_and_goes_with_its_upstream(desk: Desk) -> None:
    upstreams.add(desk, "spare", fields())
    made = upstreams.add(desk, "main", fields("b@x.org", fallback="spare"))
    assert made.fallback == "spare"
    with pytest.raises(UsageError):
        upstreams.change(desk, "main", Fields(fallback="main"))
    with pytest.raises(NotFound):
        upstreams.change(desk, "main", Fields(fallback="none"))
    upstreams.remove(desk, "spare")
    assert upstreams.show(desk, "main").fallback is None


def test_removal_waits_for_queued_mail_or_fails_and_refunds_it(desk: Desk, mail: Any) -> None:
    kept = mail.accept("acme", "noreply@example.com", ["a@x.org", "b@x.org"], spool=b"x" * 9)
    for deed in (
        lambda **more: upstreams.remove(desk, "main", **more),
        lambda **more: senders.remove(desk, "noreply@example.com", **more),
    ):
        with pytest.raises(WrongState, match="queued"):
            deed()
    assert upstreams.show(desk, "main").state == "ok"
    mail.claim(kept)
    with pytest.raises(WrongState, match="being sent"):
        upstreams.remove(desk, "main", fail=True)
    assert upstreams.show(desk, "main").state == "paused"
    mail.sql("UPDATE queue SET claim = 0")
    assert upstreams.remove(desk, "main", fail=True).name == "main"
    assert upstreams.list_(desk) == []
    assert senders.list_(desk) == []
    assert accounts.show(desk, "acme").credits == 100
    (line,) = logs.list_(desk)
    assert (line.status, line.charged, line.refunded) == ("failed", 2, 2)
    assert logs.events(desk)[0].kind == "message.failed"
    assert office.audit(desk).ok


def test_removal_with_fail_takes_many_in_steps(desk: Desk, mail: Any) -> None:
    for _ in range(201 + 5):
        mail.sql("UPDATE account SET unlimited = 1")
        mail.accept("acme", "noreply@example.com")
    senders.remove(desk, "noreply@example.com", fail=True)
    assert senders.list_(desk) == []
    assert mail.sql("SELECT count(*) FROM queue") == [(0,)]
    assert len(logs.list_(desk, status="failed", limit=0)) == 206
    assert office.audit(desk).ok


def test_a_sender_is_added_for_all_for_one_or_as_its_own(desk: Desk, mail: Any) -> None:
    accounts.create(desk, "other")
    upstreams.add(desk, "own", fields("o@x.org"), account="other")
    senders.add(desk, "g@x.org", upstream="main", everyone=True, daily_cap=10)
    given = senders.add(desk, "s@x.org", upstream="main", account="acme", default=True)
    assert (given.account, given.accounts, given.default) == (None, ("acme",), ("acme",))
    assert accounts.show(desk, "acme").default_sender == "s@x.org"
    own = senders.add(desk, "p@x.org", upstream="own", account="other")
    assert (own.account, own.accounts, own.everyone) == ("other", ("other",), False)
    both = senders.add(desk, "s@x.org", upstream="main", account="other")
    assert both.accounts == ("acme", "other")
    assert found(desk, "acme", "p@x.org") is None
    assert {row.address for row in senders.list_(desk, account="acme")} == {
        "noreply@example.com",
        "g@x.org",
        "s@x.org",
    }


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"upstream": "main"}, UsageError),
        ({"upstream": "main", "everyone": True, "account": "acme"}, UsageError),
        ({"upstream": "none", "everyone": True}, NotFound),
        ({"upstream": "main", "account": "none"}, NotFound),
        ({"upstream": "main", "everyone": True, "daily_cap": 0}, UsageError),
        ({"upstream": "main", "everyone": True, "default": True}, UsageError),
    ],
)
def test_a_sender_that_cannot_be_is_refused(
    desk: Desk, mail: Any, wrong: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        senders.add(desk, "x@x.org", **wrong)
    assert len(senders.list_(desk)) == 1


def test_a_sender_again_is_refused(desk: Desk, mail: Any) -> None:
    with pytest.raises(WrongState, match="already"):
        senders.add(desk, "NOREPLY@example.com", upstream="main", everyone=True)


def test_a_sender_is_changed_and_its_mail_follows_it(desk: Desk, mail: Any) -> None:
    upstreams.add(desk, "second", fields())
    number = mail.accept("acme", "noreply@example.com")
    mail.sql("UPDATE queue SET day = 5, capped = 1, due = due + 86400000")
    mail.sql("UPDATE sender SET held = 'not allowed', probe_at = 7")
    mail.sql(
        "INSERT INTO place (scope, scope_id, day, used) VALUES ('s', 1, ?, 4)", (desk.today(),)
    )
    changed = senders.change(
        desk,
        "noreply@example.com",
        upstream="second",
        everyone=False,
        assign=["acme"],
        daily_cap=9,
        default=True,
    )
    assert (changed.upstream, changed.everyone, changed.accounts) == ("second", False, ("acme",))
    assert (changed.daily_cap, changed.used_today, changed.held) == (9, 4, None)
    assert changed.default == ("acme",)
    assert mail.sql("SELECT day, capped, due FROM queue") == [(0, 0, mail.clock.ms)]
    assert logs.show(desk, f"{number:016x}").upstream == "second"
    again = senders.change(
        desk, "noreply@example.com", unassign=["acme"], daily_cap=None, default=False
    )
    assert (again.accounts, again.daily_cap) == ((), None)


def test_a_raised_cap_lets_what_waits_for_it_be_tried_today(desk: Desk, mail: Any) -> None:
    upstreams.change(desk, "main", Fields(form=Form(daily_cap=5)))
    mail.accept("acme", "noreply@example.com")
    due = mail.clock.ms + 86_400_000
    mail.sql("UPDATE queue SET capped = 1, due = ?", (due,))
    upstreams.change(desk, "main", Fields(form=Form(daily_cap=4)))
    assert mail.sql("SELECT due FROM queue") == [(due,)]
    upstreams.change(desk, "main", Fields(form=Form(daily_cap=50)))
    assert mail.sql("SELECT due FROM queue") == [(mail.clock.ms,)]


def test_a_lowered_cap_lets_what_is_larger_alone_be_failed_at_once(desk: Desk, mail: Any) -> None:
    ident = mail.accept("acme", "noreply@example.com")
    due = mail.clock.ms + 86_400_000
    mail.sql("UPDATE queue SET capped = 1, due = ?", (due,))
    mail.sql("UPDATE message SET queued = 3")
    mail.sql("INSERT INTO place VALUES ('S', 1, ?, 5), ('U', 1, ?, 5)", (due // 86_400_000,) * 2)
    upstreams.change(desk, "main", Fields(form=Form(daily_cap=3)))
    senders.change(desk, "noreply@example.com", daily_cap=3)
    assert mail.sql("SELECT due FROM queue") == [(due,)], ident
    senders.change(desk, "noreply@example.com", daily_cap=2)
    assert mail.sql("SELECT due FROM queue") == [(mail.clock.ms,)]
    # Nor does anything wait behind the day that it was planned for.
    assert mail.sql("SELECT used FROM place WHERE scope IN ('S', 'U')") == [(2,), (2,)]
    mail.sql("UPDATE queue SET due = ?", (due,))
    upstreams.change(desk, "main", Fields(form=Form(daily_cap=2)))
    assert mail.sql("SELECT due FROM queue") == [(mail.clock.ms,)]


def test_which_of_several_senders_of_an_address_must_be_said(desk: Desk, mail: Any) -> None:
    upstreams.add(desk, "second", fields("noreply@example.com"), for_account="acme")
    with pytest.raises(UsageError, match="main, second"):
        senders.change(desk, "noreply@example.com", daily_cap=1)
    assert senders.change(desk, "noreply@example.com", on="second", daily_cap=1).daily_cap == 1
    with pytest.raises(NotFound):
        senders.remove(desk, "noreply@example.com", account="acme")
    with pytest.raises(WrongState, match="second"):
        senders.change(desk, "noreply@example.com", on="main", assign=["acme"])
    assert senders.remove(desk, "noreply@example.com", on="second").upstream == "second"
    assert len(senders.list_(desk)) == 1


def test_an_accounts_own_sender_is_for_it_alone(desk: Desk, mail: Any) -> None:
    upstreams.add(desk, "own", fields(), account="acme")
    with pytest.raises(UsageError):
        senders.change(desk, "a@x.org", account="acme", everyone=True)
    with pytest.raises(NotFound):
        senders.change(desk, "a@x.org", daily_cap=1)


def test_an_account_never_binds_to_the_operators_server_on_the_page(
    desk: Desk, mail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own one of the same name may be taken away while the page is looked at."""
    upstreams.add(desk, "main", fields("p@acme.test"), account="acme")
    shown = upstreams.show

    def show(*args: Any, **named: Any) -> Any:
        view = shown(*args, **named)
        upstreams.remove(desk, "main", account="acme")
        return view

    monkeypatch.setattr(upstreams, "show", show)
    form = {"address": "ceo@bank.test", "upstream": "main"}
    ask: Any = SimpleNamespace(account="acme", form=form, desk=desk, about=lambda _: desk)
    with pytest.raises(NotFound):
        screen.add(ask)
    assert found(desk, "acme", "ceo@bank.test") is None


def test_passwords_are_sealed_anew_in_place(desk: Desk, mail: Any) -> None:
    before = mail.sql("SELECT password FROM upstream")
    assert kept.reseal(desk, desk.sealer) == 1
    assert mail.sql("SELECT password FROM upstream") == before
    assert upstreams.load(desk, "main").password == Secret("sesame77")
