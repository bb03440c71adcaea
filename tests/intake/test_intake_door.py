"""The door: judged, committed, waited for; what is said when each of these fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from waypost.core import ident
from waypost.core.address import parse
from waypost.core.errors import StoreAway
from waypost.core.message import Changed, Committed, Content, SpoolPart, Submission
from waypost.core.verdict import Reason, Refusal, Settled
from waypost.policy.line_ends import Flags

HEAD = b"From: app@example.com\r\nTo: to@example.net\r\nMessage-ID: <1@x>\r\n\r\n"


def submission(head: bytes = HEAD, rest: bytes | SpoolPart = b"body\r\n", raw: int = 99) -> Any:
    return Submission(
        channel="test",
        account_id=1,
        key_id=1,
        peer="192.0.2.1",
        helo="client",
        tls=True,
        mail_from=parse("app@example.com"),
        rcpt_to=(parse("to@example.net"),),
        content=Content(head, rest, raw, b"\0" * 32, False),
    )


def submit(front: Any, what: Submission) -> Refusal | Settled:
    outcome = front.run(lambda: front.door.submit(what, Flags()))
    assert isinstance(outcome, Refusal | Settled)
    return outcome


def test_accepted_is_committed_once_and_waited_for(front: Any) -> None:
    outcome = submit(front, submission())
    assert isinstance(outcome, Settled)
    (acceptance,) = front.store.commits
    assert acceptance.id == outcome.message_id
    assert 0.5 < front.store.waits[0] <= 1.0
    assert front.store.refusals == []


def test_the_wait_is_from_the_final_dot(front: Any) -> None:
    commit = front.store.commit

    async def slow(acceptance: Any) -> Any:
        front.clock.later_s += 0.7
        return await commit(acceptance)

    front.store.commit = slow
    submit(front, submission())
    assert front.store.waits[0] <= 0.3


def test_ids_go_on_where_the_wall_is_set_back(front: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key's rate is counted by them: if they stood, it would be used up for hours."""
    submit(front, submission())
    back_ms = front.clock.wall_ms() - 6 * 3_600_000
    monkeypatch.setattr(front.clock, "wall_ms", lambda: back_ms)
    submit(front, submission())
    front.clock.later_s += 120
    submit(front, submission())
    first, second, third = (ident.milliseconds(one.id) for one in front.store.commits)
    assert first <= second
    assert third - second >= 59_000


def test_no_wait_answers_from_the_commit_alone(front: Any) -> None:
    front.door.inline_wait_s = 0
    outcome = submit(front, submission())
    assert outcome == Settled(front.store.commits[0].id, queued=1, sent=0, failed=0)
    assert front.store.waits == []


def test_a_refusal_is_kept_for_who_asks_why(front: Any) -> None:
    outcome = submit(front, submission(HEAD.replace(b"app@", b"other@")))
    assert isinstance(outcome, Refusal)
    assert outcome.reason is Reason.SENDER
    assert front.store.commits == []
    (note,) = front.store.refusals
    assert (note.channel, note.peer, note.account_id, note.key_id) == ("test", "192.0.2.1", 1, 1)
    assert (note.from_address, note.reason) == ("app@example.com", "sender_not_allowed")
    assert note.answer.startswith("550 5.7.1")


@pytest.mark.parametrize(("changes", "accepted"), [(1, True), (3, True), (4, False)])
def test_changed_facts_are_judged_again_a_few_times(
    front: Any, changes: int, accepted: bool
) -> None:
    front.store.verdicts = [Changed()] * changes
    outcome = submit(front, submission())
    assert isinstance(outcome, Settled) is accepted
    if isinstance(outcome, Refusal):
        assert outcome.reason is Reason.TROUBLE


def test_a_refusal_of_the_commit_is_the_answer(front: Any) -> None:
    front.store.verdicts = [Refusal(Reason.NO_CREDITS, "none left")]
    assert submit(front, submission()) == Refusal(Reason.NO_CREDITS, "none left")
    assert front.store.refusals[0].reason == "no_credits"


def test_a_store_that_is_away_is_451(front: Any) -> None:
    front.store.away = True
    outcome = submit(front, submission())
    assert isinstance(outcome, Refusal)
    assert outcome.smtp_line.startswith("451 4.3.0")


def test_a_bug_in_judging_is_451_and_nobody_waits_for_ever(front: Any) -> None:
    async def broken(acceptance: Any) -> Committed:
        raise RuntimeError("a bug")

    front.store.commit = broken
    outcome = submit(front, submission())
    assert isinstance(outcome, Refusal)
    assert outcome.smtp_line.startswith("451 4.3.0")
    assert "bug" not in outcome.text


def test_a_state_that_cannot_be_read_does_not_take_the_acceptance_back(front: Any) -> None:
    async def away(message_id: int, wait_s: float) -> Settled:
        raise StoreAway("away")

    front.store.settled = away
    outcome = submit(front, submission())
    assert outcome == Settled(front.store.commits[0].id, queued=1, sent=0, failed=0)


def test_a_repeat_is_answered_with_the_first_ones_state(front: Any) -> None:
    first = submit(front, submission())
    assert isinstance(first, Settled)

    async def repeated(acceptance: Any) -> Committed:
        return Committed(acceptance.id, 0, repeat_of=first.message_id)

    front.store.commit = repeated
    front.door.inline_wait_s = 0
    assert submit(front, submission()) == first


def test_a_large_body_is_walked_from_its_file(make_front: Callable[..., Any]) -> None:
    front = make_front({"body_bytes": 1000})
    path = front.data / "incoming" / "0-1"
    for body, reason in ((b"x" * 1500, Reason.TOO_LARGE), (b"x" * 900, None)):
        path.write_bytes(body + b"\r\n")
        part = SpoolPart("incoming/0-1", 0, len(body) + 2)
        outcome = submit(front, submission(rest=part, raw=1600))
        assert (outcome.reason if isinstance(outcome, Refusal) else None) is reason


def test_a_large_body_that_is_gone_is_trouble(make_front: Callable[..., Any]) -> None:
    front = make_front({"body_bytes": 1000})
    outcome = submit(front, submission(rest=SpoolPart("incoming/0-9", 0, 1500), raw=1600))
    assert isinstance(outcome, Refusal)
    assert outcome.reason is Reason.TROUBLE


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"credits": 0}, "451 4.7.1"),
        ({"room": 0}, "421 4.7.0"),
        ({"away": True}, "451 4.3.0"),
        ({}, None),
        ({"credits": None}, None),
    ],
)
def test_what_is_known_at_mail(front: Any, change: dict[str, Any], line: str | None) -> None:
    for name, value in change.items():
        setattr(front.store, name, value)
    front.store.facts.accounts[1] = type(front.store.facts.accounts[1])(
        1, "acme", True, False, 5, None, None, 0
    )
    refusal = front.door.known_at_mail(1, 1)
    assert (refusal is None) is (line is None)
    assert refusal is None or refusal.smtp_line.startswith(str(line))


def test_a_disk_that_is_nearly_full_is_452_at_mail(front: Any) -> None:
    front.free = (10, 10**12)
    refusal = front.door.known_at_mail(1, 1)
    assert refusal is not None
    assert refusal.smtp_line.startswith("452 4.3.1")
