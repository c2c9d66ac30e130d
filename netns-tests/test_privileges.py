"""What is left of root after ``user``/``group``, in a process of its own with a second thread."""

from __future__ import annotations

import json
import os
import threading

import pytest

from ovpn6.config.schema import ProcessConfig
from ovpn6.daemon.privileges import become, look_up

pytestmark = pytest.mark.root


def status_after_change(process: ProcessConfig) -> dict[str, str]:
    """/proc/self/status of a child that changed to this user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            become(look_up(process))
            with open("/proc/self/status") as file:
                lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            os.write(writer, json.dumps(lines).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    facts: dict[str, str] = json.loads(text)
    return facts


def test_only_net_admin_is_left() -> None:
    facts = status_after_change(ProcessConfig(user="nobody", group="nogroup"))
    identity = look_up(ProcessConfig(user="nobody", group="nogroup"))
    assert facts["Uid"].split() == [str(identity.user)] * 4
    assert facts["Gid"].split() == [str(identity.group)] * 4
    assert facts["Groups"].strip() == ""
    for name in ("CapPrm", "CapEff"):
        assert int(facts[name], 16) == 1 << 12
    for name in ("CapInh", "CapAmb"):
        assert int(facts[name], 16) == 0
