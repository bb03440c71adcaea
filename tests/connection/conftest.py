"""Certificates of every kind, made once for this folder."""

from __future__ import annotations

import pytest

from connection.connection_player import Certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))
