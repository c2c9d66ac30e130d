"""What the root is made of, and the hash that names a root after it."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path

from vm.apt import RELEASE
from vm.cache import CACHE, CHECKOUT

PYTHON_VERSION = "3.13"
"""The release's own."""

PACKAGES = (
    "openvpn/trixie-backports",
    "python3",
    "iproute2",
    "iputils-ping",
    "nftables",
    "iperf3",
    "tcpdump",
    "ethtool",
    "procps",
    "openssl",
    "kmod",
    "mount",
    "util-linux",
    # Loads modules before a root that needs them can be mounted.
    "busybox-static",
)

SITE = "opt/python"
"""The project's dependencies for the guest's Python, below the root."""
CHECKOUT_POINT = "checkout"
RESULTS_POINT = "results"

FORMAT = 1
"""Raise it when a root is built differently from the same lists."""

# They look at source text, which no kernel changes.
_NOT_IN_GUESTS = ("mypy", "ruff")


def requirements() -> tuple[str, ...]:
    """What pip installs for the guest: the project's dependencies and test tools."""
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    everything = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return tuple(text for text in everything if _name(text) not in _NOT_IN_GUESTS)


def root_directory() -> Path:
    """Where the root of the present recipe is, made or not."""
    recipe = [FORMAT, RELEASE, PYTHON_VERSION, PACKAGES, SITE, requirements()]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    return CACHE / f"root-{digest[:12]}"


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return match[0].lower() if match else requirement
