"""What is read from the machine and from other programs' output."""

from __future__ import annotations

import os

import pytest

from bench.machine import cpu_model, numbers, total_memory_gib
from bench.measure.cpu import CpuTime, parse_stat
from bench.measure.iperf import datagrams_a_second, gigabits_carried, megabits
from bench.measure.round_trip import parse_times
from bench.peers.ours import short_name

CPUINFO = """\
processor\t: 0
model name\t: Some Server CPU
flags\t\t: fpu aes avx2 vaes

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
PING = """\
PING fd00::1 (fd00::1) 56 data bytes
64 bytes from fd00::1: icmp_seq=1 ttl=64 time=0.084 ms
64 bytes from fd00::1: icmp_seq=2 ttl=64 time=1.50 ms

--- fd00::1 ping statistics ---
3 packets transmitted, 2 received, 33.3333% packet loss, time 4ms
rtt min/avg/max/mdev = 0.084/0.792/1.500/0.708 ms
"""
REPORT = {
    "end": {
        "sum_received": {"bytes": 250_000_000, "bits_per_second": 1e9},
        "sum_received_bidir_reverse": {"bytes": 1, "bits_per_second": 5e8},
    }
}
DATAGRAMS = {
    "end": {
        "sum": {"packets": 1000, "lost_packets": 300, "seconds": 2.0},
        "sum_received": {"bytes": 600 * 64, "packets": 1000, "seconds": 2.0},
    }
}


def test_the_first_processor_stands_for_all() -> None:
    assert cpu_model(CPUINFO) == "Some Server CPU (aes, avx2, vaes)"


def test_a_processor_without_flags_is_only_named() -> None:
    assert cpu_model("model name\t: Small\n") == "Small"


def test_memory_is_in_gib() -> None:
    assert total_memory_gib("MemTotal:       16777216 kB\nMemFree: 1 kB\n") == 16.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("6.18.44-some-machine", "6.18.44"),
        ("OpenVPN 2.7.8 x86_64-pc-linux-gnu [SSL", "2.7.8"),
        ("iperf 3.12 (cJSON 1.7.15)\nLinux host 6.1", "3.12"),
        ("none", "unknown"),
    ],
)
def test_of_a_version_only_the_numbers_are_told(text: str, found: str) -> None:
    assert numbers(text) == found


def test_only_answers_are_round_trips() -> None:
    assert parse_times(PING) == [0.084, 1.5]


def test_processor_time_is_found_behind_any_name() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    fields = ["S", *("0" for _ in range(10)), str(3 * ticks), str(ticks), "0"]
    found = parse_stat(f"7 (a ) 1 b) {' '.join(fields)}\n")
    assert found == CpuTime(user=3.0, system=1.0)
    assert found - CpuTime(1.0, 1.0) + CpuTime(0.5, 0.0) == CpuTime(2.5, 0.0)


def test_both_directions_of_a_report_count() -> None:
    assert megabits(REPORT) == 1500.0
    assert gigabits_carried(REPORT) == 2.0


def test_lost_datagrams_are_not_delivered() -> None:
    assert datagrams_a_second(DATAGRAMS, 64) == 300.0


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("user space (Python)", "Python"),
        ("user space (native)", "native"),
        ("kernel (ovpn)", "kernel"),
        ("user space", "user space"),
    ],
)
def test_data_paths_have_short_names(path: str, short: str) -> None:
    assert short_name(path) == short
