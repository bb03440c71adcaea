"""Letters of every kind, as the composer is given them."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from waypost.core.address import parse
from waypost.intake.http.compose import compose
from waypost.intake.http.letter import File, Letter

CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\ud800-\udfff]")
LINE = st.text(max_size=300).filter(lambda text: not CONTROL.search(text))
FILES = st.builds(
    File,
    filename=LINE.map(lambda text: text.strip()[:255]).filter(bool),
    content=st.binary(max_size=500),
    content_type=st.sampled_from(["application/pdf", "image/png", "text/plain; charset=utf-8"]),
    content_id=st.sampled_from(["", "one@x", "two"]),
)
LETTERS = st.builds(
    Letter,
    sender=st.just(parse("a@b.test")),
    sender_name=LINE,
    to=st.lists(st.tuples(LINE, st.just("ann@example.com")), min_size=1, max_size=5),
    cc=st.lists(st.tuples(LINE, st.just("bob@example.com")), max_size=3),
    reply_to=st.just([]),
    everyone=st.just(()),
    subject=LINE,
    text=st.one_of(st.none(), st.text(alphabet=st.characters(codec="utf-8"), max_size=3000)),
    html=st.text(alphabet=st.characters(codec="utf-8"), max_size=3000),
    headers=st.lists(st.tuples(st.just("X-Own"), LINE), max_size=3),
    files=st.lists(FILES, max_size=4),
)


def written(letter: Letter) -> bytes:
    return b"".join(compose(letter, "mark"))


def lines_of(text: str) -> list[str]:
    """The lines of a text, with one line end at its end or none."""
    return re.sub(r"\r\n|\r|\n", "\n", text).removesuffix("\n").split("\n")
