"""The law of the house (ARCHITECTURE.md), checked on the source text.

Who may import whom, who is pure, who reads time and writes SQL, and how long a thing may get. Every
check is also run on a bad snippet, so that a check that has gone blind is seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "waypost"

KNOWERS = frozenset({"policy", "store", "wire", "upstream"})
DOERS = frozenset({"intake", "transport", "watch", "domain"})
ROOT = frozenset({"clock", "config", "values", "log", "web"})
BELOW_DESK = KNOWERS | DOERS | ROOT | {"core"}

MAY_IMPORT: dict[str, frozenset[str]] = {
    "core": frozenset(),
    "clock": frozenset(),
    "log": frozenset(),
    "values": frozenset({"core"}),
    "config": frozenset({"core", "values"}),
    "web": frozenset({"core", "log"}),
    "policy": frozenset({"core"}),
    "wire": frozenset({"core"}),
    "upstream": frozenset({"core"}),
    "store": frozenset({"core", "clock"}),
    **{doer: KNOWERS | ROOT | {"core"} for doer in DOERS},
    "desk": BELOW_DESK,
    "pages": BELOW_DESK | {"desk"},
    "listeners": frozenset({"core", "config", "values"}),
    "seat": BELOW_DESK,
    "workers": frozenset({"core", "clock", "log", "store"}),
    "app": BELOW_DESK | {"desk", "pages", "listeners", "seat"},
    "cli": BELOW_DESK | {"desk", "app", "listeners", "seat", "workers"},
    "__main__": frozenset({"cli"}),
    "__init__": frozenset(),
}
"""Folder or root module -> what it may import beside itself: only downward, never sideways."""

PURE = frozenset({"core", "policy", "wire", "upstream"})
IMPURE_MODULES = frozenset(
    {
        *("asyncio", "concurrent", "threading", "multiprocessing", "subprocess", "signal"),
        *("socket", "ssl", "select", "selectors", "uvloop", "http", "urllib", "smtplib"),
        *("random", "secrets", "uuid", "logging", "structlog", "warnings"),
        *("os", "io", "pathlib", "shutil", "tempfile", "sys", "apsw", "sqlite3"),
    }
)
IMPURE_CALLS = frozenset({"open", "print", "input", "formatdate", "make_msgid", "urandom"})

TIME_READERS = frozenset(
    {
        *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.sleep"),
        *("time.perf_counter", "time.perf_counter_ns", "time.process_time", "time.ctime"),
        *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
        *("os.urandom", "uuid.uuid1", "uuid.uuid4", "secrets.token_bytes", "secrets.token_hex"),
        *("secrets.choice", "secrets.token_urlsafe", "secrets.randbelow", "loop.time"),
    }
)
TIME_OF = frozenset({"gmtime", "localtime"})  # of a time given they only convert it
SQL = re.compile(
    r"\s*(SELECT\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|REPLACE\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s"
    r"|CREATE\s+(TABLE|INDEX|UNIQUE)\s|BEGIN\s+IMMEDIATE|PRAGMA\s)"
)

MODULE_LINES = 450
FUNCTION_LINES = 60
FOLDER_FILES = 10
PARAMETERS = 8
LINE_COLUMNS = 100

Found = list[str]


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours with the folder, or root module, that it belongs to."""
    for path in sorted(SOURCE.rglob("*.py")):
        first = path.relative_to(SOURCE).parts[0]
        yield first.removesuffix(".py"), path


def imported(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import; `package` is that of the module, for relative ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            near = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*near, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def unlawful_imports(owner: str, text: str) -> Found:
    """Imports of ours that the law does not allow to `owner`."""
    found = []
    allowed = MAY_IMPORT.get(owner, frozenset()) | {owner}
    for line, name in imported(ast.parse(text), ("waypost", owner)):
        parts = name.split(".")
        if parts[0] != "waypost" or len(parts) == 1:
            continue
        if parts[1] not in allowed and not parts[1].startswith("__"):
            found.append(f"{line}: {owner} must not import {name}")
    return found


def impurities(text: str) -> Found:
    """What a folder that only returns must not do."""
    tree = ast.parse(text)
    found = [
        f"{line}: imports {name}"
        for line, name in imported(tree, ("waypost", "core"))
        if name.split(".")[0] in IMPURE_MODULES
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            found.append(f"{node.lineno}: waits")
        elif isinstance(node, ast.Call) and _last_name(node.func) in IMPURE_CALLS:
            found.append(f"{node.lineno}: calls {ast.unparse(node.func)}")
    return found + time_readers(text)


def time_readers(text: str) -> Found:
    """Every reading of time or chance."""
    tree = ast.parse(text)
    found = [
        f"{line}: imports {name}"
        for line, name in imported(tree, ("waypost", "x"))
        if name.split(".")[0] == "random" or name in TIME_READERS
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not node.args and _last_name(node.func) in TIME_OF:
            found.append(f"{node.lineno}: reads {ast.unparse(node.func)}")
        elif isinstance(node, ast.Attribute):
            words = ast.unparse(node).split(".")
            if ".".join(words[-2:]).lstrip("_") in TIME_READERS:
                found.append(f"{node.lineno}: reads {ast.unparse(node)}")
    return found


def sql(text: str) -> Found:
    """Engines imported and statements written; docstrings may speak of them."""
    tree = ast.parse(text)
    found = [
        f"{line}: imports {name}"
        for line, name in imported(tree, ("waypost", "x"))
        if name.split(".")[0] in {"apsw", "sqlite3", "asyncpg"}
    ]
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docs
            and SQL.match(node.value)
        ):
            found.append(f"{node.lineno}: SQL {node.value.strip()[:40]!r}")
    return found


def oversized(text: str) -> Found:
    """Where a module, function, parameter list or line is longer than the house allows."""
    lines = text.splitlines()
    found = [] if len(lines) <= MODULE_LINES else [f"{len(lines)}: lines in one module"]
    found += [f"{n}: {len(x)} columns" for n, x in enumerate(lines, 1) if len(x) > LINE_COLUMNS]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > FUNCTION_LINES:
            found.append(f"{node.lineno}: {node.name} has {length} lines")
        a = node.args
        names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if p]
        count = len([n for n in names if n not in {"self", "cls"}])
        if count > PARAMETERS:
            found.append(f"{node.lineno}: {node.name} has {count} parameters")
    return found


def shared_state(text: str) -> Found:
    """Mutable things at the top of a module: a lower-case name bound to one, and `global`."""
    tree = ast.parse(text)
    found = [f"{n.lineno}: global" for n in ast.walk(tree) if isinstance(n, ast.Global)]
    makers = {"list", "dict", "set", "defaultdict", "deque", "OrderedDict", "Counter", "bytearray"}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        names = node.targets if isinstance(node, ast.Assign) else [node.target]
        made = node.value
        mutable = isinstance(made, ast.List | ast.Dict | ast.Set) or (
            isinstance(made, ast.Call) and _last_name(made.func) in makers
        )
        for name in names:
            if mutable and isinstance(name, ast.Name) and not _constant(name.id):
                found.append(f"{node.lineno}: {name.id} is shared by all")
    return found


def undocumented(name: str, text: str) -> Found:
    """A module without a docstring; a folder's `__init__` that is more or hides it."""
    tree = ast.parse(text)
    doc = ast.get_docstring(tree)
    if not doc:
        return ["1: no docstring"]
    if name != "__init__.py":
        return []
    found = [] if "nows nothing of" in " ".join(doc.split()) else ["1: what does it not know?"]
    return found + [f"{node.lineno}: more than a docstring" for node in tree.body[1:]]


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _constant(name: str) -> bool:
    return name.lstrip("_").isupper() or name.startswith("__")


def _all(owners: frozenset[str] | None = None) -> list[object]:
    return [
        pytest.param(owner, path, id=str(path.relative_to(SOURCE)))
        for owner, path in modules()
        if owners is None or owner in owners
    ]


def test_every_folder_has_its_place() -> None:
    assert {owner for owner, _ in modules()} <= set(MAY_IMPORT)


@pytest.mark.parametrize(("owner", "path"), _all())
def test_imports_go_down(owner: str, path: Path) -> None:
    assert unlawful_imports(owner, path.read_text()) == []


@pytest.mark.parametrize(("owner", "path"), _all(PURE))
def test_the_pure_only_return(owner: str, path: Path) -> None:
    assert impurities(path.read_text()) == []


@pytest.mark.parametrize(("owner", "path"), [p for p in _all() if "clock.py" not in str(p)])
def test_only_the_clock_reads_time_and_chance(owner: str, path: Path) -> None:
    assert time_readers(path.read_text()) == []


@pytest.mark.parametrize(("owner", "path"), _all(frozenset(MAY_IMPORT) - {"store"}))
def test_only_the_store_speaks_sql(owner: str, path: Path) -> None:
    assert sql(path.read_text()) == []


@pytest.mark.parametrize(("owner", "path"), _all())
def test_house_numbers(owner: str, path: Path) -> None:
    assert oversized(path.read_text()) == []


@pytest.mark.parametrize(("owner", "path"), _all())
def test_no_module_has_state(owner: str, path: Path) -> None:
    assert shared_state(path.read_text()) == []


@pytest.mark.parametrize(("owner", "path"), _all())
def test_every_module_says_what_it_is(owner: str, path: Path) -> None:
    name = "__root__" if path.parent == SOURCE else path.name
    assert undocumented(name, path.read_text()) == []


def test_folders_are_small() -> None:
    for folder in [SOURCE, *(p for p in SOURCE.rglob("*") if p.is_dir())]:
        files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        assert len(files) <= FOLDER_FILES, folder.name


@pytest.mark.parametrize(
    ("owner", "bad"),
    [
        ("intake", "from waypost.transport import pool"),
        ("policy", "import waypost.wire.lines"),
        ("core", "from waypost.policy.judge import judge"),
        ("wire", "from waypost import clock"),
        ("store", "from waypost.config import Config"),
        ("transport", "def f():\n    from waypost.desk import keys"),
        ("intake", "from ..transport import pool"),
        ("desk", "from waypost import app"),
        ("pages", "from waypost.cli import main"),
    ],
)
def test_control_imports(owner: str, bad: str) -> None:
    assert unlawful_imports(owner, bad)


@pytest.mark.parametrize(
    ("owner", "good"),
    [
        ("intake", "from waypost.store.contract import Store\nfrom . import door\nimport asyncio"),
        ("store", "from waypost.clock import Clock"),
        ("cli", "from waypost.app import run\nfrom waypost import __version__"),
    ],
)
def test_control_lawful_imports(owner: str, good: str) -> None:
    assert unlawful_imports(owner, good) == []


@pytest.mark.parametrize(
    "bad",
    [
        "import asyncio",
        "from socket import socket",
        "async def f(): ...",
        "open('x')",
        "import time\ntime.gmtime()",
        "from datetime import datetime\ndatetime.now()",
        "from email.utils import formatdate\nformatdate()",
    ],
)
def test_control_purity(bad: str) -> None:
    assert impurities(bad)


@pytest.mark.parametrize(
    "bad",
    [
        "import time\ntime.monotonic()",
        "from time import time_ns",
        "import random",
        "import os\nos.urandom(3)",
        "self._loop.time()",
        "import datetime\ndatetime.datetime.now()",
    ],
)
def test_control_time(bad: str) -> None:
    assert time_readers(bad)


@pytest.mark.parametrize(
    "bad",
    ["import apsw", "x = 'SELECT 1'", "f('update x', ' DELETE FROM mail')", "'PRAGMA x' + ''"],
)
def test_control_sql(bad: str) -> None:
    assert sql(bad)


@pytest.mark.parametrize(
    "bad",
    [
        "x = 1\n" * 451,
        "def f():\n" + "    x = 1\n" * 60,
        "def f(a, b, c, d, e, f, g, *, h, i): ...",
        f"x = '{'y' * 100}'",
    ],
)
def test_control_numbers(bad: str) -> None:
    assert oversized(bad)


@pytest.mark.parametrize(
    "bad", ["cache = {}", "from collections import deque\nq = deque()", "def f():\n    global x"]
)
def test_control_state(bad: str) -> None:
    assert shared_state(bad)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("a.py", "x = 1"),
        ("__init__.py", '"""A folder."""'),
        ("__init__.py", '"""A folder. Knows nothing of SQL."""\nimport os'),
    ],
)
def test_control_docstrings(name: str, bad: str) -> None:
    assert undocumented(name, bad)
