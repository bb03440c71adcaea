"""audit, doctor, backup, restore and secrets, on a real data directory."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
CLOSED = {f"WAYPOST_LISTEN__{name}": "" for name in ("SUBMISSION", "SUBMISSIONS", "HTTP")}


def checks(ran: Any) -> dict[str, Any]:
    import json

    return {check["name"]: check for check in json.loads(ran.out)["checks"]}


def test_audit_names_its_checks(here: Run) -> None:
    proof = here("audit").json
    assert proof["ok"] is True
    assert all(set(check) >= {"name", "ok", "detail"} for check in proof["checks"])


def test_a_backup_comes_back_with_its_passwords(here: Run, waypost: Run, tmp_path: Path) -> None:
    before = here("upstream", "list").json
    assert here("backup", "copy").json
    assert waypost("restore", "copy", "--data", "e", "--json").json
    assert waypost("upstream", "list", "--data", "e", "--json").json == before
    assert waypost("audit", "--data", "e", "--json").json["ok"] is True
    resealed = waypost("secrets", "rotate", "--data", "e", "--json").json
    assert (resealed["keys"], resealed["resealed"]) == (2, 1)
    assert (tmp_path / "e" / "sealing.keys").stat().st_mode & 0o777 == 0o600
    assert waypost("restore", "copy", "--data", "e").code == 1
    assert waypost("restore", "copy").code == 1
    assert not (tmp_path / "waypost-data").exists()


def test_a_rotation_leaves_the_old_key_without_use(here: Run, tmp_path: Path) -> None:
    keys = tmp_path / "d" / "sealing.keys"
    first = here("secrets", "rotate").json
    assert (first["current"], first["resealed"]) == (2, 1)
    lines = keys.read_text().splitlines()
    keys.write_text("\n".join(line for line in lines if not line.startswith("1 ")) + "\n")
    assert here("secrets", "rotate").json["resealed"] == 1
    assert here("upstream", "set", "up", "--daily-cap", 3).json["hasPassword"] is True


def test_doctor_finds_a_fresh_installation_in_order(here: Run) -> None:
    ran = here("doctor", **CLOSED)
    found = checks(ran)
    assert ran.code == 0, ran.out
    assert set(found) >= {"config", "data", "disk", "store", "audit", "secrets", "clock", "files"}
    assert all(check["status"] == "ok" for check in found.values()), found


@pytest.mark.slow
def test_doctor_names_a_taken_port_a_bad_certificate_and_loose_modes(
    here: Run, tmp_path: Path
) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    (tmp_path / "d").chmod(0o755)
    (tmp_path / "d" / "sealing.keys").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environ = CLOSED | {
            "WAYPOST_LISTEN__HTTP": f"127.0.0.1:{taken.getsockname()[1]}",
            "WAYPOST_LISTEN__METRICS": "192.0.2.1:9",
            "WAYPOST_TLS__CERTIFICATE": "bad.pem",
        }
        ran = here("doctor", **environ)
    found = checks(ran)
    assert ran.code == 1
    assert found["listen.http"]["status"] == "error"
    assert found["listen.metrics"]["status"] == "error"
    assert found["certificate"]["status"] == "error"
    assert found["secrets"]["status"] == "error"
    assert found["data"]["status"] == "warning"
    assert all(check["fix"] for check in found.values() if check["status"] != "ok")


def test_doctor_names_a_broken_configuration_and_a_missing_store(
    waypost: Run, tmp_path: Path
) -> None:
    ran = waypost("doctor", "--json", WAYPOST_WORKERS="many")
    assert ran.code == 1
    assert "WAYPOST_WORKERS" in checks(ran)["config"]["detail"]
    ran = waypost("doctor", "--json", **CLOSED)
    assert ran.code == 1
    assert checks(ran)["data"]["status"] == "error"
    assert list(tmp_path.iterdir()) == []


def test_doctor_names_a_damaged_store(here: Run, tmp_path: Path) -> None:
    database = tmp_path / "d" / "waypost.db"
    octets = bytearray(database.read_bytes())
    octets[4096 * 3 : 4096 * 6] = b"\xa5" * (4096 * 3)
    database.write_bytes(octets)
    ran = here("doctor", **CLOSED)
    assert ran.code == 1
    assert checks(ran)["store"]["status"] == "error"


@pytest.mark.parametrize("part", ["waypost.service", "waypost.toml"])
def test_what_the_service_needs_is_there(part: str) -> None:
    text = (Path(__file__).parents[2] / "contrib" / part).read_text()
    for needed in {
        "waypost.service": ("AmbientCapabilities=CAP_NET_BIND_SERVICE", "ExecReload=", "User="),
        "waypost.toml": ("[listen]", "[secrets]"),
    }[part]:
        assert needed in text
