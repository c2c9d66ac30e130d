"""OpenVPN 2.7 out of the root, on this machine as well: Debian 12 itself has 2.6."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovpn6.lab import Namespace, Tunnel
from vm.root import program_prefix


class StockOpenVPN27(Tunnel):
    """``openvpn --config`` of Debian's backports."""

    def __init__(
        self,
        namespace: Namespace,
        config: str | Path,
        *,
        name: str = "openvpn27",
        arguments: Sequence[str] = (),
    ) -> None:
        """``config`` is the text, or the path of a file with it; ``arguments`` come first."""
        command = [*program_prefix(), "/usr/sbin/openvpn", *arguments]
        super().__init__(namespace, command, config, name)
