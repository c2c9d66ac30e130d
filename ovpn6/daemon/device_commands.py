"""``--mktun`` and ``--rmtun``: TUN devices that stay when nobody uses them."""

from __future__ import annotations

from ovpn6.model.errors import ConfigError
from ovpn6.netconf.persistent_tun import make_persistent_tun, remove_persistent_tun


def make_tun(words: list[str]) -> int:
    """``--mktun [--dev NAME] [--user NAME] [--group NAME]``; returns the exit code."""
    made = make_persistent_tun(
        _value(words, "--dev", "tun"), _value(words, "--user"), _value(words, "--group")
    )
    print(f"Persist state set to: ON ({made})")
    return 0


def remove_tun(words: list[str]) -> int:
    """``--rmtun --dev NAME``; returns the exit code."""
    name = _value(words, "--dev")
    if not name:
        raise ConfigError("--rmtun needs the device", advice="add --dev NAME")
    remove_persistent_tun(name)
    print(f"Persist state set to: OFF ({name})")
    return 0


def _value(words: list[str], option: str, default: str = "") -> str:
    """The word behind an option."""
    if option not in words:
        return default
    following = words[words.index(option) + 1 :]
    if not following or following[0].startswith("--"):
        raise ConfigError(f"{option} needs a value")
    return following[0]
