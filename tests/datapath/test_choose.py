"""Which data path, and the reason in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ovpn6.datapath.choose import Demands, choose, probe_kernel
from ovpn6.datapath.offload.switch import VARIABLE
from ovpn6.model.errors import HostError

IN_PYTHON = {VARIABLE: "native"}
MISSING = "kernel has no ovpn6 module; kernel has no ovpn module"
INSTALL = "ours: make -C kmod deb, for DKMS"
LINUX_OWN = Demands(kernel_module="ovpn")


def usable(name: str) -> str:
    return ""


def missing(name: str) -> str:
    return f"kernel has no {name} module"


def unasked(name: str) -> str:
    """A probe whose answer cannot matter."""
    raise AssertionError("the kernel was probed")


def only(present: str) -> Callable[[str], str]:
    """One module is there."""
    return lambda name: usable(name) if name == present else missing(name)


def test_the_kernel_comes_first(tmp_path: Path) -> None:
    choice = choose(Demands(), usable, tmp_path)
    assert choice.is_kernel
    assert str(choice) == "data path: kernel (ovpn6): the ovpn6 module carries data packets"
    assert choice.notices == ()


def test_without_the_module_it_is_user_space(tmp_path: Path) -> None:
    choice = choose(Demands(), missing, tmp_path, IN_PYTHON)
    assert str(choice) == (
        f"data path: user space (Python): {MISSING} ({INSTALL}); "
        "OVPN6_WITHOUT turns the native worker off"
    )
    assert choice.notices == ()


def test_user_space_is_native_where_it_was_built(tmp_path: Path) -> None:
    pytest.importorskip("ovpn6.datapath.fastpath._fastpath")
    choice = choose(Demands(), missing, tmp_path, {})
    assert str(choice) == f"data path: user space (native): {MISSING} ({INSTALL})"
    [notice] = choice.notices
    assert notice.startswith("fast path: AE")
    forced = choose(Demands(), missing, tmp_path, {VARIABLE: "ipsec-mb"})
    assert forced.notices[0].startswith("fast path: AEAD from OpenSSL ")


def test_a_word_that_turns_nothing_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="udp-gro"):
        choose(Demands(disable_dco=True), unasked, tmp_path, {VARIABLE: "everything"})


@pytest.mark.parametrize(
    ("demands", "named"),
    [
        (Demands(disable_dco=True), "disable-dco"),
        (Demands(compression_stub=True), "comp-lzo"),
        (Demands(passtos=True), "passtos"),
        (Demands(label_flows=True), "flow-label"),
        (Demands(ciphers=("AES-256-CBC",)), "data-ciphers"),
    ],
)
def test_what_only_user_space_can_do_is_named(tmp_path: Path, demands: Demands, named: str) -> None:
    choice = choose(demands, unasked, tmp_path)
    assert not choice.is_kernel
    assert named in choice.reason


def test_linux_own_module_is_the_only_one_when_it_is_told_to_be(tmp_path: Path) -> None:
    choice = choose(LINUX_OWN, usable, tmp_path)
    assert choice.is_kernel
    assert str(choice) == "data path: kernel (ovpn): the ovpn module carries data packets"
    without = choose(LINUX_OWN, only("ovpn6"), tmp_path)
    assert not without.is_kernel
    assert without.reason.startswith("kernel has no ovpn module")
    assert INSTALL not in without.reason


def test_linux_own_module_stands_in_for_ours(tmp_path: Path) -> None:
    choice = choose(Demands(), only("ovpn"), tmp_path)
    assert choice.is_kernel
    assert str(choice) == (
        "data path: kernel (ovpn): kernel has no ovpn6 module; the ovpn module carries data packets"
    )


def test_a_module_that_is_there_and_may_not_be_used_need_not_be_installed(tmp_path: Path) -> None:
    choice = choose(Demands(), lambda name: "it wants CAP_NET_ADMIN", tmp_path)
    assert choice.reason.startswith("it wants CAP_NET_ADMIN")
    assert INSTALL not in choice.reason


def test_a_bound_socket_needs_our_module_or_user_space(tmp_path: Path) -> None:
    bound = Demands(bind_device="eth0")
    assert choose(bound, only("ovpn6"), tmp_path).capabilities.name == "kernel (ovpn6)"
    choice = choose(bound, only("ovpn"), tmp_path)
    assert not choice.is_kernel
    assert "bind-dev" in choice.reason
    assert not choose(replace(bound, kernel_module="ovpn"), unasked, tmp_path).is_kernel


def test_our_module_is_not_for_tcp(tmp_path: Path) -> None:
    tcp = Demands(over_tcp=True)
    choice = choose(tcp, only("ovpn"), tmp_path)
    assert choice.capabilities.name == "kernel (ovpn)"
    assert "ovpn6 module carries no data over TCP" in choice.reason
    assert not choose(tcp, missing, tmp_path).is_kernel


def test_a_persistent_tun_device_needs_user_space(tmp_path: Path) -> None:
    (tmp_path / "tun7").mkdir()
    (tmp_path / "tun7" / "tun_flags").write_text("0x1001")
    choice = choose(Demands(device="tun7"), unasked, tmp_path, IN_PYTHON)
    assert str(choice).startswith("data path: user space (Python): tun7 is a TUN device; ")


def test_a_replay_window_that_the_kernel_does_not_heed_is_told(tmp_path: Path) -> None:
    choice = choose(Demands(replay_window=(128, 30)), usable, tmp_path)
    assert choice.is_kernel
    assert choice.notices == (
        "replay-window has no effect: the kernel's own window is 2048 packets",
    )


def test_an_epoch_limit_that_the_kernel_does_not_heed_is_told(tmp_path: Path) -> None:
    choice = choose(Demands(epoch_usage=500), usable, tmp_path)
    assert choice.is_kernel
    assert choice.notices == ("epoch-keys has no effect: the kernel has one key a negotiation",)


def test_workers_that_the_kernel_has_no_use_for_are_told(tmp_path: Path) -> None:
    choice = choose(Demands(workers=4), usable, tmp_path)
    assert choice.is_kernel
    assert choice.notices == ("workers has no effect: the kernel divides the work itself",)


def test_user_space_has_epoch_keys(tmp_path: Path) -> None:
    assert choose(Demands(disable_dco=True), unasked, tmp_path).capabilities.data_epoch


def test_nothing_is_advertised_that_the_kernel_lacks(tmp_path: Path) -> None:
    capabilities = choose(Demands(), usable, tmp_path).capabilities
    assert not capabilities.occ
    assert not capabilities.data_epoch
    assert {framing.value for framing in capabilities.framings} == {"none", "stub-v2"}


@pytest.mark.parametrize("name", ["ovpn", "ovpn6"])
def test_the_probe_says_why_in_one_line(name: str) -> None:
    """On whatever kernel this runs."""
    assert "\n" not in probe_kernel(name)
