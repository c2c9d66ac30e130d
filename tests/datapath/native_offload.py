"""The C packet arithmetic through ctypes, compiled for the tests alone."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

HERE = Path(__file__).parent / "native"
FASTPATH = Path(__file__).parents[2] / "ovpn6" / "datapath" / "fastpath"
SOURCES = tuple(
    FASTPATH / f"{name}.c" for name in ("checksum", "segment", "coalesce", "ecn", "flow_label")
)
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
FLUSH = 0xFFFFFFFF
_ROOM = 8 << 20
_NUMBER = struct.Struct("=I")
_WRITE = struct.Struct("=II")


def compiler() -> str:
    """The C compiler; without one the test is skipped and says so."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        pytest.skip("no C compiler: the C packet arithmetic was not compared")
    return found


def compile_c(target: Path, *words: str | Path) -> None:
    """Compile with every warning an error."""
    words = (compiler(), "-std=c11", *WARNINGS, f"-I{FASTPATH}", *words, "-o", target)
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@cache
def library() -> ctypes.CDLL:
    """Compiled once a process, and without a file left behind."""
    with TemporaryDirectory() as directory:
        target = Path(directory) / "offload.so"
        compile_c(target, "-O2", "-shared", "-fPIC", HERE / "offload.c", *SOURCES)
        loaded = ctypes.CDLL(str(target))
    loaded.offload_cut.restype = loaded.offload_merge.restype = ctypes.c_long
    loaded.ovpn6_sum.restype = ctypes.c_uint64
    loaded.ovpn6_sum_fold.restype = ctypes.c_uint16
    loaded.ovpn6_ecn_deliver.restype = ctypes.c_bool
    loaded.ovpn6_flow_label.restype = ctypes.c_uint32
    loaded.ovpn6_siphash.restype = ctypes.c_uint64
    return loaded


@cache
def _out() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(_ROOM)


def native_cut(vnet: bytes, packet: bytes) -> list[bytes] | int:
    """Segments, or the negative error."""
    out = _out()
    size = ctypes.c_size_t(len(packet))
    used = library().offload_cut(vnet, packet, size, out, ctypes.c_size_t(_ROOM))
    if used < 0:
        return int(used)
    segments, data, at = [], ctypes.string_at(out, used), 0
    while at < used:
        (size,) = _NUMBER.unpack_from(data, at)
        segments.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return segments


def native_merge(packets: Sequence[bytes | None], udp: bool) -> list[tuple[int, bytes]]:
    """What is written (vnet header included) and how many packets are in it; None flushes."""
    fed = b"".join(
        _NUMBER.pack(FLUSH) if packet is None else _NUMBER.pack(len(packet)) + packet
        for packet in packets
    )
    out = _out()
    length = ctypes.c_size_t(len(fed))
    used = library().offload_merge(fed, length, udp, out, ctypes.c_size_t(_ROOM))
    writes, data, at = [], ctypes.string_at(out, used), 0
    while at < used:
        count, size = _WRITE.unpack_from(data, at)
        writes.append((count, data[at + 8 : at + 8 + size]))
        at += 8 + size
    return writes


def native_sum(data: bytes) -> int:
    """The folded sum, in network order."""
    loaded = library()
    total = ctypes.c_uint64(loaded.ovpn6_sum(data, ctypes.c_size_t(len(data))))
    folded = int(loaded.ovpn6_sum_fold(total))
    return int.from_bytes(folded.to_bytes(2, sys.byteorder), "big")


def native_deliver(packet: bytes, outer: int) -> bytes | None:
    """The packet after the tunnel, None when it must be dropped."""
    buffer = ctypes.create_string_buffer(packet, len(packet))
    if not library().ovpn6_ecn_deliver(buffer, ctypes.c_uint8(outer)):
        return None
    return buffer.raw


def native_flow_label(secret: bytes, packet: bytes) -> int:
    """The label of a packet's flow."""
    return int(library().ovpn6_flow_label(secret, packet, ctypes.c_size_t(len(packet))))


def native_siphash(secret: bytes, data: bytes) -> int:
    """SipHash-2-4."""
    return int(library().ovpn6_siphash(secret, data, ctypes.c_size_t(len(data))))
