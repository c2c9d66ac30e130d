"""The dependency rule, read from the imports: which package may know which, and what is pure."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ovpn6"

EVERYTHING_BELOW = (
    *("config", "datapath", "model", "mtu", "netconf", "netlink", "protocol", "roles"),
)

ALLOWED: dict[str, tuple[str, ...]] = {
    "model": (),
    "config": ("model",),
    "protocol": ("model",),
    "mtu": ("model",),
    "roles": ("config", "model", "mtu", "protocol"),
    "datapath": ("model", "netlink", "protocol"),
    "netconf": ("model", "netlink"),
    "netlink": ("model",),
    "daemon": EVERYTHING_BELOW,
    "lab": ("model",),
    "pki": ("model", "protocol.static_key", "protocol.tls_crypt_v2"),
    "doctor": ("config", "model", "mtu"),
    "cli": ("config", "daemon", "doctor", "model", "pki"),
    "__main__": ("cli",),
    "__init__": (),
}
"""What each package or top-level module may import of ours, besides itself."""

PURE = ("model", "protocol", "mtu", "roles")

IMPURE_MODULES = frozenset(
    {
        *("asyncio", "concurrent", "multiprocessing", "sched", "threading"),
        *("fcntl", "io", "os", "pathlib", "shutil", "sys", "tempfile"),
        *("http", "select", "selectors", "signal", "socket", "ssl", "subprocess", "urllib"),
        *("random", "secrets", "time", "uuid", "logging"),
        *("OpenSSL", "pyroute2", "rich", "scapy"),
    }
)
IMPURE_CALLS = frozenset({"open", "print", "input"})
CLOCKS = frozenset({"now", "utcnow", "today"})
"""Methods of ``datetime`` that look at the clock; the rest of it is arithmetic."""


@dataclass(frozen=True)
class Import:
    """One imported module, in full, and where."""

    module: str
    where: str
    relative: bool = False


def imports_of(source: str, name: str) -> list[Import]:
    """Every import in ``source``, also inside functions and ``TYPE_CHECKING``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, f"{name}:{node.lineno}") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            where = f"{name}:{node.lineno}"
            module = node.module or ""
            if module == "ovpn6":
                names = [alias.name for alias in node.names if alias.name != "__version__"]
                found += [Import(f"ovpn6.{imported}", where) for imported in names]
            elif module.count(".") == 1 and module.startswith("ovpn6."):
                # "from ovpn6.protocol import packets" names a module or a name in the package.
                found += [Import(f"{module}.{alias.name}", where) for alias in node.names]
            else:
                found.append(Import(module, where, relative=node.level > 0))
    return found


def forbidden_layers(source: str, name: str, package: str) -> list[str]:
    """Imports of ours that ``package`` may not have."""
    allowed = (package, *ALLOWED[package])
    return [
        f"{found.where}: {package} imports {found.module}"
        for found in imports_of(source, name)
        if found.relative or (found.module.startswith("ovpn6.") and not _within(found, allowed))
    ]


def impurities(source: str, name: str) -> list[str]:
    """What a pure package may not touch: clocks, randomness, files, sockets, tasks, logs."""
    found = [
        f"{entry.where}: imports {entry.module}"
        for entry in imports_of(source, name)
        if entry.module.split(".")[0] in IMPURE_MODULES
    ]
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found += [
        f"{name}:{called.lineno}: calls {called.id}"
        for called in calls
        if isinstance(called, ast.Name) and called.id in IMPURE_CALLS
    ]
    found += [
        f"{name}:{called.lineno}: reads the clock by {called.attr}()"
        for called in calls
        if isinstance(called, ast.Attribute) and called.attr in CLOCKS
    ]
    return found


def _within(found: Import, allowed: tuple[str, ...]) -> bool:
    return any(
        found.module == f"ovpn6.{name}" or found.module.startswith(f"ovpn6.{name}.")
        for name in allowed
    )


def _sources(package: str) -> list[Path]:
    module = ROOT / f"{package}.py"
    return [module] if module.exists() else sorted((ROOT / package).rglob("*.py"))


def test_every_package_has_a_row_in_the_rule() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    modules = {path.stem for path in ROOT.glob("*.py")}
    assert packages | modules <= set(ALLOWED)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_point_down_only(package: str) -> None:
    wrong = [
        line
        for path in _sources(package)
        for line in forbidden_layers(path.read_text(), str(path.relative_to(ROOT)), package)
    ]
    assert wrong == []


@pytest.mark.parametrize("package", sorted(set(ALLOWED) - {"lab", "model"}))
def test_dataclasses_are_the_quick_ones(package: str) -> None:
    """Of ``model.records``: the standard library's took half of a daemon's start."""
    slow = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in _sources(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
        if any(alias.name == "dataclass" for alias in node.names)
    ]
    assert slow == []


@pytest.mark.parametrize("package", PURE)
def test_the_core_touches_no_clock_randomness_or_host(package: str) -> None:
    sources = _sources(package)
    assert sources
    wrong = [
        line
        for path in sources
        for line in impurities(path.read_text(), str(path.relative_to(ROOT)))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("model", "import ovpn6.config.schema"),
        ("protocol", "from ovpn6 import roles"),
        ("protocol", "from ovpn6.roles.server import ServerRole"),
        ("netconf", "def later():\n    from ovpn6.datapath.interface import Datapath"),
        ("pki", "from ovpn6.protocol.tls_crypt import SivKey"),
        ("pki", "from ovpn6.protocol import tls_crypt"),
        ("roles", "from . import server"),
        ("lab", "from ovpn6.pki import authority"),
    ],
)
def test_the_checker_sees_an_import_that_points_elsewhere(package: str, source: str) -> None:
    assert len(forbidden_layers(source, "x.py", package)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("pki", "from ovpn6.protocol import static_key"),
        ("pki", "from ovpn6.protocol.tls_crypt_v2 import ServerKey"),
        ("roles", "from ovpn6.model.names import PeerId\nimport hmac"),
    ],
)
def test_the_checker_lets_allowed_imports_pass(package: str, source: str) -> None:
    assert forbidden_layers(source, "x.py", package) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from os import urandom",
        "import asyncio.events",
        "from OpenSSL import SSL",
        "def f():\n    import secrets",
        "text = open('x')",
        "from datetime import datetime\ndatetime.now()",
    ],
)
def test_the_checker_sees_an_impurity(source: str) -> None:
    assert len(impurities(source, "x.py")) == 1
