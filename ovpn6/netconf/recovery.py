"""At start: undo what instances that died without closing left in this network namespace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ovpn6.model.errors import HostError
from ovpn6.netconf.interface import DEFAULT_STATE_DIR
from ovpn6.netconf.journal import (
    LEFT_SUFFIX,
    SUFFIX,
    HeldJournal,
    Record,
    boot_id,
    left_in,
    open_journal,
)
from ovpn6.netconf.ledger import Ledger
from ovpn6.netconf.namespace import Namespace, OpenNamespace
from ovpn6.netconf.netlink_namespace import NetlinkNamespace
from ovpn6.netconf.state_directory import StateDirectory, state_directories
from ovpn6.netconf.undo import Undoing


def recover(
    state_dir: Path = DEFAULT_STATE_DIR,
    open_namespace: OpenNamespace = NetlinkNamespace,
    was_in: Callable[[str], None] = lambda netns: None,
) -> list[str]:
    """Undo it; returns a line for each instance found dead, and for each trouble.

    Live instances, here and in other namespaces, are left alone, and so is what they share with a
    dead one. A journal of an earlier boot, or of a namespace that is gone, is deleted. A damaged
    one is moved aside, one of another namespace is left to a start there. What could not be undone
    stays for the next start. ``was_in`` is told, ahead of that, the network namespace of each dead
    instance's device, "" for this one: the device itself may have outlived it. ``HostError`` when
    the directory cannot be used.
    """
    paths = state_directories(state_dir)
    if not paths:
        return []
    namespace = open_namespace("")
    lines: list[str] = []
    try:
        for path in paths:
            directory = StateDirectory(path, make=False)
            try:
                with directory.exclusive():
                    lines += _Recovery(namespace, open_namespace, was_in).run(directory)
            finally:
                directory.close()
    finally:
        namespace.close()
    return lines


class _Recovery:
    def __init__(
        self,
        namespace: Namespace,
        open_namespace: OpenNamespace,
        was_in: Callable[[str], None],
    ) -> None:
        self._namespace = namespace
        self._open_namespace = open_namespace
        self._was_in = was_in
        self._lines: list[str] = []
        self._live: list[Ledger] = []

    def run(self, directory: StateDirectory) -> list[str]:
        dead = []
        left = [n for n in directory.names(LEFT_SUFFIX) if left_in(n, self._namespace.inode)]
        for name in (*directory.names(SUFFIX), *left):
            held = open_journal(directory, name)
            if held is None:
                continue
            if held.is_live:
                with held, suppress(ValueError):
                    self._live.append(held.read().ledger)
            else:
                dead.append(held)
        for held in dead:
            with held:
                self._take(held)
        for leftover in directory.names(".new"):
            # Nobody else writes while we hold the directory.
            directory.delete(leftover)
        return self._lines

    def _take(self, held: HeldJournal) -> None:
        try:
            record = held.read()
        except ValueError as error:
            aside = held.move_aside()
            self._lines.append(f"damaged journal moved to {aside}: {error}")
            return
        if self._is_void(record):
            held.delete()
        elif record.ledger.underlay_namespace == self._namespace.identity:
            self._was_in(record.ledger.netns)
            self._undo(held, record)
        else:
            held.set_aside()

    def _is_void(self, record: Record) -> bool:
        """Whether what it speaks of went with a boot, or with a namespace whose inode we got."""
        gone = record.ledger.underlay_namespace != self._namespace.identity
        return record.boot != boot_id() or (gone and record.inode == self._namespace.inode)

    def _undo(self, held: HeldJournal, record: Record) -> None:
        ledger = record.ledger
        namespaces = {self._namespace.identity: self._namespace}
        inside: Namespace | None = None
        if ledger.netns:
            # A namespace that is gone took everything of ours along.
            with suppress(HostError):
                inside = self._open_namespace(ledger.netns)
                namespaces[inside.identity] = inside
        try:
            undoing = Undoing(namespaces, ledger, self._live)
            undoing.run()
        finally:
            if inside is not None:
                inside.close()
        who = f"{ledger.device} of process {record.pid}, which died"
        if undoing.errors:
            self._lines += [f"undoing {who}: {error}" for error in undoing.errors]
            return
        held.delete()
        if not ledger.is_empty:
            self._lines.append(
                f"undid what was left of {who}: {len(ledger.routes)} routes, "
                f"{len(ledger.addresses)} addresses, {len(ledger.settings)} settings"
            )
