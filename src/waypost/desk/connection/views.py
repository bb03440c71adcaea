"""What is shown of tests and detection: JSON things with names in camelCase.

Never holds a secret. Knows nothing of connections.
"""

from __future__ import annotations

from waypost.core.errors import WaypostError
from waypost.desk.views import UpstreamView, View
from waypost.transport.check.run import Result
from waypost.transport.check.watch import StepDone


class StepView(View):
    """One step; `ms`: milliseconds it took."""

    name: str
    ok: bool
    ms: int
    detail: str


class PlaceView(View):
    """A port of the same host that would work, with its encryption."""

    port: int
    encryption: str


class TestView(View):
    """A connection test. `diagnosis`, `title` and `fix` are null where it works.

    `pin`: how the certificate is trusted where `validate` is auto, null where nothing was decided.
    """

    __test__ = False  # for pytest, which would take it for a test by its name

    upstream: str
    host: str
    port: int
    encryption: str
    ok: bool
    diagnosis: str | None
    title: str | None
    causes: tuple[str, ...]
    fix: str | None
    steps: tuple[StepView, ...]
    transcript: str
    would_work: tuple[PlaceView, ...]
    pin: str | None


class TrustView(UpstreamView):
    """The upstream, with the pin that was and the one that is trusted from now on."""

    old: str | None
    new: str


class DetectView(View):
    """What is known of an address's provider. `found_by`: mx, srv, domain, or guess.

    `host` null: the person has to name it. `port` and `encryption` go with it.
    """

    address: str
    domain: str
    preset: str
    title: str
    host: str | None
    port: int
    encryption: str
    region: str | None
    username: str
    hints: tuple[str, ...]
    found_by: str
    mx: tuple[str, ...]


class TestFailed(WaypostError):
    """The upstream was not saved, since its test failed; `view` says why."""

    __test__ = False  # for pytest, which would take it for a test by its name

    def __init__(self, view: TestView) -> None:
        super().__init__(f"{view.diagnosis}: {view.title}")
        self.view = view


def step_view(step: StepDone) -> StepView:
    return StepView(name=step.name.value, ok=step.ok, ms=step.ms, detail=step.detail)


def view_of(name: str, host: str, port: int, encryption: str, result: Result) -> TestView:
    """A result as it is shown."""
    found = result.finding
    places = [
        PlaceView(port=place.port, encryption=place.encryption.value) for place in result.would_work
    ]
    return TestView(
        upstream=name,
        host=host,
        port=port,
        encryption=encryption,
        ok=result.ok,
        diagnosis=None if found is None else found.diagnosis.value,
        title=None if found is None else found.title,
        causes=() if found is None else found.causes,
        fix=None if found is None else found.fix,
        steps=tuple(step_view(step) for step in result.steps),
        transcript=result.transcript,
        would_work=tuple(places),
        pin=result.pin or None,
    )
