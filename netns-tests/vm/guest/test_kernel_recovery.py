"""What takes the kernel's device away from a daemon, and how the tunnel comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from interop.ends import (
    INNER,
    OURS_OURS,
    Ends,
    client_text,
    make_authority,
    remote_of,
    server_text,
    start,
    up_again,
)
from vm.guest.test_kernel_tunnels import IN_KERNEL

from ovpn6.lab import Lab, Line, Namespace, Ovpn6, Tunnel, line, wait_for, wait_reachable
from ovpn6.lab.process import run
from ovpn6.pki.authority import Authority

pytestmark = [pytest.mark.root, pytest.mark.alone]

QUICK = ("keepalive 2 20",)
BACK_WITHIN = 60.0
"""Seconds; half a second on a machine that is not emulated."""
QUIET = 5.0
IDLE_SHARE = 0.3
"""What part of a processor a daemon may use that has nothing to do. One that is caught in a loop
takes all of it."""
MODPROBE = Path("/proc/sys/kernel/modprobe")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("recovery"))


@pytest.fixture(autouse=True)
def _ovpn_module() -> None:
    run(["modprobe", "ovpn"])


# --- the device is taken away ---


def deleted(victim: Tunnel) -> None:
    victim.namespace.run(["ip", "link", "delete", victim.device().name])


def moved(victim: Tunnel) -> None:
    victim.namespace.run(["ip", "link", "set", victim.device().name, "netns", "1"])


def module_removed(victim: Tunnel) -> None:
    """Its devices do not hold it; for a moment, a dump that a daemon asked for does."""

    def gone() -> bool:
        return run(["rmmod", "ovpn"], check=False).returncode == 0

    wait_for(gone, 10, "the module goes", [victim.process])


TAKEN_AWAY: dict[Callable[[Tunnel], None], str] = {
    deleted: r"tunnel device lost: somebody deleted it, restarting",
    moved: r"tunnel device lost: somebody moved it to another network namespace.*, restarting",
    module_removed: r"tunnel device lost: somebody deleted it, restarting",
}
"""How, and what the log says then. Removing the module removes all of its devices first."""


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("take_away", TAKEN_AWAY, ids=lambda act: act.__name__)
def test_a_tunnel_whose_device_is_taken_away_comes_back(
    lab: Lab, authority: Authority, take_away: Callable[[Tunnel], None], role: str
) -> None:
    ends = start(line(lab), authority, OURS_OURS, server_extra=QUICK)
    victim = ends.server if role == "server" else ends.client
    before = victim.device().index
    with up_again(victim, BACK_WITHIN):
        take_away(victim)
        victim.process.wait_for_log(TAKEN_AWAY[take_away])
    check_back(ends)
    assert victim.device().kind == "ovpn"
    assert victim.device().index != before
    assert victim.log().count("process restarting") == 1
    assert devices_of_kind("ovpn") == []
    check_quiet(ends)
    for end in (ends.client, ends.server):
        assert end.stop() == 0
    assert ends.net.client.tunnels() == ends.net.server.tunnels() == ()


def test_over_tcp_a_removed_module_ends_no_daemon(lab: Lab, authority: Authority) -> None:
    ends = start(line(lab), authority, OURS_OURS, transport="tcp", server_extra=QUICK)
    with up_again(ends.server, BACK_WITHIN), up_again(ends.client, BACK_WITHIN):
        module_removed(ends.server)
    check_back(ends)
    check_quiet(ends)


def test_without_its_module_a_daemon_goes_on_in_user_space(lab: Lab, authority: Authority) -> None:
    ends = start(line(lab), authority, OURS_OURS, server_extra=QUICK)
    with (
        no_module_loading(),
        up_again(ends.server, BACK_WITHIN),
        up_again(ends.client, BACK_WITHIN),
    ):
        module_removed(ends.server)
    for end in (ends.server, ends.client):
        end.process.wait_for_log("data path: user space .*kernel has no ovpn module")
        assert end.device().kind == "tun"
    check_back(ends)
    check_quiet(ends)


# --- the namespace of the device ---


def test_a_daemon_whose_namespace_was_removed_says_so_and_ends(
    lab: Lab, authority: Authority
) -> None:
    net, inside = line(lab), lab.namespace("inside")
    server = Ovpn6(net.server, server_text(authority, f"dev-netns {inside.full_name}"))
    server.wait_up()
    assert kinds(inside) == ["ovpn"]
    run(["ip", "netns", "delete", inside.full_name])
    lost = f"tunnel device lost: network namespace {inside.full_name} was removed, restarting"
    server.process.wait_for_log(lost)
    assert server.process.wait(BACK_WITHIN) == 1
    assert f"enter network namespace {inside.full_name}: No such file" in server.log()
    assert "Traceback" not in server.log()


def test_a_daemon_follows_the_name_of_its_namespace(lab: Lab, authority: Authority) -> None:
    net, inside = line(lab), lab.namespace("inside")
    name = inside.full_name
    server = Ovpn6(net.server, server_text(authority, f"dev-netns {name}", *QUICK))
    server.wait_up()
    with up_again(server, BACK_WITHIN):
        # In one go, as a script does it.
        run(["sh", "-c", f"ip netns delete {name} && ip netns add {name}"])
        server.process.wait_for_log(f"tunnel device lost: network namespace {name} was removed")
    shown = run(["ip", "-n", name, "-br", "link", "show", "type", "ovpn"]).stdout
    assert len(shown.splitlines()) == 1
    assert server.stop() == 0


# --- the process is killed ---


@pytest.mark.parametrize("later", ["elsewhere", ""], ids=["another", "none"])
def test_a_device_in_a_namespace_that_the_next_start_does_not_name_is_removed(
    lab: Lab, authority: Authority, later: str
) -> None:
    net = line(lab)
    inside = lab.namespace("inside")
    elsewhere = lab.namespace("elsewhere") if later else None
    ends = start_inside(net, authority, inside)
    inside.run(["ip", "link", "add", "bystander", "type", "ovpn"])
    old = [device.name for device in inside.tunnels() if device.name != "bystander"]
    assert len(old) == 1
    ends.server.process.kill()
    config = server_text(authority, *QUICK, *netns_lines(elsewhere))
    ends.server.config_path.write_text(config)
    ends.server.restart()
    ends.server.process.wait_for_log(
        f"removed {old[0]} in network namespace {inside.full_name}, whose process died"
    )
    ends.server.wait_up()
    assert [device.name for device in inside.tunnels()] == ["bystander"]
    assert kinds(elsewhere or net.server) == ["ovpn"]
    for address in INNER:
        wait_reachable(net.client, address, BACK_WITHIN)
    assert ends.server.stop() == 0
    assert (elsewhere or net.server).tunnels() == ()


def test_a_client_that_is_killed_before_it_had_an_answer_leaves_no_device(
    lab: Lab, authority: Authority
) -> None:
    net, inside = line(lab), lab.namespace("inside")
    remote = remote_of(net)
    client = Ovpn6(net.client, client_text(authority, remote, *netns_lines(inside)))
    client.process.wait_for_log("link local")
    assert kinds(inside) == ["ovpn"]
    client.process.kill()
    client.config_path.write_text(client_text(authority, remote))
    client.restart()
    client.process.wait_for_log(f"in network namespace {inside.full_name}, whose process died")
    assert inside.tunnels() == ()


# --- helpers ------------------------------------------------------------------------------------


def netns_lines(namespace: Namespace | None) -> tuple[str, ...]:
    """What puts the device there."""
    return () if namespace is None else (f"dev-netns {namespace.full_name}",)


def start_inside(net: Line, authority: Authority, inside: Namespace) -> Ends:
    """Both ends up, the server's device in a namespace of its own."""
    server = Ovpn6(net.server, server_text(authority, *QUICK, *netns_lines(inside)))
    server.wait_up()
    client = Ovpn6(net.client, client_text(authority, remote_of(net)))
    client.wait_up()
    server.process.wait_for_log(IN_KERNEL)
    for address in INNER:
        wait_reachable(net.client, address)
    return Ends(net, server, client)


def kinds(namespace: Namespace) -> list[str]:
    return [device.kind for device in namespace.tunnels()]


def devices_of_kind(kind: str) -> list[str]:
    """In our own namespace, where a device may have been moved to."""
    return run(["ip", "-br", "link", "show", "type", kind]).stdout.splitlines()


def check_back(ends: Ends) -> None:
    """Both families pass again, both ways."""
    for address in INNER:
        wait_reachable(ends.net.client, address, BACK_WITHIN)
    for address in ends.inner_addresses():
        wait_reachable(ends.net.server, address, BACK_WITHIN)


def check_quiet(ends: Ends) -> None:
    """No daemon is busy when there is nothing to do, and none begins anew."""
    both = (ends.server, ends.client)
    before = [(processor_seconds(end), end.log().count("process restarting")) for end in both]
    time.sleep(QUIET)
    after = [(processor_seconds(end), end.log().count("process restarting")) for end in both]
    for (used, restarts), (used_now, restarts_now) in zip(before, after, strict=True):
        assert used_now - used < QUIET * IDLE_SHARE
        assert restarts_now == restarts


def processor_seconds(end: Tunnel) -> float:
    fields = Path(f"/proc/{end.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def no_module_loading() -> Iterator[None]:
    """The kernel finds no program that would load a module; what TUN devices need is there."""
    run(["modprobe", "tun"])
    before = MODPROBE.read_text()
    MODPROBE.write_text("/bin/false\n")
    try:
        yield
    finally:
        MODPROBE.write_text(before)
