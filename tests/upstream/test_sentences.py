"""Every reply has a plain sentence, and the known ones have their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.upstream.sentences import Sentence, explain


@pytest.mark.parametrize("code", range(200, 600))
def test_every_code_has_a_sentence(code: int) -> None:
    said = explain(code, "")
    assert said.says.endswith(".")
    assert said.do.endswith(".")
    assert said.says.isprintable()
    assert len(said.says) < 120


@pytest.mark.parametrize(
    ("code", "text", "says", "do"),
    [
        (250, "2.0.0 OK spam 12", "took the message", "Nothing"),
        (550, "5.1.1 <x@example.net> user unknown", "no such mailbox", "Correct the address"),
        (550, "no such user here", "no such mailbox", "Correct"),
        (450, "4.2.0 greylisted, come back later", "greylisting", "tried again by itself"),
        (452, "4.2.2 mailbox full", "mailbox is full", "Wait"),
        (552, "5.3.4 message too big", "larger than this server takes", "smaller"),
        (535, "5.7.8 no", "login", "app password"),
        (535, "5.7.139 Authentication unsuccessful, basic authentication is disabled",
         "switched off logins", "OAuth"),
        (554, "5.7.1 Service unavailable; blocked using zen.spamhaus.org", "refuses mail from",
         "link in its words"),
        (550, "5.7.26 This mail is unauthenticated", "could not be proved", "Domain"),
        (550, "5.4.5 Daily user sending limit exceeded", "sending limit is reached", "daily cap"),
        (554, "5.2.252 SendAsDenied; not allowed to send as", "send as this address", "bind"),
        (451, "4.7.0 whatever", "rules do not allow", "words"),
        (550, "5.1.99 odd", "wrong with an address", "Correct"),
        (550, "5.9.9 odd", "refused the recipient", "words"),
        (599, "odd", "refused it", "words"),
        (421, "bye", "busy or closing", "tried again"),
        (0, "no answer in time", "fell silent", "test the integration"),
        (0, "Connection refused", "could not be reached", "test the integration"),
        (0, "No route to host", "could not be reached", "test the integration"),
        (554, "Connection refused by policy", "refused", "words"),
        (0, "cancelled by its owner", "cancelled", "send again"),
        (0, "the connection was lost after the final dot", "nobody knows", "Ask the recipient"),
        (0, "", "no answer", "test the integration"),
        (523, "", "larger", "smaller"),
    ],
)  # fmt: skip
def test_what_is_said(code: int, text: str, says: str, do: str) -> None:
    said = explain(code, text)
    assert says in said.says
    assert do in said.do


@given(st.integers(-1, 10_000), st.text())
def test_anything_has_a_sentence(code: int, text: str) -> None:
    assert isinstance(explain(code, text), Sentence)


@given(st.text(alphabet="mailbox quotafulexcd.5127 ", max_size=400))
def test_long_words_cost_little(text: str) -> None:
    assert explain(550, text * 3).says
