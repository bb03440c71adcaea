"""What people do at the dashboard, from the link on the console to a delivered message."""

from __future__ import annotations

import re
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.window import window
from pages.town import OPERATOR, PASSWORD
from peers.need import need
from peers.process import free_port
from peers.recording import Recording, RecordingServer
from peers.relay import Relay, any_certificate

pytestmark = pytest.mark.slow

SENDER = "shop@northwind.test"
GREYLISTED = "451 4.7.1 Greylisted, try again later"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Relay]:
    """A relay that nobody has logged in to yet."""
    # Nothing is retried but by who clicks.
    queue = 'retry = ["6h"]'
    relay = Relay(tmp_path / "fresh", settings="inline_wait = 30.0", tables={"queue": queue})
    relay.start()
    yield relay
    relay.stop()


@pytest.fixture
def upstream() -> Iterator[Recording]:
    server = RecordingServer(Recording())
    server.start()
    yield server.book
    server.stop()


def link_of(relay: Relay) -> str:
    """The path of the link on the console."""
    (line,) = [x for x in relay.log.read_text().splitlines() if x.startswith("first login")]
    return "/login/" + line.rpartition("/login/")[2]


def first_login(page: Page, relay: Relay) -> None:
    page.goto(link_of(relay))
    page.fill("[name=email]", OPERATOR)
    page.fill("[name=password]", PASSWORD)
    page.click("text=Make the login")
    page.wait_for_url("**/start")


def connect(page: Page, port: int, name: str = "main") -> None:
    """Fills the form of an SMTP server."""
    page.goto("/integrations/new")
    page.fill("[name=sender]", SENDER)
    page.fill("[name=name]", name)
    page.fill("[name=host]", "127.0.0.1")
    page.select_option("[name=encryption]", "none")
    page.fill("[name=port]", str(port))
    page.fill("[name=username]", "")  # filled in from the sender; this server asks for no login
    page.click("text=Test and save")


def make_key(page: Page, name: str) -> str:
    page.goto("/keys")
    page.fill("main [name=name]", name)
    page.click("text=Make a key")
    expect(page.locator("main h1")).to_contain_text(name)
    return page.locator("[data-copy-text]").first.inner_text()


def letter(subject: str, to: str = "ann@example.com") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, to, subject
    message.set_content("It works.")
    return message


def send(relay: Relay, key: str, message: EmailMessage) -> None:
    """By a real SMTP client."""
    with smtplib.SMTP("127.0.0.1", relay.submission, timeout=120) as client:
        client.starttls(context=any_certificate())
        client.login("anything", key)
        client.send_message(message)


def test_from_the_link_to_a_delivered_message(
    fresh: Relay, upstream: Recording, browser: Browser
) -> None:
    """With an upstream that fails at first, is diagnosed, corrected, tested and saved; the steps
    tick themselves in a page that stays open.
    """
    with window(browser, fresh.http) as page:
        first_login(page, fresh)
        expect(page.locator("ol.steps > li.done")).to_have_count(0)
        wrong = free_port()
        connect(page, wrong)
        expect(page.locator("#trial")).to_contain_text("refused")
        assert fresh.cli("upstream", "list") == []
        expect(page.get_by_role("button", name="Test and save")).to_be_focused()
        page.fill("[name=port]", str(upstream.port))
        page.click("text=Test and save")
        page.wait_for_url("**/integrations/one?*")
        (made,) = fresh.cli("upstream", "list")
        assert made["port"] == upstream.port

        start = page.context.new_page()
        start.goto("/start")
        expect(start.locator("ol.steps > li.done")).to_have_count(2)
        key = make_key(page, "web shop")
        expect(start.locator("ol.steps > li.done")).to_have_count(3)
        send(fresh, key, letter("The first of many"))
        expect(start.locator("ol.steps > li.done")).to_have_count(4)
        expect(start.locator("main")).to_contain_text("The first of many: sent")
    (arrived,) = upstream.messages
    assert b"Subject: The first of many" in arrived.octets


def test_the_same_without_javascript(fresh: Relay, upstream: Recording, browser: Browser) -> None:
    """Wrong input is told on the page it was typed on, and stays there to be corrected."""
    with window(browser, fresh.http, javascript=False) as page:
        page.goto(link_of(fresh))
        page.fill("[name=email]", OPERATOR)
        page.evaluate("document.querySelector('[name=password]').removeAttribute('minlength')")
        page.fill("[name=password]", "short")
        page.click("text=Make the login")
        expect(page.locator(".notice.bad")).to_contain_text("12 to 256 characters")
        assert page.input_value("[name=email]") == OPERATOR
        page.fill("[name=password]", PASSWORD)
        page.click("text=Make the login")
        page.wait_for_url("**/start")
        connect(page, free_port())
        expect(page.locator("#trial")).to_contain_text("refused")
        assert page.input_value("[name=sender]") == SENDER
        page.fill("[name=port]", str(upstream.port))
        page.click("text=Test and save")
        page.wait_for_url("**/integrations/one?*")
        key = make_key(page, "web shop")
        send(fresh, key, letter("Without a script"))
        page.goto("/start")
        expect(page.locator("ol.steps > li.done")).to_have_count(4)
        page.goto("/logs")
        page.click("text=ann@example.com")
        expect(page.locator("main .head")).to_contain_text("sent")
    assert len(upstream.messages) == 1


def test_by_the_keyboard_alone(fresh: Relay, upstream: Recording, browser: Browser) -> None:
    """From the link to a key, each step where the focus is after the one before."""
    with window(browser, fresh.http) as page:
        page.goto(link_of(fresh))
        expect(page.locator("[name=email]")).to_be_focused()  # the first field
        page.keyboard.type(OPERATOR)
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/start")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent").strip() == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")  # what the next step leads to
        assert page.evaluate("document.activeElement.textContent").strip() == "Connect an upstream"
        page.keyboard.press("Enter")
        page.wait_for_url("**/integrations/new")
        page.focus("[name=sender]")
        page.keyboard.type(SENDER)
        page.focus("[name=host]")
        page.keyboard.type("127.0.0.1")
        page.keyboard.press("Tab")
        page.keyboard.type(str(upstream.port))
        page.keyboard.press("Tab")
        page.keyboard.type("none")  # of a list, by its first letters
        page.fill("[name=username]", "")
        page.fill("[name=name]", "main")
        page.focus("[name=port]")
        page.fill("[name=port]", str(upstream.port))
        page.keyboard.press("Enter")  # sends a form by its first button
        page.wait_for_url("**/integrations/one?*")
        page.goto("/keys")
        page.focus("main [name=name]")
        page.keyboard.type("shop")
        page.keyboard.press("Enter")
        expect(page.locator("main h1")).to_contain_text("shop")


def test_the_lines_to_copy_send(fresh: Relay, upstream: Recording, browser: Browser) -> None:
    """As they stand, at a relay that made its certificate itself."""
    node, folder = need("node", "nodemailer")
    with window(browser, fresh.http) as page:
        first_login(page, fresh)
        connect(page, upstream.port)
        page.wait_for_url("**/integrations/one?*")
        make_key(page, "lines")
        curl = page.locator("#curl [data-copy-text]").inner_text()
        python = page.locator("#smtplib [data-copy-text]").inner_text()
        script = page.locator("#nodemailer [data-copy-text]").inner_text()
    sent = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True)
    assert '"status":"sent"' in sent.stdout, sent.stdout
    subprocess.run([sys.executable, "-c", python], check=True, timeout=120)
    told = subprocess.run(
        [node, "--input-type=module", "-e", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert [m.recipients for m in upstream.messages] == [["you@example.com"]] * 3


def test_a_message_is_searched_opened_and_retried(
    fresh: Relay, upstream: Recording, browser: Browser
) -> None:
    with window(browser, fresh.http) as page:
        first_login(page, fresh)
        connect(page, upstream.port)
        page.wait_for_url("**/integrations/one?*")
        key = make_key(page, "shop")
        upstream.answers["RCPT"] = GREYLISTED
        send(fresh, key, letter("Please come", "late@example.com"))
        send(fresh, key, letter("Other mail", "other@example.com"))
        page.goto("/logs")
        page.keyboard.press("/")
        page.keyboard.type("late@example.com")
        page.keyboard.press("Enter")
        page.wait_for_url("**/logs?*")
        expect(page.locator("tr[data-row]")).to_have_count(1)
        page.locator("tr[data-row] a").first.click()
        page.wait_for_url(re.compile(r"/logs/[0-9a-f]{16}"))
        expect(page.locator("main")).to_contain_text("451 4.7.1 Greylisted")
        upstream.answers["RCPT"] = lambda line: "250 ok" if "late@" in line else GREYLISTED
        page.get_by_role("button", name=re.compile("^(Retry|Try)")).first.click()
        # Shown anew by itself.
        expect(page.locator("main .head")).to_contain_text("sent", timeout=60_000)
    assert [m.recipients for m in upstream.messages] == [["late@example.com"]]


def test_two_roles_and_two_accounts(fresh: Relay, upstream: Recording, browser: Browser) -> None:
    """A reader sees and changes nothing; another account's owner sees nothing of it."""
    fresh.cli("account", "create", "acme", "--credits", "50")
    fresh.cli("account", "create", "other", "--credits", "50")
    fresh.upstream("main", upstream.port, SENDER)
    send(fresh, fresh.key("acme", "--name", "acme's key"), letter("Only for acme"))
    people = {"reader@acme.test": ("acme", "read-only"), "owner@other.test": ("other", "owner")}
    for email, (account, role) in people.items():
        made = fresh.cli("member", "add", email, "--account", account, "--role", role)
        with window(browser, fresh.http) as page:
            page.goto("/login/" + made["link"].rpartition("/login/")[2])
            page.fill("[name=password]", PASSWORD)
            with page.expect_navigation():  # else the next page may come before the cookie
                page.click("text=Go on")
            page.goto("/logs")
            seen = page.locator("main").inner_text()
            page.goto("/keys")
            keys = page.locator("main").inner_text()
            assert ("Only for acme" in seen) is (account == "acme")
            assert ("acme's key" in keys) is (account == "acme")
            assert ("Make a key" in keys) is (role == "owner")
            assert "Operator" not in page.locator("nav.side").inner_text()
            answer = page.goto("/operator")
            assert answer is not None and answer.status == 403
