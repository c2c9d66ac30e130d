"""OpenVPN 2.6 in the guest, where 2.7 is the machine's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovpn6.lab import Namespace, Tunnel
from vm.openvpn26_program import PROGRAM
from vm.root import in_guest


class StockOpenVPN26(Tunnel):
    """``openvpn --config`` of Debian's release."""

    def __init__(
        self,
        namespace: Namespace,
        config: str | Path,
        *,
        name: str = "openvpn26",
        arguments: Sequence[str] = (),
    ) -> None:
        """``config`` is the text, or the path of a file with it; ``arguments`` come first."""
        super().__init__(namespace, [f"/{PROGRAM}", *arguments], config, name)


def why_missing() -> str:
    """Why there is none to use, for a test that is skipped; empty when there is one."""
    there = in_guest() and Path("/", PROGRAM).exists()
    return "" if there else "OpenVPN 2.6 is not in the root: netns-tests/vm/vm build --openvpn26"
