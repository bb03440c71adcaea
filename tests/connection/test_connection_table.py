"""One table: what an upstream does, and the diagnosis of the connection test, over real sockets."""

from __future__ import annotations

import base64
import socket
from typing import Any

import msgspec
import pytest

from connection.connection_player import (
    CLOSE,
    RESET,
    SILENT,
    Certificates,
    LoopClock,
    Play,
    Player,
    hastily,
)
from transport.fake_store import make_upstream
from waypost.core.address import parse
from waypost.core.errors import Secret
from waypost.core.upstream import Encryption, Upstream, Validate
from waypost.transport.check.others import Place
from waypost.transport.check.run import Result, Setup, Times, Wanted, check
from waypost.transport.check.watch import StepDone
from waypost.transport.link.guard import Guard
from waypost.upstream.diagnosis import Fault, Seen, Step, diagnose

PASSWORD = "Planted-Secret-77"
USER = "way@customer.example"
STARTTLS, TLS, NONE = Encryption.STARTTLS, Encryption.TLS, Encryption.NONE
WANTED = Wanted(parse("way@customer.example"), parse("you@example.net"))
PATIENT = Times(connect_s=60.0, step_s=10.0)


def setup_of(certificates: Certificates, **changes: Any) -> Setup:
    made = Setup(
        "relay.test", Guard(), LoopClock(), PATIENT, authorities=certificates.roots, others=()
    )
    return msgspec.structs.replace(made, **changes)


def upstream_of(port: int, play: Play, **changes: Any) -> Upstream:
    usual = TLS if play.implicit else STARTTLS if play.tls else NONE
    return make_upstream(
        port,
        host=changes.pop("host", "localhost"),
        encryption=changes.pop("encryption", usual),
        username=changes.pop("username", USER),
        password=Secret(PASSWORD),
        validate=changes.pop("validate", Validate.ON),
        **changes,
    )


async def tried(
    certificates: Certificates, play: Play, told: list[StepDone] | None = None, **changes: Any
) -> tuple[Result, Player]:
    told = [] if told is None else told
    context = certificates.contexts[play.tls] if play.tls else None
    async with Player(play, context) as player:
        upstream = upstream_of(player.port, play, **changes)
        setup = setup_of(certificates)
        return await check(setup, upstream, WANTED, told.append), player


def mail(step: str, text: str) -> Play:
    return Play(tls="good", say={step: text})


def login(text: str) -> Play:
    return Play(tls="good", say={"AUTH": text})


AUTH, SENDER, REJECTED = "authentication_failed", "sender_rejected", "rejected"
CERT, ENCRYPTION, LATE = "certificate_error", "wrong_encryption", "connection_timed_out"
AUTO, ON, OFF = Validate.AUTO, Validate.ON, Validate.OFF

# (what is played, how the upstream is set up, diagnosis, the step that fails, a word of the advice)
TABLE: list[tuple[Play, dict[str, Any], str, str, str]] = [
    # The greeting.
    (Play(say={"greeting": "554 5.7.1 blocked using a list"}), {}, REJECTED, "greeting", "block"),
    (
        Play(say={"greeting": "554 No SMTP service here"}),
        {},
        REJECTED,
        "greeting",
        "turned us away",
    ),
    (Play(say={"greeting": "421 4.3.2 too many connections"}), {}, REJECTED, "greeting", "limit"),
    (Play(say={"greeting": "450 4.7.1 come back later"}), {}, REJECTED, "greeting", "turned us"),
    (Play(say={"greeting": SILENT}), {}, LATE, "greeting", "said nothing more"),
    (Play(say={"greeting": CLOSE}), {}, "connection_refused", "greeting", "without a greeting"),
    (Play(say={"greeting": RESET}), {}, "connection_refused", "greeting", "without a greeting"),
    (
        Play(say={"greeting": "SSH-2.0-OpenSSH_9"}),
        {},
        "connection_refused",
        "greeting",
        "not speak",
    ),
    (Play(say={"greeting": "* OK IMAP4rev1"}), {}, "connection_refused", "greeting", "not speak"),
    (Play(say={"greeting": "\x15\x03\x01\x00\x02\x02\x28"}), {}, ENCRYPTION, "greeting", "tls"),
    # EHLO.
    (Play(say={"EHLO": SILENT}), {}, LATE, "EHLO", "said nothing more"),
    (Play(say={"EHLO": CLOSE}), {}, REJECTED, "EHLO", "refused to go on"),
    (Play(say={"EHLO": "550 5.7.1 bad name"}), {}, REJECTED, "EHLO", "bad name"),
    (Play(say={"EHLO": "421 4.7.0 busy"}), {}, REJECTED, "EHLO", "busy"),
    # TLS, and TLS where there is none.
    (Play(), {"encryption": TLS}, ENCRYPTION, "TLS", "starttls"),
    (Play(tls="good"), {"encryption": TLS}, ENCRYPTION, "TLS", "starttls"),
    (Play(tls="good", implicit=True), {"encryption": STARTTLS}, ENCRYPTION, "greeting", "tls"),
    (Play(tls="good", implicit=True), {"encryption": NONE}, ENCRYPTION, "greeting", "tls"),
    (Play(), {"encryption": STARTTLS}, ENCRYPTION, "TLS", "not offer STARTTLS"),
    (Play(tls="good"), {"encryption": NONE}, ENCRYPTION, "login", "starttls"),
    (
        Play(
            tls="good", auth_in_clear=True, say={"AUTH": "530 Must issue a STARTTLS command first"}
        ),
        {"encryption": NONE},
        ENCRYPTION,
        "login",
        "starttls",
    ),
    (
        Play(tls="good", auth_in_clear=True, say={"AUTH": "538 5.7.11 Encryption required"}),
        {"encryption": NONE},
        ENCRYPTION,
        "login",
        "starttls",
    ),
    (mail("STARTTLS", "502 5.5.1 not implemented"), {}, ENCRYPTION, "TLS", "STARTTLS"),
    (mail("STARTTLS", "454 4.7.0 TLS not available"), {}, "tls_error", "TLS", "not available"),
    (mail("STARTTLS", SILENT), {}, "tls_error", "TLS", "1.2"),
    (mail("handshake", SILENT), {}, "tls_error", "TLS", "1.2"),
    (mail("handshake", CLOSE), {}, "tls_error", "TLS", "1.2"),
    (mail("handshake", "this is no TLS record"), {}, "tls_error", "TLS", "1.2"),
    (Play(tls="old TLS"), {}, "tls_error", "TLS", "before 1.2"),
    (Play(tls="old TLS", implicit=True), {}, "tls_error", "TLS", "before 1.2"),
    (Play(tls="other ciphers"), {}, "tls_error", "TLS", "cipher"),
    (Play(tls="other ciphers", implicit=True), {}, "tls_error", "TLS", "cipher"),
    # Certificates.
    *(
        (Play(tls=flaw, implicit=implicit), {"validate": validate}, CERT, "certificate", word)
        for implicit in (False, True)
        for flaw, validate, word in (
            ("expired", ON, "expired"),
            ("expired", AUTO, "expired"),
            ("wrong name", ON, "another name"),
            ("self-signed", ON, "self-signed"),
            ("unknown authority", ON, "authority"),
            ("unknown authority", AUTO, "authority"),
        )
    ),
    (Play(tls="good"), {"host": "127.0.0.1"}, CERT, "certificate", "another name"),
    (
        Play(tls="self-signed"),
        {"validate": AUTO, "pin": f"key:{'0' * 64}"},
        CERT,
        "certificate",
        "upstream trust",
    ),
    (
        Play(tls="wrong name"),
        {"validate": AUTO, "pin": "name:mail.elsewhere.example"},
        CERT,
        "certificate",
        "upstream trust",
    ),
    (Play(tls="self-signed"), {"validate": AUTO, "pin": "verified"}, CERT, "certificate", "self"),
    # The login, in the words of the providers: Google's at support.google.com/a/answer/3726730,
    # Microsoft's at learn.microsoft.com (fix-issues-with-printers-scanners-and-lob-applications,
    # smtp-submission-improvements) and aka.ms/smtp_auth_disabled, Amazon's at docs.aws.amazon.com
    # (ses, smtp-response-codes), Zoho's at help.zoho.com, Yahoo's as its users publish them.
    (
        login(
            "535-5.7.8 Username and Password not accepted. Learn more at\n535 5.7.8 "
            " https://support.google.com/mail/?p=BadCredentials lf4-20020a170902fb4400 gsmtp"
        ),
        {"preset": "google-workspace"},
        AUTH,
        "login",
        "apppasswords",
    ),
    (
        login(
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for "
            "the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information."
        ),
        {"preset": "microsoft365"},
        AUTH,
        "login",
        "Manage email apps",
    ),
    (
        login(
            "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect. "
            "[AM0PR01CA0089.eurprd01.prod.outlook.com]"
        ),
        {"preset": "microsoft365"},
        AUTH,
        "login",
        "user name and password again",
    ),
    (
        login("432 4.3.2 Concurrent connections limit exceeded."),
        {"preset": "microsoft365"},
        REJECTED,
        "login",
        "limit",
    ),
    (
        login("535 Account not subscribed to SES"),
        {"preset": "ses"},
        AUTH,
        "login",
        "SMTP credentials",
    ),
    (
        login("535 Authentication credentials invalid"),
        {"preset": "ionos"},
        AUTH,
        "login",
        "the user name there is the whole email address",
    ),
    (
        login(
            "535-5.7.8 Username and Password not accepted. For more information, go to\n"
            "535 5.7.8  https://support.google.com/mail/?p=BadCredentials x12-20020a - gsmtp"
        ),
        {"preset": "gmail"},
        AUTH,
        "login",
        "apppasswords",
    ),
    (
        login(
            "534-5.7.9 Application-specific password required. For more information, go to\n"
            "534 5.7.9  https://support.google.com/mail/?p=InvalidSecondFactor x - gsmtp"
        ),
        {"preset": "google-workspace"},
        AUTH,
        "login",
        "app password",
    ),
    (
        login(
            "534-5.7.14 <https://accounts.google.com/signin/continue> Please log in via\n"
            "534-5.7.14 your web browser and then try again.\n534 5.7.14 x - gsmtp"
        ),
        {"preset": "gmail"},
        AUTH,
        "login",
        "web mail",
    ),
    (
        login("454 4.7.0 Too many login attempts, please try again later. x - gsmtp"),
        {"preset": "gmail"},
        REJECTED,
        "login",
        "limit",
    ),
    (
        login(
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for "
            "the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information."
        ),
        {"preset": "microsoft365"},
        AUTH,
        "login",
        "Authenticated SMTP",
    ),
    (
        login("535 5.7.139 Authentication unsuccessful, basic authentication is disabled."),
        {"preset": "outlook"},
        AUTH,
        "login",
        "XOAUTH2",
    ),
    (
        login(
            "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to "
            "be authenticated successfully. Contact your administrator."
        ),
        {"preset": "microsoft365"},
        AUTH,
        "login",
        "administrator",
    ),
    (
        login("535 5.7.3 Authentication unsuccessful [AM0PR01CA0089.eurprd01.prod.outlook.com]"),
        {"preset": "microsoft365"},
        AUTH,
        "login",
        "Authenticated SMTP",
    ),
    (
        login("550 5.7.30 Basic authentication is not supported for Client Submission."),
        {"preset": "microsoft365"},
        AUTH,
        "login",
        "XOAUTH2",
    ),
    (login("535 Authentication Failed"), {"preset": "zoho"}, AUTH, "login", "accounts.zoho.com"),
    (
        login("535 5.7.8 Your account is locked due to suspicious login activity"),
        {"preset": "zoho"},
        AUTH,
        "login",
        "blocked this login",
    ),
    (
        login("535 Authentication Credentials Invalid"),
        {"preset": "ses"},
        AUTH,
        "login",
        "SMTP cred",
    ),
    (
        login("454 Throttling failure: Maximum sending rate exceeded."),
        {},
        REJECTED,
        "login",
        "limit",
    ),
    (
        login("535 5.7.0 (#MBR1212) Incorrect username or password"),
        {"preset": "yahoo"},
        AUTH,
        "login",
        "app password",
    ),
    (
        login("535 5.7.0 (#AUTH005) Too many bad auth attempts."),
        {"preset": "yahoo"},
        AUTH,
        "login",
        "wants an app password",
    ),
    (login("535 Incorrect authentication data"), {"preset": "cpanel"}, AUTH, "login", "password"),
    (login("535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6"), {}, AUTH, "login", "password"),
    (login("454 4.7.0 Temporary authentication failure"), {}, AUTH, "login", "some minutes"),
    (login("421 4.7.0 Too many connections from you"), {}, REJECTED, "login", "limit"),
    (login("504 5.5.4 Unrecognized authentication type"), {}, AUTH, "login", "password"),
    (login(SILENT), {}, AUTH, "login", "did not answer the login"),
    (login(CLOSE), {}, AUTH, "login", "did not answer the login"),
    (login("+OK not SMTP"), {}, AUTH, "login", "did not answer the login"),
    (Play(tls="good", auth="AUTH XOAUTH2"), {}, AUTH, "login", "XOAUTH2"),
    (Play(tls="good", auth=""), {}, AUTH, "login", "587"),
    (Play(tls="good", echo=True), {}, AUTH, "login", "password"),
    # MAIL.
    (
        mail("MAIL", "553 5.7.1 Sender address rejected: not owned by user"),
        {},
        SENDER,
        "MAIL FROM",
        "alias",
    ),
    (
        mail("MAIL", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
        {},
        SENDER,
        "MAIL FROM",
        "right to send",
    ),
    (
        mail("MAIL", "553 Relaying disallowed as a@b.example"),
        {"preset": "zoho"},
        SENDER,
        "MAIL FROM",
        "alias",
    ),
    (mail("MAIL", "550 Invalid sender"), {}, SENDER, "MAIL FROM", "alias"),
    (
        mail("MAIL", "530 5.7.57 Client not authenticated to send mail"),
        {},
        AUTH,
        "MAIL FROM",
        "password",
    ),
    (
        mail("MAIL", "554 5.1.8 Email Outgoing Blocked"),
        {"preset": "zoho"},
        REJECTED,
        "MAIL FROM",
        "blocked sending",
    ),
    (
        mail("MAIL", "550 5.4.5 Daily user sending limit exceeded"),
        {},
        REJECTED,
        "MAIL FROM",
        "limit",
    ),
    (
        mail("MAIL", "454 Throttling failure: Daily message quota exceeded."),
        {},
        REJECTED,
        "MAIL FROM",
        "limit",
    ),
    (mail("MAIL", "451 4.3.0 out of order"), {}, REJECTED, "MAIL FROM", "refused to go on"),
    (mail("MAIL", SILENT), {}, LATE, "MAIL FROM", "said nothing more"),
    (mail("MAIL", CLOSE), {}, REJECTED, "MAIL FROM", "refused to go on"),
    # The test mail.
    (mail("RCPT", "550 5.1.1 no such user"), {}, REJECTED, "test mail", "another address"),
    (
        mail("RCPT", "553 5.7.1 Sender address rejected: not owned by user"),
        {},
        SENDER,
        "test mail",
        "alias",
    ),
    (mail("DATA", "550 5.7.1 no"), {}, REJECTED, "test mail", "another address"),
    (
        mail("dot", "554 Message rejected: Email address is not verified."),
        {"preset": "ses"},
        SENDER,
        "test mail",
        "verify",
    ),
    (
        mail("dot", "554 5.2.252 SendAsDenied; a not allowed to send as b"),
        {},
        SENDER,
        "test mail",
        "right to send",
    ),
    (mail("dot", "550 5.7.1 looks like spam"), {}, REJECTED, "test mail", "another address"),
    (mail("dot", CLOSE), {}, REJECTED, "test mail", "another address"),
    # Silence where it is not played above.
    (
        Play(tls="good", implicit=True, say={"greeting": SILENT}),
        {},
        LATE,
        "greeting",
        "said nothing more",
    ),
    (mail("RSET", SILENT), {}, LATE, "MAIL FROM", "said nothing more"),
    *((mail(step, SILENT), {}, LATE, "test mail", "nothing more") for step in ("RCPT", "DATA")),
    (mail("dot", SILENT), {}, LATE, "test mail", "said nothing more"),
]


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 90


@pytest.mark.parametrize(
    ("play", "changes", "diagnosis", "step", "word"),
    TABLE,
    ids=[f"{row[2]}-{row[3]}-{index}" for index, row in enumerate(TABLE)],
)
def test_diagnosis(
    certificates: Certificates,
    play: Play,
    changes: dict[str, Any],
    diagnosis: str,
    step: str,
    word: str,
) -> None:
    told: list[StepDone] = []
    result, player = hastily(tried(certificates, play, told, **changes))
    assert result.finding is not None
    shown = f"{result.finding.title} {result.finding.causes} {result.finding.fix}"
    assert (result.finding.diagnosis.value, result.steps[-1].name.value) == (diagnosis, step), shown
    assert word.lower() in shown.lower()
    assert [done.ok for done in result.steps] == [True] * (len(result.steps) - 1) + [False]
    assert [done.name for done in told] == [done.name for done in result.steps]
    assert len({done.name for done in told}) == len(told)
    assert result.finding.causes
    assert result.finding.fix
    everything = f"{told} {result}"
    assert PASSWORD not in everything
    for carried in (f"\0{USER}\0{PASSWORD}", PASSWORD):
        assert base64.b64encode(carried.encode()).decode() not in everything
    if diagnosis in (CERT, "tls_error"):
        assert not any(line.startswith("AUTH") for line in player.heard)


GOOD: list[tuple[Play, dict[str, Any], str, str]] = [
    (Play(tls="good"), {}, "", "verified"),
    (Play(tls="good", implicit=True), {}, "", "verified"),
    (Play(tls="good"), {"validate": AUTO}, "verified", "verified"),
    (Play(tls="self-signed"), {"validate": AUTO}, "key:", "self-signed"),
    (Play(tls="self-signed", implicit=True), {"validate": AUTO}, "key:", "self-signed"),
    (Play(tls="wrong name"), {"validate": AUTO}, "name:mail.hoster.example", "mail.hoster"),
    (Play(tls="expired"), {"validate": OFF}, "", "not checked"),
    (Play(tls="good", auth="AUTH LOGIN", say={"AUTH": "235 ok"}), {}, "", "verified"),
    (Play(), {"encryption": NONE}, "", ""),
    (Play(), {"encryption": NONE, "username": ""}, "", ""),
    (Play(say={"EHLO": "250 player"}), {"encryption": NONE, "username": ""}, "", ""),
]


@pytest.mark.parametrize(("play", "changes", "pin", "trusted"), GOOD)
def test_what_works(
    certificates: Certificates, play: Play, changes: dict[str, Any], pin: str, trusted: str
) -> None:
    told: list[StepDone] = []
    result, player = hastily(tried(certificates, play, told, **changes))
    assert result.ok, result.finding
    assert result.pin.startswith(pin)
    assert bool(result.pin) == bool(pin)
    names = [step.name.value for step in result.steps]
    wanted = ["resolve", "connect", "greeting", "EHLO", "TLS", "certificate", "login"]
    wanted += ["MAIL FROM", "test mail"]
    if not play.tls:
        wanted = [name for name in wanted if name not in ("TLS", "certificate")]
    if changes.get("username") == "":
        wanted.remove("login")
    assert sorted(names) == sorted(wanted)
    assert [step.name.value for step in told] == names
    if play.tls:
        assert trusted in next(s.detail for s in result.steps if s.name.value == "certificate")
        assert "TLSv1" in next(s.detail for s in result.steps if s.name.value == "TLS")
    assert "MAIL FROM:<way@customer.example>" in player.heard
    assert player.heard.index("RSET") == player.heard.index("MAIL FROM:<way@customer.example>") + 1
    assert len(player.mails) == 1
    assert b"\r\nTo: you@example.net\r\n" in player.mails[0]
    assert PASSWORD not in result.transcript
    assert "S: 220" in result.transcript
    assert "DATA" in result.transcript


def test_a_name_without_address(certificates: Certificates) -> None:
    upstream = upstream_of(587, Play(), host="no-such-host.invalid")
    result = hastily(check(setup_of(certificates), upstream, WANTED, lambda step: None))
    assert result.finding is not None
    assert result.finding.diagnosis.value == "host_not_found"
    assert [step.name.value for step in result.steps] == ["resolve"]


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("smtp.gmial.com", "smtp.gmail.com"),
        ("smtp.offce365.com", "smtp.office365.com"),
        ("smpt.zoho.eu", "smtp.zoho.eu"),
        ("mail.customer.example", ""),
    ],
)
def test_the_providers_host_that_was_meant_is_named(host: str, meant: str) -> None:
    upstream = upstream_of(587, Play(), host=host)
    found = diagnose(Seen(step=Step.RESOLVE, fault=Fault.NO_ADDRESS), upstream)
    assert (f"Did you mean {meant}?" in found.fix) is bool(meant)
    assert "Correct the host" in found.fix


def test_a_closed_port_and_which_would_work(certificates: Certificates) -> None:
    async def play(port: int) -> None:
        good, plain = Play(tls="good"), Play()
        contexts = certificates.contexts
        async with (
            Player(good, contexts["good"]) as submission,
            Player(Play(tls="good", implicit=True), contexts["good"]) as submissions,
            Player(plain, None) as old,
            Player(good, contexts["expired"]) as expired,
        ):
            others = (
                Place(submission.port, STARTTLS),
                Place(submissions.port, TLS),
                Place(old.port, STARTTLS),
                Place(expired.port, STARTTLS),
            )
            setup = setup_of(certificates, others=others)
            result = await check(setup, upstream_of(port, good), WANTED, lambda step: None)
            assert result.finding is not None
            assert result.finding.diagnosis.value == "connection_refused"
            assert result.would_work == others[:2]
            heard = [*submission.heard, *submissions.heard, *old.heard, *expired.heard]
            assert not [line for line in heard if line.startswith(("AUTH", "MAIL"))]

    with socket.socket() as closed:  # bound, so that nobody else takes the port, and deaf
        closed.bind(("127.0.0.1", 0))
        hastily(play(closed.getsockname()[1]))


@pytest.mark.parametrize(
    ("play", "encryption", "works"),
    [
        (Play(tls="good"), TLS, STARTTLS),
        (Play(tls="good", implicit=True), STARTTLS, TLS),
        (Play(tls="good", implicit=True), NONE, TLS),
        (Play(), TLS, None),
        (Play(), STARTTLS, None),
    ],
)
def test_the_same_port_with_the_other_encryption_is_named(
    certificates: Certificates, play: Play, encryption: Encryption, works: Encryption | None
) -> None:
    """But never to go without it: somebody in between may have taken STARTTLS out."""
    result, player = hastily(tried(certificates, play, encryption=encryption))
    assert result.would_work == (() if works is None else (Place(player.port, works),))


def test_no_answer_to_tcp(certificates: Certificates) -> None:
    """A full backlog drops what comes, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        filling = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            filling.append(filler)
        setup = setup_of(certificates)
        upstream = upstream_of(full.getsockname()[1], Play(), host="127.0.0.1")
        result = hastily(check(setup, upstream, WANTED, lambda step: None))
        for filler in filling:
            filler.close()
    assert result.finding is not None
    assert result.finding.diagnosis.value == "connection_timed_out"
    assert result.steps[-1].name.value == "connect"
    assert 59_000 <= result.steps[-1].ms < 120_000


def test_the_contracts_time_outs() -> None:
    assert (Times().connect_s, Times().step_s) == (10.0, 30.0)
