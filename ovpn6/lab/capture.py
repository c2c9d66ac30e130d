"""Packet captures in a namespace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ovpn6.lab import process
from ovpn6.lab.namespace import Namespace


class Capture:
    """``tcpdump`` into a file, from the moment the constructor returns; a context manager too."""

    def __init__(self, namespace: Namespace, device: str = "any", filter_text: str = "") -> None:
        """``filter_text`` in tcpdump's words (``udp port 1194``)."""
        self.path: Path = namespace.work_directory("capture") / "packets.pcap"
        self._tcpdump = namespace.popen(
            [
                *("tcpdump", "-n", "-U", "--immediate-mode", "--relinquish-privileges=root"),
                *("--interface", device, "-w", str(self.path), *filter_text.split()),
            ],
            "tcpdump",
        )
        self._tcpdump.wait_for_log(r"listening on", limit=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> Path:
        """End the capture; the file."""
        self._tcpdump.stop()
        return self.path

    def tshark(self, *arguments: str) -> str:
        """What ``tshark`` prints about the file."""
        command: Sequence[str] = ["tshark", "-n", "-r", str(self.path), *arguments]
        return process.run(command, limit=60).stdout
