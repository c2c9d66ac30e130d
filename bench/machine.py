"""The machine that a result belongs to, without names of hosts or places."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from cryptography.hazmat.backends.openssl.backend import backend

from ovpn6.lab import process

_NUMBERS = re.compile(r"\d+(?:\.\d+)+")
_AEAD_FLAGS = ("aes", "avx2", "vaes", "vpclmulqdq", "avx512f")


def describe() -> dict[str, str]:
    """What of the machine bears on the figures, in the order to show it."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    memory = Path("/proc/meminfo").read_text(encoding="utf-8")
    return {
        "processor": cpu_model(cpu),
        "cores": str(os.cpu_count()),
        "memory": f"{total_memory_gib(memory):.0f} GiB",
        "kernel": f"Linux {numbers(platform.release())}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        "Python": platform.python_version(),
        "cryptography": f"{metadata.version('cryptography')} with {backend.openssl_version_text()}",
        "OpenSSL": numbers(process.run(["openssl", "version"]).stdout),
        "iperf3": numbers(process.run(["iperf3", "--version"]).stdout),
        "load average before": f"{os.getloadavg()[0]:.1f}",
    }


def is_busy() -> bool:
    """Whether something else would share the processors with a measurement."""
    return os.getloadavg()[0] > (os.cpu_count() or 1) / 4


def cpu_model(cpuinfo: str) -> str:
    """The model, and which instructions for ciphers it has, from the text of /proc/cpuinfo."""
    fields = dict(_fields(cpuinfo.partition("\n\n")[0].splitlines()))
    there = fields.get("flags", "").split()
    flags = [flag for flag in _AEAD_FLAGS if flag in there]
    model = fields.get("model name", "unknown")
    return f"{model} ({', '.join(flags)})" if flags else model


def total_memory_gib(meminfo: str) -> float:
    """From the text of /proc/meminfo."""
    fields = dict(_fields(meminfo.splitlines()))
    return int(fields["MemTotal"].split()[0]) / 2**20


def numbers(text: str) -> str:
    """The first version number in a text: what follows it names builds and machines."""
    match = _NUMBERS.search(text)
    return match[0] if match else "unknown"


def _fields(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()
