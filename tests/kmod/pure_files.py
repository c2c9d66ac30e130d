"""The module's pure C files through ctypes, compiled for the tests alone."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ovpn6.model.addresses import IPAddress

KMOD = Path(__file__).parents[2] / "kmod"
SOURCES = (
    *(KMOD / "src" / f"{name}.c" for name in ("packet", "replay", "prefix", "policies")),
    KMOD / "user/requests.c",
)
INCLUDES = tuple(f"-I{KMOD / directory}" for directory in ("uapi", "user/include"))
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")

Network = IPv4Network | IPv6Network


def compile_c(target: Path, *words: str | Path) -> None:
    """Compile with every warning an error; without a compiler the test is skipped."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler: the module's pure files were not run")
    command = [compiler, "-std=c11", *WARNINGS, *INCLUDES, *words, *SOURCES, "-o", target]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@cache
def library() -> ctypes.CDLL:
    """Compiled once a process, and without a file left behind."""
    with TemporaryDirectory() as directory:
        target = Path(directory) / "pure.so"
        words = ("-O2", "-Wconversion", "-shared", "-fPIC", KMOD / "user/harness.c")
        compile_c(target, *words)
        loaded = ctypes.CDLL(str(target))
    for name in ("harness_replay_new", "harness_prefixes_new", "ovpn6_prefix_find"):
        getattr(loaded, name).restype = ctypes.c_void_p
    for name in ("ovpn6_prefix_exact", "ovpn6_prefix_move", "ovpn6_prefix_remove"):
        getattr(loaded, name).restype = ctypes.c_void_p
    loaded.harness_ping.restype = ctypes.c_void_p
    loaded.request_name.restype = ctypes.c_char_p
    loaded.request_is_lawful.restype = ctypes.c_bool
    return loaded


@contextmanager
def replay_window() -> Iterator[ctypes.c_void_p]:
    """A fresh ``struct ovpn6_replay``."""
    made = ctypes.c_void_p(library().harness_replay_new())
    yield made
    library().harness_replay_free(made)


def accept(window: ctypes.c_void_p, packet_id: int, now: int, patience: int) -> bool:
    """``ovpn6_replay_accept``: whether it took the id."""
    numbers = (ctypes.c_uint64(number) for number in (packet_id, now, patience))
    return bool(library().ovpn6_replay_accept(window, *numbers) == 0)


class Prefixes:
    """``struct ovpn6_prefixes`` of one family; owners are numbers from 1."""

    def __init__(self, bits: int) -> None:
        self._trie = ctypes.c_void_p(library().harness_prefixes_new(bits))

    def add(self, network: Network, owner: int) -> int:
        """The result: 0 or a negative error."""
        return int(library().ovpn6_prefix_add(*self._of(network), ctypes.c_void_p(owner)))

    def move(self, network: Network, owner: int) -> int | None:
        """The former owner; None, and nothing changes, when nobody has it."""
        found = library().ovpn6_prefix_move(*self._of(network), ctypes.c_void_p(owner))
        return None if found is None else int(found)

    def remove(self, network: Network) -> int | None:
        found = library().ovpn6_prefix_remove(*self._of(network))
        return None if found is None else int(found)

    def exact(self, network: Network) -> int | None:
        found = library().ovpn6_prefix_exact(*self._of(network))
        return None if found is None else int(found)

    def find(self, address: IPAddress) -> int | None:
        found = library().ovpn6_prefix_find(self._trie, address.packed)
        return None if found is None else int(found)

    @property
    def is_empty(self) -> bool:
        return bool(library().harness_prefixes_empty(self._trie))

    def close(self) -> None:
        library().harness_prefixes_free(self._trie)

    def _of(self, network: Network) -> tuple[ctypes.c_void_p, bytes, int]:
        return self._trie, network.network_address.packed, network.prefixlen


def verdict(first: int, length: int) -> int:
    """0 ours, 1 not ours, 2 refused."""
    return int(library().harness_verdict(first, ctypes.c_size_t(length)))


def decode_header(data: bytes) -> tuple[int, int, int]:
    """Key id, peer id, packet id."""
    numbers = (ctypes.c_uint32 * 3)()
    library().harness_header(data, numbers)
    return numbers[0], numbers[1], numbers[2]


def encode_header(key_id: int, peer_id: int, packet_id: int) -> bytes:
    """The authenticated beginning of a data packet."""
    out = ctypes.create_string_buffer(8)
    library().harness_encode(key_id, peer_id, ctypes.c_uint32(packet_id), out)
    return out.raw


def ip_version(data: bytes) -> int:
    """4, 6, or 0."""
    return int(library().harness_ip_version(data, ctypes.c_size_t(len(data))))


def ping() -> bytes:
    """The payload that only says "I am here"."""
    return ctypes.string_at(library().harness_ping(), 16)


@cache
def request_names() -> tuple[str, ...]:
    """The requests whose policies were compiled."""
    count = library().requests_count()
    return tuple(library().request_name(number).decode() for number in range(count))


def is_lawful(request: str, attributes: bytes) -> bool:
    """Whether its policy lets a request with these attributes through."""
    number, size = request_names().index(request), ctypes.c_size_t(len(attributes))
    return bool(library().request_is_lawful(number, attributes, size, None))


def address_of(number: int, bits: int) -> IPAddress:
    """The address of a number."""
    return ip_address(number.to_bytes(bits // 8, "big"))
