"""Each preset has its page; what stands there is what the preset does; its commands parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from waypost.cli.main import root
from waypost.upstream.diagnosis import Diagnosis
from waypost.upstream.presets import PRESETS, Preset

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "upstreams"
ALL = sorted(PAGES.glob("*.md"))


def commands(text: str) -> list[list[str]]:
    """What stands behind `$ ` in blocks, and the whole commands in running text."""
    blocks = "\n".join(re.findall(r"```\n(.*?)```", text, re.S))
    found = re.findall(r"^\$ (waypost .*)$", blocks, re.M)
    found += re.findall(r"`(waypost [^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return [shlex.split(line)[1:] for line in found]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_presets_page_says_what_it_sets(preset: Preset) -> None:
    text = (PAGES / f"{preset.name}.md").read_text()
    limits = preset.limits
    for fact in (
        preset.host,
        f"{preset.port}, {preset.encryption.value}",
        f"| user name | {preset.username} |",
        preset.spf,
        preset.source,
        f"| recipients a day | {limits.daily_cap or 'no cap set here'} |",
        f"| connections at once | {limits.connections} |",
        *preset.regions,
        *preset.dkim_selectors,
    ):
        if fact != "{region}":
            assert fact in text, fact
    for heading in ("## At the provider", "## Connect", "## What goes wrong"):
        assert heading in text
    assert any("add" in words and "upstream" in words for words in commands(text))
    if "xoauth2" in preset.logins:
        assert "xoauth2.md" in text
        assert any(words[:2] == ["upstream", "connect"] for words in commands(text))


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.stem)
def test_every_command_parses(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("password.txt", "client-secret.txt", "account.json"):
        (tmp_path / name).write_text("secret\n")
    for words in commands(page.read_text()):
        if words[-1] == "NAME":  # told of, not written out
            continue
        if words[:2] == ["upstream", "set"] and {"--host", "--port", "--username"} & set(words):
            assert "--password-file" in words, "the kept password is asked for again"
        command: click.Command = root
        context = root.make_context("waypost", list(words))
        rest = list(words)
        while isinstance(command, click.Group):
            _, found, rest = command.resolve_command(context, rest)
            assert found is not None, words
            command = found
            if isinstance(command, click.Group):
                context = command.make_context(command.name, list(rest), parent=context)
        command.make_context(command.name, list(rest), parent=context)


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.stem)
def test_every_link_and_diagnosis_is_there(page: Path) -> None:
    text = page.read_text()
    for target, anchor in re.findall(r"\]\(([a-z0-9-]+\.md)(?:#([\w-]+))?\)", text):
        linked = (PAGES / target).read_text()
        headings = re.findall(r"^#+ (.*)$", linked, re.M)
        names = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
        assert not anchor or anchor in names, (target, anchor)
    for name in re.findall(r"^\| `([a-z_]+)` \|", text, re.M):
        assert name in {member.value for member in Diagnosis} or name in PRESETS


def test_the_pages_are_found_from_the_readme() -> None:
    assert "docs/upstreams/README.md" in (ROOT / "README.md").read_text()
    index = (PAGES / "README.md").read_text()
    for page in ALL:
        assert page.name == "README.md" or f"({page.name})" in index
    diagnoses = (PAGES / "diagnoses.md").read_text()
    for member in Diagnosis:
        assert f"## {member.value}\n" in diagnoses
