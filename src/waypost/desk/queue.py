"""The queue: what waits for which upstream; retry, cancel, and the end of mail whose sender goes.

What is on the wire is left alone; what a worker has claimed and not begun is taken back. An end is
refunded in its own transaction. Many messages are ended in several transactions, so that no relay
waits for long. Knows nothing of schedules.
"""

from __future__ import annotations

from collections import Counter

from waypost.core import ident
from waypost.core.errors import NotFound, WrongState
from waypost.core.event import Kind
from waypost.core.lifecycle import State
from waypost.core.upstream import UpstreamState
from waypost.desk import logs
from waypost.desk.office import NEWEST, Desk, account_of, address_of, asker, number_of, shown
from waypost.desk.views import MessageView, QueueChange, QueueLine, iso
from waypost.store.manage import rows
from waypost.store.read import log, people, waiting
from waypost.store.read.book import Look
from waypost.store.read.rows import ClaimRow, MessageRow, QueueRow, UpstreamRow
from waypost.store.several.begun import Recall
from waypost.store.sqlite.ending import Keep, end_recipients

STEP_MESSAGES = 200
"""How many messages one transaction ends at most: some milliseconds."""
TEXT_CANCELLED = "cancelled by its owner"


def show(desk: Desk, *, account: str | None = None) -> list[QueueLine]:
    """A line for every upstream that mail waits for, and (for the operator) that is in trouble."""
    with desk.reading() as look:
        owner = asker(look, account)
        found = waiting.lines(look, owner)
        claims = waiting.claimed(look, account_id=owner)
        flying = waiting.on_wire(look, claims)
        senders = Counter(row.sender_id for row in claims if row.message_id in flying)
        wire: Counter[int] = Counter()
        for sender_id, count in senders.items():
            sender = people.sender_by_id(look, sender_id)
            wire[sender.upstream_id if sender else 0] += count
        return [_line(look, row, owner, wire[row.upstream_id]) for row in found]


def retry(desk: Desk, message: str, *, account: str | None = None) -> MessageView:
    """Its queued recipients are due now; a pause, a back-off or a hold in their way ends.

    An account ends those of its own upstreams only: the operator's are for the operator to end.
    Raises `NotFound`, or `WrongState` for a message that has ended.
    """
    with desk.writing() as look:
        row = logs.found(look, message, account)
        if not row.queued:
            raise WrongState(
                f"the message has ended ({row.status}): nothing of it is left to retry; to send it"
                " again is to send a new message"
            )
        now = desk.clock.wall_ms()
        rows.message_due_now(look, row.id, now)
        sender = people.sender_by_id(look, row.sender_id)
        if sender is not None and (account is None or sender.account == account):
            free(look, sender.upstream_id, now)
        return logs.view(look, row)


def retry_all(
    desk: Desk, *, upstream: str | None = None, account: str | None = None
) -> QueueChange:
    """All that waits for an upstream (of that owner), or for every one, is due now; holds end."""
    now = desk.clock.wall_ms()
    messages = recipients = wire = 0
    with desk.reading() as look:  # to count a million takes a second: nobody is to wait for that
        for row in _chosen(look, upstream, account):
            bound = people.senders_of_upstream(look, row.id)
            back = [one.id for one in bound if one.held or row.state != UpstreamState.OK]
            stuck = waiting.due(look, back, now)
            messages, recipients = messages + stuck[0], recipients + stuck[1]
    with desk.writing() as look:
        for row in _chosen(look, upstream, account):
            free(look, row.id, now)
            senders = [one.id for one in people.senders_of_upstream(look, row.id)]
            if senders:
                moved = rows.due_now(look, senders, now)
                messages, recipients = messages + moved[0], recipients + moved[1]
                claims = waiting.claimed(look, sender_ids=senders)
                wire += len(waiting.on_wire(look, claims))
        return QueueChange(messages=messages, recipients=recipients, on_wire=wire)


def _chosen(look: Look, upstream: str | None, account: str | None) -> list[UpstreamRow]:
    """That upstream of that owner, or all of them. Raises `NotFound`."""
    owner = asker(look, account)
    if upstream is None:
        return people.upstreams(look, owner, NEWEST, 0)
    one = people.upstream(look, owner, upstream)
    if one is None:
        raise NotFound(f"there is no upstream {shown(upstream)}")
    return [one]


def cancel(desk: Desk, message: str, *, account: str | None = None) -> MessageView:
    """Ends its queued recipients as cancelled and refunds them.

    Raises `NotFound`, or `WrongState` for a message that has ended or is on the wire.
    """
    with Recall(desk.data) as recall, desk.writing() as look:
        row = logs.found(look, message, account)
        if not row.queued:
            raise WrongState(
                f"the message has ended ({row.status}): nothing of it can be cancelled"
            )
        if log.wait(look, row.id) is None and not _recalled(look, recall, row.id):
            raise WrongState("the message is being sent at this moment: it cannot be cancelled")
        _, gone = _end(look, desk, row.id, State.CANCELLED, TEXT_CANCELLED)
        done = logs.view(look, _again(look, row))
    desk.unlink(gone)
    return done


def cancel_key(desk: Desk, key_id: int, *, account: str | None = None) -> QueueChange:
    """Cancels all queued mail that came with a key, but what is on the wire."""
    below, messages, recipients, wire = NEWEST, 0, 0, 0
    while True:
        gone: list[str] = []
        with Recall(desk.data) as recall, desk.writing() as look:
            owner = asker(look, account)
            account_id = people.key_owner(look, number_of(key_id, "key"))
            if account_id is None or owner not in (None, account_id):
                raise NotFound(f"there is no key {key_id}")
            batch = waiting.of_key(look, account_id, key_id, below, STEP_MESSAGES)
            for message_id, claimed in batch:
                if claimed and not _recalled(look, recall, message_id):
                    wire += 1
                    continue
                ended, files = _end(look, desk, message_id, State.CANCELLED, TEXT_CANCELLED)
                messages, recipients, gone = messages + 1, recipients + ended, gone + files
        desk.unlink(gone)
        if len(batch) < STEP_MESSAGES:
            return QueueChange(messages=messages, recipients=recipients, on_wire=wire)
        below = batch[-1][0]


def cancel_sender(desk: Desk, address: str, *, account: str | None = None) -> QueueChange:
    """Cancels all queued mail from an address (of one account, where that asks), but what is on
    the wire.
    """
    key = address_of(address, "sender").key
    messages = recipients = 0
    while True:
        gone: list[str] = []
        with Recall(desk.data) as recall, desk.writing() as look:
            account_id = None if account is None else account_of(look, account).id
            senders = people.senders_by_key(look, key, account_id)
            if not senders:
                raise NotFound(f"there is no sender {address}")
            claims = waiting.claimed(look, sender_ids=senders, account_id=account_id)
            back = [row.message_id for row in _taken_back(look, recall, claims)]
            batch = waiting.of_senders(look, senders, account_id, STEP_MESSAGES)
            for message_id in dict.fromkeys([*back, *(row.message_id for row in batch)]):
                ended, files = _end(look, desk, message_id, State.CANCELLED, TEXT_CANCELLED)
                messages, recipients, gone = messages + 1, recipients + ended, gone + files
            wire = len(claims) - len(back)
        desk.unlink(gone)
        if len(batch) < STEP_MESSAGES:
            return QueueChange(messages=messages, recipients=recipients, on_wire=wire)


def emptied(desk: Desk, sender_ids: list[int], reason: str) -> None:
    """Fails and refunds what waits of these senders, step by step, but for the last step."""
    while sender_ids:
        gone: list[str] = []
        with Recall(desk.data) as recall, desk.writing() as look:
            claims = waiting.claimed(look, sender_ids=sender_ids)
            back = [row.message_id for row in _taken_back(look, recall, claims)]
            batch = waiting.of_senders(look, sender_ids, None, STEP_MESSAGES)
            more = len(batch) == STEP_MESSAGES
            ending = [*back, *(row.message_id for row in batch if more)]
            for message_id in dict.fromkeys(ending):
                gone += _failed(look, desk, message_id, reason)
        desk.unlink(gone)
        if not more:
            return


def last_of(look: Look, desk: Desk, sender_ids: list[int], reason: str, *, fail: bool) -> list[str]:
    """Sees to it that nothing of these senders waits; the files to unlink after the commit.

    Raises `WrongState` for mail on the wire, and without `fail` for any mail.
    """
    wire = waiting.claimed(look, sender_ids=sender_ids)
    if fail and not wire:
        batch = waiting.of_senders(look, sender_ids, None, STEP_MESSAGES) if sender_ids else []
        gone: list[str] = []
        for row in batch:
            gone += _failed(look, desk, row.message_id, reason)
        if not waiting.waits(look, sender_ids):
            return gone
    elif not waiting.waits(look, sender_ids):
        return []
    if fail:
        raise WrongState("mail of it is being sent at this moment: try again shortly")
    raise WrongState("mail of it is queued: wait, cancel it, or use --fail to fail and refund it")


def _recalled(look: Look, recall: Recall, message_id: int) -> bool:
    """Whether a message that a worker has claimed was taken back from it."""
    return bool(_taken_back(look, recall, waiting.claimed(look, message_id=message_id)))


def _taken_back(look: Look, recall: Recall, claims: list[ClaimRow]) -> list[ClaimRow]:
    """Those that are nobody's now. They are to be ended in this transaction: a worker still has
    them at hand, and may not find them claimable again."""
    back = [row for row in claims if recall.take(row.message_id, row.claim)]
    for row in back:
        rows.unclaim(look, row)
    return back


def _failed(look: Look, desk: Desk, message_id: int, reason: str) -> list[str]:
    row = log.message(look, message_id, None)
    _, gone = _end(look, desk, message_id, State.FAILED, reason)
    rows.tell(
        look,
        {
            "at": desk.clock.wall_ms(),
            "kind": Kind.MESSAGE_FAILED.value,
            "text": f"message {ident.show(message_id)} failed: {reason}",
            "account_id": row.account_id if row else None,
            "message_id": message_id,
            "sender_id": row.sender_id if row else None,
        },
    )
    return gone


def _end(look: Look, desk: Desk, message_id: int, state: State, text: str) -> tuple[int, list[str]]:
    """(recipients ended, files to unlink after the commit) of an unclaimed message."""
    numbers = waiting.numbers(look, message_id)
    gone = end_recipients(
        look.connection,
        desk.clock.wall_ms(),
        message_id,
        numbers,
        state,
        0,
        text,
        Keep(desk.body_ms, desk.failed_body_ms),
    )
    return len(numbers), gone


def free(look: Look, upstream_id: int, now_ms: int) -> None:
    """Ends a pause or a back-off of an upstream, and the holds of its senders."""
    rows.healthy(look, upstream_id, now_ms)
    rows.release_senders(look, upstream_id)


def _again(look: Look, row: MessageRow) -> MessageRow:
    return log.message(look, row.id, None) or row


def _line(look: Look, row: QueueRow, owner: int | None, on_wire: int) -> QueueLine:
    due, reason = row.due, row.reason or row.held
    if row.queued and waiting.all_disabled(look, row.upstream_id, owner):
        due, reason = None, logs.ACCOUNT_DISABLED
    elif row.state == "paused" or row.held:
        due = None
    elif due is not None:
        due = max(due, row.probe_at)
    return QueueLine(
        upstream=row.upstream,
        account=row.account,
        queued=row.queued,
        on_wire=on_wire,
        oldest_at=None if row.oldest is None else iso(ident.milliseconds(row.oldest)),
        next_at=None if due is None else iso(due),
        state=row.state,
        reason=reason or waiting.first_reason(look, row.upstream_id, owner),
    )
