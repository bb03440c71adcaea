"""The description is of the routes that are served, with examples that are what it says."""

from __future__ import annotations

import msgspec
import pytest

from waypost.pages.api.openapi import document
from waypost.pages.manage.document.examples import EXAMPLES
from waypost.pages.manage.route import Route
from waypost.pages.manage.serve import routes
from waypost.pages.manage.shapes import hook


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", routes(), ids=name_of)
def test_an_example_is_of_the_shape_it_stands_for(route: Route) -> None:
    example = EXAMPLES[route.gives.__name__]
    read: object = msgspec.convert(example, route.gives)
    assert msgspec.json.decode(msgspec.json.encode(read)) == example
    if route.takes is not None:
        msgspec.json.decode(msgspec.json.encode(route.example), type=route.takes, dec_hook=hook)


def test_every_route_is_described_once() -> None:
    told = document("0")
    names = [name_of(route) for route in routes()]
    assert len(names) == len(set(names))
    for route in routes():
        call = told["paths"][f"/api/v1/manage{route.path}"][route.method.lower()]
        assert call["security"] == [{"token": []}]
        for status in call["responses"]:
            reference = call["responses"][status].get("$ref")
            if reference:
                assert reference.rsplit("/", 1)[1] in told["components"]["responses"]
