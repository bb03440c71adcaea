"""The log and the queue: what is shown, retried, cancelled, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from waypost.core import ident
from waypost.core.errors import NotFound, UsageError, WrongState
from waypost.desk import accounts, keys, logs, office, queue, senders, upstreams
from waypost.desk.office import Desk
from waypost.desk.view import waiting

FROM = "noreply@example.com"


def test_a_message_is_shown_whole(desk: Desk, mail: Any) -> None:
    number = mail.accept("acme", FROM, ["a@x.org", "b@x.org"])
    mail.end(number, [1, 2])
    told = msgspec.json.decode(msgspec.json.encode(logs.show(desk, ident.show(number))))
    assert (told["status"], told["charged"], told["refunded"]) == ("partial", 2, 1)
    assert (told["from"], told["account"], told["subject"]) == (FROM, "acme", "Hello")
    assert told["createdAt"] == "2026-09-21T14:13:20.000Z"
    assert [(r["address"], r["status"]) for r in told["recipients"]] == [
        ("a@x.org", "sent"),
        ("b@x.org", "failed"),
    ]
    (attempt,) = told["recipients"][1]["attempts"]
    assert attempt == {
        "at": "2026-09-21T14:13:20.000Z",
        "code": 550,
        "text": "words",
        "upstream": "main",
        "uncertain": False,
    }
    assert [(line["reason"], line["amount"], line["recipient"]) for line in told["ledger"]] == [
        ("debit", -2, None),
        ("refund", 1, 2),
    ]
    assert told["transcripts"][0]["transcript"] == "S: 550 words"


def test_the_debit_is_found_among_many_lines_and_after_a_jump_of_the_clock(
    desk: Desk, mail: Any
) -> None:
    for _ in range(40):
        mail.clock.ms += 30_000
        accounts.add_credits(desk, "acme", 1)
    number = mail.accept("acme", FROM)
    far = mail.accept("acme", FROM, at_ms=mail.clock.ms + 10**9)
    mail.sql("DROP TRIGGER ledger_no_update")
    mail.sql("UPDATE ledger SET at = 5 WHERE message_id = ?", (far,))
    for one in (number, far):
        (line,) = logs.show(desk, ident.show(one)).ledger
        assert (line.reason, line.message) == ("debit", ident.show(one))


def test_a_message_says_what_it_waits_for(desk: Desk, mail: Any) -> None:
    number = ident.show(mail.accept("acme", FROM))
    mail.sql("UPDATE queue SET due = ?, reason = 'greylisted'", (mail.clock.ms + 60_000,))

    def waits() -> tuple[str, str | None]:
        view = logs.show(desk, number)
        return view.reason, view.next_at

    assert waits() == ("greylisted", "2026-09-21T14:14:20.000Z")
    mail.sql(
        "UPDATE upstream SET state = 'failing', reason = 'away', probe_at = ?",
        (mail.clock.ms + 120_000,),
    )
    assert waits() == ("away", "2026-09-21T14:15:20.000Z")
    mail.sql("UPDATE upstream SET state = 'ok', reason = ''")
    mail.sql("UPDATE sender SET held = 'may not send as this'")
    assert waits() == ("may not send as this", None)
    upstreams.pause(desk, "main", reason="maintenance")
    assert waits() == ("maintenance", None)
    accounts.disable(desk, "acme")
    assert waits() == ("the account is disabled", None)


def test_lists_are_narrowed_by_everything_said(desk: Desk, mail: Any) -> None:
    accounts.create(desk, "other", credits=9)
    start = mail.clock.ms
    ids = [mail.accept("acme", FROM, [f"r{i}@x.org"], at_ms=start + i * 1000) for i in range(5)]
    theirs = mail.accept("other", FROM, ["R1@X.org"], at_ms=start + 9000)
    mail.end(ids[0], [1])

    def listed(**said: Any) -> list[int]:
        return [int(line.id, 16) for line in logs.list_(desk, **said)]

    assert listed() == [theirs, *ids[::-1]]
    assert listed(account="acme") == ids[::-1]
    assert listed(status="sent") == [ids[0]]
    assert listed(to="r1@x.org") == [theirs, ids[1]]
    assert listed(sender="NOREPLY@example.com", account="other") == [theirs]
    assert listed(sender="x@example.com") == []
    assert listed(after=start + 3000, account="acme") == [ids[4], ids[3]]
    assert listed(before=start + 2000) == [ids[1], ids[0]]
    assert listed(limit=2) == [theirs, ids[4]]
    assert listed(cursor=ident.show(ids[2]), limit=1) == [ids[1]]
    for wrong in ({"status": "done"}, {"cursor": "x"}, {"to": "nobody"}):
        with pytest.raises(UsageError):
            logs.list_(desk, **wrong)  # type: ignore[arg-type]  # wrong on purpose
    newer = logs.newer(desk, ident.show(ids[3]))
    assert [int(line.id, 16) for line in newer] == [ids[4], theirs]
    assert [int(line.id, 16) for line in logs.newer(desk, None, 2)] == [ids[4], theirs]


def test_another_accounts_message_is_not_found(desk: Desk, mail: Any) -> None:
    accounts.create(desk, "other")
    number = ident.show(mail.accept("acme", FROM))
    for deed in (logs.show, queue.retry, queue.cancel):
        for text in (number, "0" * 16, "f" * 16, "x", ""):
            with pytest.raises(NotFound):
                deed(desk, text, account="other")
    assert logs.show(desk, number, account="acme").status == "queued"
    assert queue.show(desk, account="other") == []


def test_refusals_and_events_are_listed(desk: Desk, mail: Any) -> None:
    made = keys.create(desk, "acme", name="web")
    for count in (1, 3):
        mail.sql(
            "INSERT INTO refusal (at, channel, peer, account_id, key_id, from_address, reason,"
            " answer, count) VALUES (?, 'smtp', '192.0.2.1', 1, ?, 'a@b', 'rate_limit', '421', ?)",
            (mail.clock.ms, made.id, count),
        )
    newest, oldest = logs.refusals(desk)
    told = msgspec.json.decode(msgspec.json.encode(newest))
    assert (told["count"], told["account"], told["key"], told["from"]) == (
        3,
        "acme",
        made.id,
        "a@b",
    )
    keys.delete(desk, made.id)
    assert logs.refusals(desk, cursor=newest.id) == [oldest]
    assert oldest.key_name == "web"
    accounts.create(desk, "other")
    assert logs.refusals(desk, account="other") == []
    upstreams.pause(desk, "main")
    (event,) = logs.events(desk, after=0)
    assert (event.upstream, event.kind) == ("main", "upstream.paused")
    assert logs.events(desk, after=event.id) == []


def test_the_queue_has_a_line_an_upstream(desk: Desk, mail: Any) -> None:
    assert queue.show(desk) == []
    first = mail.accept("acme", FROM)
    wire = mail.accept("acme", FROM)
    mail.claim(wire)
    mail.sql("UPDATE queue SET reason = 'greylisted' WHERE message_id = ?", (first,))
    (line,) = queue.show(desk)
    assert (line.upstream, line.queued, line.on_wire, line.state) == ("main", 2, 1, "ok")
    assert line.oldest_at == "2026-09-21T14:13:20.000Z"
    assert (line.next_at, line.reason) == ("2026-09-21T14:14:20.000Z", "greylisted")
    mail.sql("UPDATE upstream SET state = 'failing', reason = 'down', probe_at = ?", (2**41,))
    (line,) = queue.show(desk, account="acme")
    assert line.reason == "down"
    assert line.next_at is not None
    assert line.next_at > "2039"
    upstreams.pause(desk, "main")
    assert queue.show(desk)[0].next_at is None


def test_the_queue_says_that_an_account_is_disabled(desk: Desk, mail: Any) -> None:
    accounts.create(desk, "other", credits=9)
    mail.accept("acme", FROM)
    mail.accept("acme", FROM)
    accounts.disable(desk, "acme")
    for asker in (None, "acme"):
        (line,) = queue.show(desk, account=asker)
        assert (line.queued, line.reason, line.next_at) == (2, "the account is disabled", None)
    # Of several accounts: what the mail of the others waits for.
    mail.accept("other", FROM)
    (line,) = queue.show(desk)
    assert (line.queued, line.reason, line.next_at) == (3, "", "2026-09-21T14:14:20.000Z")
    assert queue.show(desk, account="acme")[0].reason == "the account is disabled"
    assert queue.show(desk, account="other")[0].reason == ""
    accounts.enable(desk, "acme")
    assert queue.show(desk, account="acme")[0].reason == ""


def test_retry_is_now_and_ends_what_is_in_the_way(desk: Desk, mail: Any) -> None:
    number = mail.accept("acme", FROM)
    mail.sql("UPDATE upstream SET state = 'paused', reason = 'login', probe_at = 9")
    mail.sql("UPDATE sender SET held = 'no'")
    view = queue.retry(desk, ident.show(number))
    assert view.next_at == "2026-09-21T14:13:20.000Z"
    assert upstreams.show(desk, "main").state == "ok"
    assert mail.sql("SELECT held FROM sender") == [("",)]
    mail.end(number, [1])
    with pytest.raises(WrongState, match="sent"):
        queue.retry(desk, ident.show(number))


def test_an_account_does_not_end_the_operators_pause(desk: Desk, mail: Any) -> None:
    number = ident.show(mail.accept("acme", FROM))
    upstreams.pause(desk, "main", reason="maintenance")
    mail.sql("UPDATE queue SET due = due + 60000")
    view = queue.retry(desk, number, account="acme")
    assert (view.reason, view.next_at) == ("maintenance", None)
    assert mail.sql("SELECT due FROM queue") == [(mail.clock.ms,)]
    assert upstreams.show(desk, "main").reason == "maintenance"
    assert queue.retry_all(desk, account="acme").messages == 0


def test_retry_of_an_upstream_or_of_all(desk: Desk, mail: Any) -> None:
    for _ in range(3):
        mail.accept("acme", FROM, ["a@x.org", "b@x.org"])
    wire = mail.accept("acme", FROM)
    mail.claim(wire)
    change = queue.retry_all(desk, upstream="main")
    assert (change.messages, change.recipients, change.on_wire) == (3, 6, 1)
    assert queue.retry_all(desk).messages == 0
    assert mail.sql("SELECT DISTINCT due FROM queue WHERE claim = 0") == [(mail.clock.ms,)]
    with pytest.raises(NotFound):
        queue.retry_all(desk, upstream="none")


def test_retry_counts_what_only_a_back_off_or_a_hold_keeps(desk: Desk, mail: Any) -> None:
    """It is due already, and goes all the same once that has ended."""
    for _ in range(3):
        mail.accept("acme", FROM, ["a@x.org", "b@x.org"])
    mail.sql("UPDATE queue SET due = ?", (mail.clock.ms - 1,))
    assert queue.retry_all(desk).messages == 0  # nothing keeps it: it is going
    upstreams.pause(desk, "main")
    change = queue.retry_all(desk, upstream="main")
    assert (change.messages, change.recipients) == (3, 6)
    mail.sql("UPDATE sender SET held = 'not its own'")
    change = queue.retry_all(desk)
    assert (change.messages, change.recipients) == (3, 6)
    assert queue.retry_all(desk).messages == 0


def test_retry_of_all_leaves_what_is_to_be_sent_later(desk: Desk, mail: Any) -> None:
    """Its client said when: after an outage everybody's planned mail would go out at once."""
    later, tried, planned = (mail.accept("acme", FROM) for _ in range(3))
    until = mail.clock.ms + 5 * 86_400_000
    for number in (later, planned):
        mail.sql("UPDATE message SET hold_until = ? WHERE id = ?", (until, number))
        mail.sql("UPDATE queue SET due = ? WHERE message_id = ?", (until, number))
    # Who names it wants it now.
    assert queue.retry(desk, ident.show(planned)).next_at == "2026-09-21T14:13:20.000Z"
    assert queue.retry_all(desk).messages == 1
    assert queue.retry_all(desk, upstream="main").messages == 0
    now = mail.clock.ms
    dues = [(later, until), (tried, now), (planned, now)]
    assert mail.sql("SELECT message_id, due FROM queue ORDER BY message_id") == dues


def test_an_account_sees_its_queue_behind_any_number_of_others(desk: Desk, mail: Any) -> None:
    accounts.create(desk, "last", credits=5)
    for number in range(60):
        address = f"s{number}@example.com"
        senders.add(desk, address, upstream="main", everyone=True)
        mail.accept("acme" if number < 59 else "last", address)
    (line,) = waiting.show(desk, account="last").lines
    assert (line.upstream, line.queued) == ("main", 1)
    assert waiting.show(desk, account=None).more


def test_cancel_refunds_once_and_never_touches_the_wire(desk: Desk, mail: Any) -> None:
    number = mail.accept("acme", FROM, ["a@x.org", "b@x.org"], spool=b"y" * 7)
    file = desk.data / "spool" / ident.show(number)
    assert file.exists()
    mail.claim(number)
    with pytest.raises(WrongState, match="being sent"):
        queue.cancel(desk, ident.show(number))
    assert logs.show(desk, ident.show(number)).on_wire
    mail.sql("UPDATE queue SET claim = 0")
    view = queue.cancel(desk, ident.show(number))
    assert (view.status, view.refunded, view.body_kept) == ("cancelled", 2, False)
    assert not file.exists()
    assert accounts.show(desk, "acme").credits == 100
    with pytest.raises(WrongState, match="ended"):
        queue.cancel(desk, ident.show(number))
    assert [line.amount for line in accounts.ledger(desk, "acme")] == [100, -2, 1, 1]
    assert office.audit(desk).ok


def test_cancel_by_key_and_by_sender(desk: Desk, mail: Any) -> None:
    accounts.create(desk, "other", credits=9)
    accounts.add_credits(desk, "acme", 400)
    web = keys.create(desk, "acme").id
    for _ in range(203):
        mail.accept("acme", FROM, key_id=web)
    wire = mail.accept("acme", FROM, key_id=web)
    mail.claim(wire)
    mail.accept("acme", FROM)
    mail.accept("other", FROM)
    keys.delete(desk, web)
    with pytest.raises(NotFound):
        queue.cancel_key(desk, web, account="other")
    change = queue.cancel_key(desk, web)
    assert (change.messages, change.recipients, change.on_wire) == (203, 203, 1)
    assert queue.cancel_sender(desk, FROM.upper(), account="acme").messages == 1
    assert mail.sql("SELECT count(*) FROM queue WHERE claim = 0") == [(1,)]
    everyone = queue.cancel_sender(desk, FROM)
    assert (everyone.messages, everyone.on_wire) == (1, 1)
    with pytest.raises(NotFound):
        queue.cancel_sender(desk, "x@x.org")
    with pytest.raises(NotFound):
        queue.cancel_key(desk, 99)
    assert office.audit(desk).ok
