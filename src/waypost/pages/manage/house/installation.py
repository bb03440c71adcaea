"""The installation itself, of the management API: its checks and its sealing keys.

Promises that both are the operator's alone. Knows nothing of what is checked and sealed.
"""

from __future__ import annotations

from waypost.desk import secrets
from waypost.desk.care import report
from waypost.desk.care.finding import Report
from waypost.desk.secrets import SecretsView
from waypost.pages.manage.route import Ask, Nothing, Route


def routes() -> list[Route]:
    """All of them."""
    return [
        Route(
            method="GET",
            path="/doctor",
            summary="This installation, checked: config, ports, certificate, clock, disk, store",
            do=_doctor,
            gives=Report,
            operator=True,
            slow=True,
        ),
        Route(
            method="POST",
            path="/secrets/rotate",
            summary="A new sealing key, and every kept secret sealed with it",
            do=lambda ask: secrets.rotate(ask.desk),
            gives=SecretsView,
            takes=Nothing,
            operator=True,
            slow=True,
        ),
    ]


def _doctor(ask: Ask) -> Report:
    findings = tuple(report.findings(ask.desk, ask.means.config))
    return Report(ok=all(finding.ok for finding in findings), checks=findings)
