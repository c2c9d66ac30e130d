"""ovpn6 on each of its data paths beside OpenVPN 2.6 and 2.7, wireguard-go and the bare link.

    make bench                every day, in ten minutes
    make bench FORM=long      for a release

Writes a table, a JSON file and a plot into ``docs/bench/``. Exit code 1 when a figure misses what
the project asks of it (``bench/goals.py``), 2 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from vm.build import build
from vm.errors import VmError

from bench.figures import Results
from bench.forms import FORMS
from bench.goals import Outcome, all_reached, evaluate
from bench.machine import describe, is_busy
from bench.net import two_hosts
from bench.peers.ours import data_paths
from bench.peers.sid import wireguard_root
from bench.plot import draw
from bench.run import Field, Run
from bench.sides import compiled_once
from bench.table import About, as_json, markdown, print_results
from ovpn6.model.errors import Ovpn6Error

_LEAST_WIDTH = 132
"""Columns of a terminal: the table does not fit into fewer."""
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "bench"


def main() -> int:
    """Measure, print, write; the exit code."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.partition("\n")[0])
    parser.add_argument("form", choices=tuple(FORMS), nargs="?", default="short")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of the results")
    asked = parser.parse_args()
    console = Console(width=max(_LEAST_WIDTH, Console().width))
    try:
        build()
        wireguard_root()
        machine = describe()
        if is_busy():
            console.print("this machine is busy with other work: the figures will mislead")
        with compiled_once(), two_hosts() as hosts:
            field = Field(data_paths(hosts))
            versions = {program.name: program.version() for program in field.everyone}
            about = About(FORMS[asked.form], machine, versions, field.cast())
            started = time.monotonic()
            results = Run(hosts, field, about.form, console).everything()
    except (Ovpn6Error, VmError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    console.print(f"measured in {(time.monotonic() - started) / 60:.1f} minutes")
    outcomes = evaluate(results, about.cast)
    print_results(console, results, tuple(versions), outcomes)
    _write(results, outcomes, about, asked.output)
    return 0 if all_reached(outcomes) else 1


def _write(results: Results, outcomes: Sequence[Outcome], about: About, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    name = about.form.name
    page = markdown(results, outcomes, about)
    (directory / f"{name}.md").write_text(page, encoding="utf-8")
    whole = json.dumps(as_json(results, outcomes, about), indent=1)
    (directory / f"{name}.json").write_text(whole + "\n", encoding="utf-8")
    machine = about.machine
    title = f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}"
    draw(results, tuple(about.versions), title, directory / f"{name}.svg")


if __name__ == "__main__":
    sys.exit(main())
