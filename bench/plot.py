"""The chief figures as bars, a panel a figure: what a table hides is how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from bench.figures import (
    CPU_SYSTEM,
    CPU_USER,
    HANDSHAKES,
    MEMORY_CLIENTS,
    RTT_IDLE,
    RTT_LOADED,
    TCP,
    TCP_BOTH_WAYS,
    TCP_PARALLEL,
    UDP,
    Figure,
    Results,
    tcp_single,
)

mpl.use("svg")
# Readable as text, and the same octets for the same values.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ovpn6", "font.size": 8})

from matplotlib import pyplot  # noqa: E402  (after the choice of a back end)
from matplotlib.axes import Axes  # noqa: E402

_PANELS = (
    *(TCP, tcp_single(4, 4), TCP_PARALLEL, TCP_BOTH_WAYS),
    *(UDP[64], UDP[1300], RTT_IDLE[1], RTT_LOADED[1]),
    *(CPU_USER, CPU_SYSTEM, HANDSHAKES, MEMORY_CLIENTS[1]),
)
_COLUMNS = 4
_OURS, _OTHER = "#1f77b4", "#b0b0b0"


def draw(results: Results, candidates: Sequence[str], title: str, path: Path) -> None:
    """Medians as bars, the runs' range as a line over each."""
    rows = -(-len(_PANELS) // _COLUMNS)
    drawing, panels = pyplot.subplots(rows, _COLUMNS, figsize=(13, 2.6 * rows))
    for figure, panel in zip(_PANELS, panels.flat, strict=True):
        _fill(panel, results, figure, candidates)
    drawing.suptitle(title)
    drawing.tight_layout()
    drawing.savefig(path, metadata={"Date": None})
    pyplot.close(drawing)


def _fill(panel: Axes, results: Results, figure: Figure, candidates: Sequence[str]) -> None:
    there = [name for name in candidates if results.median(figure, name) is not None]
    medians = [results.median(figure, name) or 0.0 for name in there]
    spreads = [results.spread(figure, name) for name in there]
    errors = [
        [median - low for median, (low, _) in zip(medians, spreads, strict=True)],
        [high - median for median, (_, high) in zip(medians, spreads, strict=True)],
    ]
    colours = [_OURS if name.startswith("ovpn6") else _OTHER for name in there]
    panel.barh(there, medians, xerr=errors, color=colours, ecolor="#404040")
    panel.invert_yaxis()
    panel.set_title(f"{figure.section}: {figure.name}", fontsize=7)
    panel.set_xlabel(figure.unit)
    panel.spines[["top", "right"]].set_visible(False)
