"""Throughput of the data path alone against stock OpenVPN: one TCP stream over IPv6 inside.

Root only. Two namespaces of this run joined by a veth (MTU 1500, IPv6 only). Each candidate gets
the tunnel MTU 1420, AES-256-GCM, and the same iperf3 run; rounds are interleaved and the median
counts. ovpn6 runs as two processes with keys installed by hand: no control channel. Everything
shares the host's cores, so only the ratios mean something.

    python bench/datapath_throughput.py [--seconds 3] [--rounds 3] [--tcp] [--only native]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import os
import pstats
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_network
from pathlib import Path as FilePath

from ovpn6.datapath.fastpath.datapath import FastpathDatapath
from ovpn6.datapath.interface import Datapath
from ovpn6.datapath.userspace import UserspaceDatapath, UserspaceOptions
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.flow import LinkAccepted
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId, Transport
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DeviceSpec, Keepalive, KeyMaterial, LinkSpec, PeerSpec

MTU = 1420
PORT = 1194
TAG = f"o6b{os.getpid() % 100000}"
OUTER = ("fd00::1", "fd00::2")
INNER = ("fd01::1", "fd01::2")


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def namespaces() -> Iterator[tuple[str, str]]:
    """Two namespaces with a veth between them; gone afterwards."""
    names = (f"{TAG}a", f"{TAG}b")
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "link", "add", "v0", "netns", names[0], "type", "veth",
            "peer", "name", "v0", "netns", names[1])  # fmt: skip
        for name, address in zip(names, OUTER, strict=True):
            run("ip", "-n", name, "address", "add", f"{address}/64", "dev", "v0", "nodad")
            run("ip", "-n", name, "link", "set", "v0", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


def wait_for(what: str, condition: Callable[[], bool], limit: float = 20.0) -> None:
    """Poll a condition of another process."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {limit:.0f} s in vain for {what}")
        time.sleep(0.05)


# --- one end of ours ----------------------------------------------------------------------------


def serve_end(end: int, transport: str, profile: str, native: bool) -> None:
    """A data path alone: static keys, one peer, until SIGTERM."""
    profiler = cProfile.Profile() if profile else None
    if profiler:
        profiler.enable()
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(hold_end(end, Transport(transport), native))
    if profiler:
        profiler.disable()
        with open(profile, "w") as out:
            pstats.Stats(profiler, stream=out).sort_stats("tottime").print_stats(25)


async def hold_end(end: int, transport: Transport, native: bool) -> None:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[LinkId] = loop.create_future()

    def report(happened: object) -> None:
        if isinstance(happened, LinkAccepted):
            accepted.set_result(happened.link)

    options = UserspaceOptions()
    datapath: Datapath
    if native:
        datapath = FastpathDatapath(report, loop, options, lambda: LinkId(9))
    else:
        datapath = UserspaceDatapath(report, loop, os.urandom, options, lambda: LinkId(9))
    name = datapath.open_device(DeviceSpec(), MTU)
    run("ip", "link", "set", name, "mtu", str(MTU), "up")
    run("ip", "address", "add", f"{INNER[end]}/64", "dev", name, "nodad")
    remote = Endpoint(IPv6Address(OUTER[1 - end]), PORT)
    connects = transport is Transport.TCP and end == 1
    spec = LinkSpec(transport, local_port=0 if connects else PORT)
    if connects:
        spec = LinkSpec(transport, remote=remote)
    await datapath.open_link(LinkId(1), spec)
    link = LinkId(1)
    if transport is Transport.TCP and end == 0:
        link = await accepted
    path = Path(link, remote)
    networks = (ip_network("::/0"),)
    datapath.add_peer(PeerSpec(PeerId(1), 1, path, networks, Keepalive(10, 60)))
    datapath.install_key(PeerId(1), KeySlot.PRIMARY, static_keys(end))
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    print(json.dumps({"drops": datapath.drops().counts}), file=sys.stderr)
    datapath.close()


def static_keys(end: int) -> KeyMaterial:
    keys = [SecretBytes(bytes([7 + i]) * 32) for i in (0, 1)]
    ivs = [SecretBytes(bytes([17 + i]) * 8) for i in (0, 1)]
    return KeyMaterial(KeyId(0), "AES-256-GCM", keys[end], ivs[end], keys[1 - end], ivs[1 - end])


@contextlib.contextmanager
def ours(
    names: tuple[str, str], transport: str, profile: bool, native: bool
) -> Iterator[list[int]]:
    """Both ends of ours; yields their process ids."""
    ends: list[subprocess.Popen[bytes]] = []
    try:
        for end in (0, 1):
            words = ["ip", "netns", "exec", names[end], sys.executable, __file__]
            words += ["--end", str(end), "--transport", transport]
            words += ["--native"] if native else []
            words += ["--profile-to", f"/tmp/{TAG}.{end}.profile"] if profile else []
            ends.append(subprocess.Popen(words))
            if end == 0 and transport == "tcp":
                wait_for("our listener", lambda: f":{PORT}" in listeners(names[0]))
        wait_for("our tunnel", lambda: pings(names[1]))
        yield [end.pid for end in ends]
    finally:
        stop(ends)
        if profile:
            for end in (0, 1):
                print(FilePath(f"/tmp/{TAG}.{end}.profile").read_text()[:4500])


# --- stock OpenVPN ------------------------------------------------------------------------------


@contextlib.contextmanager
def stock(names: tuple[str, str], transport: str, directory: FilePath) -> Iterator[list[int]]:
    """Two stock OpenVPN processes, authenticated by fingerprints."""
    prints = [certificate(directory, f"end{end}") for end in (0, 1)]
    protocols = ("udp6", "udp6") if transport == "udp" else ("tcp6-server", "tcp6-client")
    ends: list[subprocess.Popen[bytes]] = []
    try:
        for end in (0, 1):
            words = ["ip", "netns", "exec", names[end], "openvpn", "--dev", "tun"]
            words += ["--proto", protocols[end], "--port", str(PORT), "--tun-mtu", str(MTU)]
            words += ["--ifconfig-ipv6", f"{INNER[end]}/64", INNER[1 - end]]
            words += ["--cert", f"{directory}/end{end}.crt", "--key", f"{directory}/end{end}.key"]
            words += ["--peer-fingerprint", prints[1 - end], "--data-ciphers", "AES-256-GCM"]
            words += ["--disable-dco", "--keepalive", "10", "60", "--dh", "none", "--verb", "0"]
            words += ["--tls-server"] if end == 0 else ["--tls-client", "--remote", OUTER[0]]
            log = open(directory / f"stock{end}.log", "wb")  # noqa: SIM115
            ends.append(subprocess.Popen(words, stdout=log, stderr=log))
        wait_for("stock OpenVPN", lambda: pings(names[1]))
        yield [end.pid for end in ends]
    finally:
        stop(ends)


def certificate(directory: FilePath, name: str) -> str:
    key, cert = directory / f"{name}.key", directory / f"{name}.crt"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2",
        "-subj", f"/CN={name}")  # fmt: skip
    text = run("openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(cert))
    return text.partition("=")[2].strip()


# --- measuring ----------------------------------------------------------------------------------


def measure(names: tuple[str, str], pids: list[int], seconds: int) -> tuple[float, float, float]:
    """Gbit/s of one TCP stream from the second end to the first, CPU s a Gbit, and RSS in MB."""
    server = ("ip", "netns", "exec", names[0], "iperf3", "-s", "-1", "-B", INNER[0])
    with subprocess.Popen(server, stdout=subprocess.DEVNULL) as listener:
        wait_for("iperf3", lambda: ":5201" in listeners(names[0]))
        before = sum(cpu_seconds(pid) for pid in pids)
        text = run("ip", "netns", "exec", names[1], "iperf3", "-c", INNER[0], "-t", str(seconds),
                   "-J")  # fmt: skip
        spent = sum(cpu_seconds(pid) for pid in pids) - before
        listener.wait(10)
    rate = float(json.loads(text)["end"]["sum_received"]["bits_per_second"]) / 1e9
    return rate, spent / (rate * seconds), max(resident_mb(pid) for pid in pids)


def cpu_seconds(pid: int) -> float:
    fields = FilePath(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    pages = int(FilePath(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def listeners(name: str) -> str:
    return run("ip", "netns", "exec", name, "ss", "-ltnH")


def pings(name: str) -> bool:
    words = ("ip", "netns", "exec", name, "ping", "-6", "-c1", "-W1", INNER[0])
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tcp", action="store_true", help="TCP outside")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", choices=("native", "Python", "OpenVPN"), action="append")
    parser.add_argument("--native", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--end", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--transport", default="udp", help=argparse.SUPPRESS)
    parser.add_argument("--profile-to", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.end is not None:
        serve_end(asked.end, asked.transport, asked.profile_to, asked.native)
        return
    transport = "tcp" if asked.tcp else "udp"
    wanted = asked.only or ["native", "Python", "OpenVPN"]
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in wanted}
    with namespaces() as names, tempfile.TemporaryDirectory() as directory:
        for _ in range(asked.rounds):
            for name in wanted:
                with (
                    stock(names, transport, FilePath(directory))
                    if name == "OpenVPN"
                    else ours(names, transport, asked.profile, name == "native")
                ) as pids:
                    results[name].append(measure(names, pids, asked.seconds))
    medians = {}
    for name, runs in results.items():
        if runs:
            rate, cpu, memory = (statistics.median(column) for column in zip(*runs, strict=True))
            medians[name] = rate
            print(f"{name:8} {rate:5.2f} Gbit/s  {cpu:4.2f} CPU s/Gbit  {memory:5.1f} MB")
    for name in medians.keys() - {"OpenVPN"} if "OpenVPN" in medians else ():
        print(f"{name:8} {medians[name] / medians['OpenVPN']:5.2f} x OpenVPN ({transport})")


if __name__ == "__main__":
    main()
