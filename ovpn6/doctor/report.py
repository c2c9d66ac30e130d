"""The doctor's words: a page for people, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ovpn6.doctor.facts import Facts, Sweep
from ovpn6.doctor.judge import Finding, Weight

_COLOURS = {Weight.PROBLEM: "red", Weight.NOTE: "yellow"}


def to_json(facts: Facts, findings: Sequence[Finding]) -> str:
    """One object: ``healthy``, ``findings``, and the facts they come from."""
    document = {
        "healthy": healthy(findings),
        "findings": [
            {
                "weight": finding.weight.value,
                "code": finding.code,
                "what": finding.what,
                "advice": finding.advice,
            }
            for finding in findings
        ],
        "paths": [_sweep(sweep) for sweep in facts.sweeps],
        "segments": [{"target": str(each.target), "mss": each.mss} for each in facts.segments],
        "peers": [
            {
                "outer": str(each.outer),
                "path": each.path,
                "tunnel": each.tunnel,
                "learned": each.learned,
            }
            for each in facts.known
        ],
        "interfaces": [
            {
                "name": each.name,
                "mtu": each.mtu,
                "tunnel": each.tunnel,
                "disable_ipv6": each.disable_ipv6,
                "accept_ra": each.accept_ra,
                "forwarding": each.forwarding6,
            }
            for each in facts.interfaces
        ],
        "sysctls": {
            "net.ipv6.conf.all.forwarding": facts.sysctls.forwarding6,
            "net.ipv4.ip_forward": facts.sysctls.forwarding4,
            "net.ipv6.icmp.ratelimit": facts.sysctls.icmp6_ratelimit,
            "net.ipv4.ip_no_pmtu_disc": facts.sysctls.no_pmtu_disc,
        },
    }
    return json.dumps(document, indent=2)


def show(facts: Facts, findings: Sequence[Finding], console: Console) -> None:
    """The page."""
    if facts.sweeps:
        console.print(_paths(facts.sweeps))
    for each in facts.segments:
        if each.mss is not None:
            console.print(f"TCP to {each.target} announces segments of {each.mss} octets")
    for known in facts.known:
        console.print(
            f"the daemon's path to {known.outer}: {known.path or 'not known'}, inside "
            f"{known.tunnel} octets ({known.learned})"
        )
    for finding in findings:
        colour = _COLOURS[finding.weight]
        console.print(
            f"[bold {colour}]{finding.weight.value}[/]  {escape(finding.what)}", soft_wrap=True
        )
        if finding.advice:
            console.print(f"         {escape(finding.advice)}", style="dim", soft_wrap=True)
    if healthy(findings):
        console.print("[bold green]healthy[/]  nothing here stops packets")


def healthy(findings: Sequence[Finding]) -> bool:
    """Whether there is no problem; notes are none."""
    return not any(finding.weight is Weight.PROBLEM for finding in findings)


def _paths(sweeps: Sequence[Sweep]) -> Table:
    table = Table(title="what comes through, octets of whole IP packets", title_justify="left")
    for column in ("path", "to", "by", "largest", "what is larger"):
        table.add_column(column)
    for sweep in sweeps:
        table.add_row(
            sweep.place.value,
            str(sweep.target),
            f"{sweep.link} ({sweep.link_mtu})",
            str(sweep.largest) if sweep.answered else "-",
            _larger(sweep),
        )
    return table


def _larger(sweep: Sweep) -> str:
    if not sweep.answered:
        return "no answer to any echo"
    if sweep.lost is None:
        return "does not fit the link"
    if sweep.told is not None:
        by = "this host" if sweep.told.by is None else str(sweep.told.by)
        return f"{by} says {sweep.told.mtu}"
    behind = "" if sweep.hole is None else f" behind {sweep.hole.reached or 'this host'}"
    return f"vanishes{behind}"


def _sweep(sweep: Sweep) -> dict[str, Any]:
    return {
        "place": sweep.place.value,
        "target": str(sweep.target),
        "interface": sweep.link,
        "interface_mtu": sweep.link_mtu,
        "answered": sweep.answered,
        "largest": sweep.largest,
        "lost": sweep.lost,
        "told": sweep.told and {"by": sweep.told.by and str(sweep.told.by), "mtu": sweep.told.mtu},
        "hole": sweep.hole
        and {
            "reached": sweep.hole.reached and str(sweep.hole.reached),
            "beyond": sweep.hole.beyond and str(sweep.hole.beyond),
        },
        "fragments": sweep.fragments,
        "back": sweep.back,
    }
