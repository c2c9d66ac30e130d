"""Names of users and groups; the change itself needs root and stands in netns-tests."""

from __future__ import annotations

import os
import pwd

import pytest

from ovpn6.config.schema import ProcessConfig
from ovpn6.daemon.privileges import Identity, become, look_up
from ovpn6.model.errors import ConfigError


def test_without_user_and_group_nothing_is_wanted() -> None:
    identity = look_up(ProcessConfig())
    assert not identity.wanted
    before = os.getresuid()
    become(identity)
    assert os.getresuid() == before


def test_a_user_brings_its_own_group_unless_another_is_named() -> None:
    entry = pwd.getpwnam("nobody")
    assert look_up(ProcessConfig(user="nobody")) == Identity(entry.pw_uid, entry.pw_gid)
    assert look_up(ProcessConfig(user="nobody", group="root")) == Identity(entry.pw_uid, 0)
    assert look_up(ProcessConfig(group="root")) == Identity(None, 0)


@pytest.mark.parametrize("what", ["user", "group"])
def test_a_name_nobody_has_is_a_config_error(what: str) -> None:
    with pytest.raises(ConfigError, match=f"{what}: 'no-such-name' does not exist"):
        look_up(ProcessConfig(**{what: "no-such-name"}))  # type: ignore[arg-type]
