"""OpenVPN 3's client out of the root, on this machine or in the guest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovpn6.lab import Namespace, Tunnel
from vm.build import present_root
from vm.ovpncli import PROGRAM
from vm.root import in_guest, program_prefix

_UP = r"EVENT: CONNECTED"


class OpenVPN3(Tunnel):
    """``ovpncli`` with a client's configuration."""

    def __init__(
        self,
        namespace: Namespace,
        config: str | Path,
        *,
        name: str = "ovpncli",
        arguments: Sequence[str] = (),
    ) -> None:
        """``config`` is the text, or the path of a file with it; ``arguments`` come first."""
        # Of what openvpn would get (--cd DIRECTORY --config FILE ...) it takes the file alone, and
        # insists on its suffix.
        script = f'ln -sf "$5" "$3/tunnel.ovpn" && exec /{PROGRAM} $1 "$3/tunnel.ovpn"'
        command = [*program_prefix(), "sh", "-c", script, "sh", " ".join(arguments)]
        super().__init__(namespace, command, config, name)

    def wait_up(self, limit: float = 30.0) -> None:
        """Until it says that it is connected."""
        self.process.wait_for_log(_UP, limit)


def why_missing() -> str:
    """Why there is no ``ovpncli`` to use, for a test that is skipped; empty when there is one."""
    root = Path("/") if in_guest() else present_root()
    there = root is not None and (root / PROGRAM).exists()
    return "" if there else "ovpncli is not built: netns-tests/vm/vm build --openvpn3"
