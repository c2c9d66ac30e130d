"""Reads configuration: files and command line in, frozen :mod:`ovpn6.config.schema` values out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovpn6.config.schema import PeerConfig, PushedConfig, TunnelConfig
from ovpn6.model.errors import Source


def load_config(args: list[str]) -> TunnelConfig:
    """The configuration of a command line (``--config FILE --verb 3``, or one FILE).

    Raises :class:`ovpn6.model.errors.ConfigErrors` with everything that is wrong.
    """
    raise NotImplementedError


def load_file(path: Path) -> TunnelConfig:
    """The configuration in one file; raises as :func:`load_config`."""
    return load_config(["--config", str(path)])


def normalised(config: TunnelConfig) -> str:
    """The configuration as canonical directive lines; inline texts are shown as [[INLINE]]."""
    raise NotImplementedError


def help_text() -> str:
    """What ``--help`` prints."""
    raise NotImplementedError


def parse_peer_config(text: str, source: Source) -> PeerConfig:
    """A client-config-dir file or client-connect's output; raises ``ConfigErrors``."""
    raise NotImplementedError


def parse_push(options: Sequence[str]) -> PushedConfig:
    """A server's pushed options, one string each; never raises: what is unusable is ignored."""
    raise NotImplementedError


def split_push(text: str) -> list[str]:
    """The options in a comma list, as in PUSH_REPLY."""
    raise NotImplementedError
