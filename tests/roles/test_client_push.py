"""What a server may push, and what a client makes of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.config.load import parse_push
from ovpn6.config.schema import (
    ClientConfig,
    ControlConfig,
    DataConfig,
    HostConfig,
    PullFilter,
    PushedConfig,
    Remote,
)
from ovpn6.model import flow
from ovpn6.model.names import Transport
from ovpn6.model.specs import DataFormat, Framing, Keepalive
from ovpn6.protocol.messages import PushReply
from ovpn6.roles.client_env import script_call, tunnel_environment
from ovpn6.roles.client_plan import Means, Tunnel, describe, plan_tunnel
from ovpn6.roles.client_pull import (
    MAX_NOTICES,
    MAX_PUSH_OCTETS,
    MAX_PUSH_OPTIONS,
    PushAssembly,
    PushRefused,
    pull,
)
from tests.roles.client_world import CIPHERS, HOME, PUSH, Server, World, config, credentials

MEANS = Means(CIPHERS, frozenset({Framing.NONE, Framing.STUB}))
PUSHED = PushedConfig(peer_id=5, cipher="AES-256-GCM")


def plan(
    pushed: PushedConfig = PUSHED,
    options: str = "V4,dev-type tun",
    remote: Remote | None = None,
    **parts: object,
) -> Tunnel:
    configuration = config(**parts)  # type: ignore[arg-type]
    chosen = remote or Remote("home.example")
    return plan_tunnel(configuration, pushed, MEANS, chosen, HOME.address, options)


# --- bundles and filters -------------------------------------------------------------------------


def test_a_push_in_several_bundles_is_taken_when_the_last_is_here() -> None:
    head, tail = PUSH.split(",ping 10")
    server = Server(
        HOME,
        push=(
            f"{head},push-continuation 2",
            "PUSH_REPLY,route-ipv6 fd01::/48,push-continuation 2",
            f"PUSH_REPLY,ping 10{tail},push-continuation 1",
        ),
    )
    world = World(None, server).connect()
    assert len(world.of(flow.AddPeer)) == 1
    assert world.of(flow.AddPeer)[0].spec.keepalive == Keepalive(10, 60)
    assert [str(r.destination) for r in world.of(flow.ApplyHost)[-1].plan.routes] == ["fd01::/48"]


def test_a_push_without_end_is_refused() -> None:
    assembly = PushAssembly()
    bundle = PushReply(("x" * (MAX_PUSH_OCTETS // 4),), continues=True)
    for _ in range(4):
        assert assembly.take(bundle) is None
    with pytest.raises(PushRefused):
        assembly.take(PushReply(("x",), continues=False))


def test_a_push_of_very_many_options_is_refused() -> None:
    assembly = PushAssembly()
    assert assembly.take(PushReply(("x",) * MAX_PUSH_OPTIONS, continues=True)) is None
    with pytest.raises(PushRefused):
        assembly.take(PushReply(("x",), continues=False))


def test_a_push_of_nonsense_is_told_of_in_a_few_lines() -> None:
    nonsense = ",".join(f"nonsense-{number}" for number in range(300))
    server = Server(HOME, push=(f"{PUSH},{nonsense}",))
    world = World(None, server).connect()
    told = [line for line in world.of(flow.Log) if line.text.startswith("'nonsense-")]
    assert len(told) == MAX_NOTICES
    assert world.logged("and 250 more like these")


OPTIONS = ("route 10.1.0.0 255.255.0.0", "route-ipv6 fd01::/48", "dhcp-option DNS fd00::53")
FILTERS: list[tuple[tuple[tuple[str, str], ...], tuple[int, ...]]] = [
    ((), (0, 1, 2)),
    ((("ignore", "route"),), (2,)),
    ((("ignore", "route "),), (1, 2)),
    ((("accept", "route-ipv6"), ("ignore", "route")), (1, 2)),
    ((("ignore", "route"), ("accept", "route-ipv6")), (2,)),
    ((("ignore", ""),), ()),
    ((("reject", "redirect"),), (0, 1, 2)),
]


@pytest.mark.parametrize(("filters", "kept"), FILTERS)
def test_the_first_pull_filter_that_fits_decides(
    filters: tuple[tuple[str, str], ...], kept: tuple[int, ...]
) -> None:
    client = ClientConfig(pull_filters=tuple(PullFilter(*one) for one in filters))
    pulled = pull(OPTIONS, client)
    assert pulled.options == tuple(OPTIONS[n] for n in kept)
    assert len(pulled.notices) == 3 - len(kept)


def test_a_rejected_option_ends_the_session_which_is_tried_again() -> None:
    client = ClientConfig(pull_filters=(PullFilter("reject", "tun-mtu"),))
    world = World(config(client=client)).start()
    world.run(lambda: len(world.of(flow.OpenLink)) == 2)
    assert world.logged("Pushed option rejected by filter: 'tun-mtu 1400'")
    assert not world.of(flow.AddPeer)


def test_route_nopull_leaves_out_routes_and_name_servers_but_not_gateways_or_addresses() -> None:
    pushed = (*OPTIONS, "redirect-gateway def1", "route-gateway 10.8.0.1", "ifconfig 10.8.0.2 x")
    assert pull(pushed, ClientConfig(route_nopull=True)).options == pushed[4:]


# --- cipher, framing, format ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pushed", "options", "fallback", "chosen"),
    [
        ("AES-256-GCM", "V4", "", "AES-256-GCM"),
        ("chacha20-poly1305", "V4", "", "CHACHA20-POLY1305"),
        (None, "V4,cipher CHACHA20-POLY1305", "", "CHACHA20-POLY1305"),
        (None, "V4", "AES-128-GCM", "AES-128-GCM"),
        ("AES-128-GCM", "V4", "AES-128-GCM", "AES-128-GCM"),
    ],
)
def test_the_cipher_is_the_pushed_one_else_the_servers_else_the_fallback(
    pushed: str | None, options: str, fallback: str, chosen: str
) -> None:
    data = DataConfig(cipher_fallback=fallback)
    assert plan(replace(PUSHED, cipher=pushed), options, data=data).cipher == chosen


@pytest.mark.parametrize(
    ("pushed", "options", "text"),
    [
        ("AES-256-CBC", "V4", "negotiated cipher not allowed - AES-256-CBC"),
        (None, "V4,cipher AES-256-CBC", "('AES-256-CBC') to --data-ciphers"),
        (None, "V4", "Configure --data-ciphers-fallback"),
    ],
)
def test_a_cipher_we_did_not_offer_is_refused(pushed: str | None, options: str, text: str) -> None:
    with pytest.raises(PushRefused) as refusal:
        plan(replace(PUSHED, cipher=pushed), options)
    assert text in str(refusal.value)


def test_a_server_that_pushes_a_refused_cipher_is_not_given_a_key() -> None:
    server = Server(HOME, push=(PUSH.replace("AES-256-GCM", "AES-256-CBC"),))
    world = World(None, server).start()
    world.run(lambda: world.logged("negotiated cipher not allowed"))
    world.run(lambda: len(world.of(flow.OpenLink)) == 2)
    assert not world.of(flow.InstallKey)
    assert world.logged("SIGUSR1[soft,process-push-msg-failed] received, process restarting")


@pytest.mark.parametrize("option", ["protocol-flags aead-epoch", "comp-lzo yes", "compress lz4"])
def test_a_format_that_was_not_offered_is_refused(option: str) -> None:
    world = World(None, Server(HOME, push=(f"{PUSH},{option}",))).start()
    world.run(lambda: world.logged("OPTIONS ERROR"))
    assert not world.of(flow.AddPeer)


def test_a_server_without_peer_id_is_refused() -> None:
    with pytest.raises(PushRefused):
        plan(replace(PUSHED, peer_id=None))


@pytest.mark.parametrize(
    ("compression", "stub", "framing"),
    [
        ("", False, Framing.NONE),
        ("", True, Framing.STUB),
        ("stub", False, Framing.STUB),
    ],
)
def test_framing_is_the_pushed_or_configured_stub(
    compression: str, stub: bool, framing: Framing
) -> None:
    pushed = replace(PUSHED, compression=compression)
    assert plan(pushed, data=DataConfig(comp_stub=stub)).framing is framing


def test_a_server_that_chooses_the_epoch_format_gets_it_for_all_keys() -> None:
    push = PUSH.replace("dyn-tls-crypt", "dyn-tls-crypt aead-epoch")
    world = World(None, Server(HOME, push=(push,)), data_epoch=True).connect()
    assert int(world.server.hellos[0].peer_info["IV_PROTO"]) & 1 << 10
    assert world.logged("protocol-flags cc-exit tls-ekm dyn-tls-crypt aead-epoch")
    world.renegotiate()
    world.run(lambda: len(world.of(flow.InstallKey)) == 2)
    for ours in (order.key for order in world.of(flow.InstallKey)):
        assert world.server.connection is not None
        theirs = world.server.connection.derive_keys(
            ours.key_id, ours.cipher, use_ekm=True, data_format=DataFormat.EPOCH
        )
        assert ours.data_format is DataFormat.EPOCH
        assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)


@pytest.mark.parametrize(
    ("ecn", "push", "copies"),
    [
        (True, f"{PUSH},ecn-marks", True),
        (True, PUSH, False),
        (False, f"{PUSH},ecn-marks", False),
    ],
)
def test_marks_go_outside_when_both_ends_carry_them_inside(
    ecn: bool, push: str, copies: bool
) -> None:
    world = World(None, Server(HOME, push=(push,)), ecn=ecn).connect()
    assert [order.spec.copy_ecn for order in world.of(flow.AddPeer)] == [copies]


def test_a_server_that_declines_the_epoch_format_gets_the_classic_one() -> None:
    world = World(data_epoch=True).connect()
    assert [order.key.data_format for order in world.of(flow.InstallKey)] == [DataFormat.CLASSIC]


def test_keys_come_from_the_exporter_only_when_the_server_says_so() -> None:
    server = Server(HOME, push=(PUSH.replace(" tls-ekm", ""),))
    world = World(None, server).connect()
    ours = world.of(flow.InstallKey)[0].key
    assert server.connection is not None
    theirs = server.connection.derive_keys(ours.key_id, ours.cipher, use_ekm=False)
    assert ours.send_key == theirs.receive_key


# --- addresses, times, sizes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pushed", "mtu"), [(None, 1420), (1300, 1300), (1600, 1600), (9000, 1600)]
)
def test_a_pushed_mtu_is_taken_up_to_the_limit(pushed: int | None, mtu: int) -> None:
    tunnel = plan(replace(PUSHED, tun_mtu=pushed))
    assert tunnel.mtu == mtu
    assert any("tun-mtu-max 9000" in n for n in tunnel.notices) == (pushed == 9000)


def test_a_pushed_address_replaces_the_configured_one_of_its_family() -> None:
    host = HostConfig(ifconfig=(ip_interface("10.8.0.77/24"), ip_interface("fd00:6::77/64")))
    pushed = replace(PUSHED, ifconfig_ipv6=ip_interface("fd00:6::2/64"))
    assert [str(a) for a in plan(pushed, host=host).addresses] == ["fd00:6::2/64", "10.8.0.77/24"]


def test_ifconfig_noexec_and_route_noexec_leave_the_host_alone() -> None:
    host = HostConfig(ifconfig_noexec=True, route_noexec=True)
    world = World(config(host=host), Server(HOME, push=(f"{PUSH},route-ipv6 fd01::/48",)))
    world.connect()
    for applied in world.of(flow.ApplyHost):
        assert (applied.plan.addresses, applied.plan.routes) == ((), ())


@pytest.mark.parametrize(
    ("pushed", "data", "keepalive", "exits"),
    [
        ({}, DataConfig(), Keepalive(0, 120), False),
        ({"ping": 10, "ping_restart": 60}, DataConfig(), Keepalive(10, 60), False),
        ({"ping": 10, "ping_exit": 60}, DataConfig(), Keepalive(10, 60), True),
        ({}, DataConfig(keepalive=Keepalive(3, 9), ping_exit=True), Keepalive(3, 9), True),
        ({"ping_restart": 0}, DataConfig(keepalive=Keepalive(3, 9)), Keepalive(3, 0), False),
    ],
)
def test_keepalive_is_the_pushed_one_else_our_own(
    pushed: dict[str, int], data: DataConfig, keepalive: Keepalive, exits: bool
) -> None:
    tunnel = plan(replace(PUSHED, **pushed), data=data)  # type: ignore[arg-type]
    assert (tunnel.keepalive, tunnel.ping_exit) == (keepalive, exits)


def test_exit_notification_is_for_udp_only() -> None:
    pushed = replace(PUSHED, explicit_exit_notify=2)
    assert plan(pushed).exit_notify == 2
    assert plan(pushed, remote=Remote("h", transport=Transport.TCP)).exit_notify == 0
    assert plan(remote=Remote("h", explicit_exit_notify=3)).exit_notify == 3
    assert plan(client=ClientConfig(explicit_exit_notify=1)).exit_notify == 1


def test_what_was_agreed_is_described_as_stock_does() -> None:
    pushed = replace(
        PUSHED,
        ping=10,
        ping_exit=30,
        inactive=600,
        session_timeout=7200,
        explicit_exit_notify=1,
        protocol_flags=frozenset({"cc-exit", "tls-ekm"}),
    )
    assert list(describe(plan(pushed))) == [
        "Data Channel: cipher 'AES-256-GCM', peer-id: 5",
        "Timers: ping 10, ping-exit 30, inactive 600, session-timeout 7200",
        "Protocol options: explicit-exit-notify 1, protocol-flags cc-exit tls-ekm",
    ]


# --- tokens --------------------------------------------------------------------------------------


def test_a_pushed_token_takes_the_passwords_place_and_is_not_logged() -> None:
    server = Server(HOME, push=(f"{PUSH},auth-token SESS_ID_secret",))
    world = World(None, server, credentials=credentials("ada", "pw")).connect()
    assert (server.hellos[0].username, server.hellos[0].password.reveal()) == ("ada", b"pw")
    assert not world.logged("SESS_ID_secret")
    world.renegotiate()
    world.run(lambda: len(server.hellos) == 2)
    assert server.hellos[1].username == "ada"
    assert server.hellos[1].password.reveal() == b"SESS_ID_secret"


def test_a_token_pushed_later_changes_nothing_else() -> None:
    world = World(credentials=credentials("ada", "pw")).connect()
    world.forget()
    world.say("PUSH_REPLY,auth-token renewed")
    world.pass_time(1)
    assert not world.kinds(flow.AddPeer, flow.InstallKey, flow.ApplyHost, flow.OpenLink)
    world.renegotiate()
    world.run(lambda: len(world.server.hellos) == 2)
    assert world.server.hellos[1].password.reveal() == b"renewed"


# --- what we tell the server ---------------------------------------------------------------------


def test_peer_info_tells_what_we_can_and_no_more() -> None:
    world = World().connect()
    info = world.server.hellos[0].peer_info
    assert info["IV_CIPHERS"] == ":".join(CIPHERS)
    assert info["IV_MTU"] == "1600"
    assert int(info["IV_PROTO"]) & (1 << 10 | 1 << 12) == 0, "neither epoch keys nor PUSH_UPDATE"
    assert not any(name.startswith("UV_") for name in info)


def test_the_users_own_peer_info_is_sent_only_on_request() -> None:
    own = (("UV_SITE", "lab"), ("IV_GUI_VER", "gui-1"), ("OTHER", "x"))
    for asked in (False, True):
        control = ControlConfig(setenv=own, push_peer_info=asked)
        world = World(config(control=control)).connect()
        info = world.server.hellos[0].peer_info
        assert info["IV_GUI_VER"] == "gui-1"
        assert ("UV_SITE" in info) == asked
        assert "OTHER" not in info


WORDS = [
    "route",
    "route-ipv6",
    "route-gateway",
    "route-metric",
    "redirect-gateway",
    "ifconfig",
    "ifconfig-ipv6",
    "peer-id",
    "cipher",
    "ping",
    "inactive",
    "tun-mtu",
    "topology",
    "net30",
    "block-ipv6",
    "compress",
    "stub",
    "protocol-flags",
    "setenv",
    "dhcp-option",
    "DNS",
    "10.8.0.1",
    "255.255.255.0",
    "192.0.2.300",
    "fd00::/64",
    "fd00::1",
    "::ffff:1.2.3.4",
    "def1",
    "ipv6",
    "!ipv4",
    "vpn_gateway",
    "net_gateway",
    "remote_host",
    "AES-256-GCM",
    "-1",
    "0",
    "99999999999999999999",
    "\x00é",
]


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)))
def test_any_push_gives_a_tunnel_or_a_refusal(options: list[str]) -> None:
    pushed = parse_push([*options, "peer-id 3", "cipher AES-256-GCM"])
    try:
        tunnel = plan(pushed)
    except PushRefused:
        return
    assert tunnel.host_plan(config()).addresses == tunnel.addresses
    environment = script_call("up", ("x",), (), tunnel_environment("tun0", tunnel)).environment
    assert all("\x00" not in value for value in environment.values())
