"""OpenVPN 2.7 on this machine, out of the root: Debian 12 itself has 2.6."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovpn6.lab import LabError, Namespace, Tunnel
from vm.build import present_root
from vm.root import command_prefix, why_missing


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
        root = present_root()
        if root is None:
            raise LabError(why_missing())
        command = [*command_prefix(root), "/usr/sbin/openvpn", *arguments]
        super().__init__(namespace, command, config, name)
