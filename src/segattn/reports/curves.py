"""The log of a run as curves: loss, learning rate, validation scores and speed over the steps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segattn.files import atomic_path, require_folder
from segattn.reports.themed import GRID, INK, QUIET, SERIES, svg_source
from segattn.training.state import LOG

Series = NDArray[np.float64]

_MANY = 150
"""Records from which the loss is smoothed; the raw values stay visible behind it."""


def draw_curves(run_folder: str | Path) -> Path:
    """Draw what `log.jsonl` of a run says into `curves.png` and `curves.svg` in the same folder.

    A last line that is still being written is left out; values that were not finite are gaps.

    Returns:
        The PNG.

    Raises:
        FileNotFoundError: the folder, or its log, does not exist.
        ValueError: the log holds no record yet, or a line that is none.
        OSError: the folder can't be written to.
    """
    folder = Path(run_folder)
    log = read_log(folder)

    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_style()):
        figure = Figure(figsize=(11, 7), layout="constrained")
        FigureCanvasAgg(figure)
        for draw, axes in zip(_PANELS, figure.subplots(2, 2).flat, strict=True):
            title, unit = draw(axes, log)
            axes.set_title(title, loc="left", fontweight="bold", pad=20)
            axes.text(0, 1.03, unit, transform=axes.transAxes, color=QUIET, fontsize=9)
            _draw_steps(axes, log)
        figure.suptitle(folder.resolve().name, x=0.01, ha="left", fontsize=13, fontweight="bold")
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {})):
            with atomic_path(folder / f"curves{suffix}") as temporary:
                figure.savefig(temporary, format=suffix[1:], dpi=150, metadata=metadata)
    return folder / "curves.png"


class Curve(NamedTuple):
    """One of the panels by itself, for a page: its title, its unit and more in words, and the source of its image."""

    title: str
    unit: str
    source: str


def curves(log: Log) -> list[Curve]:
    """The same four, each legible at the width of a phone."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = []
    with mpl.rc_context(_style()):
        for draw in _PANELS:
            figure = Figure(figsize=(4.8, 3.0), layout="constrained")
            FigureCanvasAgg(figure)
            axes = figure.subplots()
            title, unit = draw(axes, log)
            _draw_steps(axes, log)
            found.append(Curve(title, unit, svg_source(figure)))
    return found


class Log(NamedTuple):
    """The training and the validation records of a run, in the order of their steps."""

    training: list[dict[str, Any]]
    validation: list[dict[str, Any]]


def read_log(folder: Path) -> Log:
    """What `log.jsonl` of a run says; errors as `draw_curves`."""
    path = folder / LOG
    if not path.is_file():
        wanted = "expected a folder that `segattn train` wrote"
        require_folder(folder, wanted)
        raise FileNotFoundError(f"{folder}: the folder holds no {LOG}; {wanted}")
    kinds: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            kinds[record["kind"]].append({**record, "step": int(record["step"])})
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                continue
            raise ValueError(
                f'{path}, line {number}: expected a record with "kind" and "step", found {line[:80]!r}'
            ) from None
    if not any(kinds.values()):
        raise ValueError(f"{path}: no record yet; the first is written after training.log_every steps")
    training, validation = (sorted(records, key=lambda record: record["step"]) for records in kinds.values())
    return Log(training, validation)


_Words = tuple[str, str]
"""A title, and the unit with more that is to be known."""


def _draw_steps(axes: Any, log: Log) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, 1.02 * max(record["step"] for record in log.training + log.validation))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("step")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _draw_loss(axes: Any, log: Log) -> _Words:
    """The sum in ink, its terms in colours, on a logarithmic axis where the values span more than a decade."""
    from matplotlib.ticker import LogLocator, NullLocator

    records = log.training
    terms = [key for key in dict.fromkeys(key for record in records for key in record) if key.startswith("loss/")]
    shown = [("sum", "loss", INK)] if len(terms) != 1 else []
    shown += [(key.removeprefix("loss/"), key, SERIES[i % len(SERIES)]) for i, key in enumerate(terms)]
    every = []
    for label, key, colour in shown:
        steps, values = _series(records, key)
        width = 2.0 if key == "loss" else 1.4
        if len(values) >= _MANY:
            axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.25)
            values = _smooth(values)
        axes.plot(steps, values, color=colour, linewidth=width, label=label, **_marker(values))
        every.append(values)
    positive = np.concatenate(every)[np.concatenate(every) > 0] if every else np.empty(0)
    if positive.size and positive.max() > 10 * positive.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    _finish(axes, empty=not positive.size)
    return "Loss", "training, mean since the last record"


def _draw_scores(axes: Any, log: Log) -> _Words:
    records, best = log.validation, ""
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    for (key, label), colour in zip((("miou", "mIoU"), ("macc", "mAcc"), ("aacc", "aAcc")), SERIES, strict=False):
        steps, values = _series(records, key)
        main = key == "miou"
        look = {"linewidth": 2.0 if main else 1.2, "alpha": 1.0 if main else 0.6}
        axes.plot(steps, values, color=colour, label=label, **look, **_marker(values))
        if main and np.isfinite(values).any():
            top = int(np.nanargmax(values))
            axes.plot(steps[top], values[top], "o", color=colour, markersize=7)
            best = f"best mIoU {values[top]:.2f} % at step {steps[top]:,.0f}"
    _finish(axes, empty=not best)
    return "Validation", best or "%"


def _draw_rate(axes: Any, log: Log) -> _Words:
    """The schedule's rate and, where parameter groups multiply it, the range that they span."""
    records = log.training
    steps, rates = _series(records, "lr")
    groups = [[value for value in record.get("lr_by_group") or () if value is not None] for record in records]
    if all(groups) and records:
        low, high = np.array([min(group) for group in groups]), np.array([max(group) for group in groups])
        if not (np.allclose(low, rates, rtol=1e-4, atol=0) and np.allclose(high, rates, rtol=1e-4, atol=0)):
            axes.fill_between(steps, low, high, color=SERIES[0], alpha=0.15, linewidth=0, label="parameter groups")
    axes.plot(steps, rates, color=SERIES[0], linewidth=2.0, label="schedule", **_marker(rates))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _finish(axes, empty=not rates.size)
    return "Learning rate", "per step"


def _draw_speed(axes: Any, log: Log) -> _Words:
    records = log.training
    steps, values = _series(records, "images_per_second")
    axes.plot(steps, values, color=SERIES[2], linewidth=1.6, label="speed", **_marker(values))
    if np.isfinite(values).any():
        median = float(np.nanmedian(values))
        axes.axhline(median, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=3, label=f"median {median:.3g}")
        axes.set_ylim(0, 1.15 * float(np.nanmax(values)))
    _, waits = _series(records, "data_wait")
    waited = f"; {100 * np.nanmean(waits):.0f} % of the time waiting for data" if np.isfinite(waits).any() else ""
    _finish(axes, empty=not values.size)
    return "Speed", f"training, images per second{waited}"


_PANELS = (_draw_loss, _draw_scores, _draw_rate, _draw_speed)


def _series(records: Sequence[dict[str, Any]], key: str) -> tuple[Series, Series]:
    """Steps and values; NaN where the record has no number."""
    values = [math.nan if record.get(key) is None else float(record[key]) for record in records]
    return np.array([record["step"] for record in records], np.float64), np.array(values, np.float64)


def _smooth(values: Series) -> Series:
    """Mean of the finite values in a centred window of a fiftieth of the curve; gaps stay gaps."""
    window = np.ones(2 * (len(values) // 100) + 1)
    finite = np.isfinite(values)
    weights = np.convolve(finite.astype(np.float64), window, "same")
    sums = np.convolve(np.where(finite, values, 0.0), window, "same")
    return np.where(finite, sums / np.maximum(weights, 1), math.nan)


def _marker(values: Series) -> dict[str, Any]:
    """Few points are shown as points: a single one would be no line."""
    return {"marker": "o", "markersize": 3.5} if len(values) <= 40 else {}


def _finish(axes: Any, *, empty: bool) -> None:
    if empty:
        axes.text(0.5, 0.5, "no record yet", transform=axes.transAxes, ha="center", va="center", color=QUIET)
        axes.set_yticks([])
    elif len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(loc="best")


def _style() -> dict[Any, Any]:
    return {
        "font.size": 10, "font.family": "DejaVu Sans", "text.color": INK, "axes.titlesize": 11.5,
        "axes.edgecolor": GRID, "axes.labelcolor": QUIET, "axes.titlecolor": INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
        "grid.color": GRID, "grid.linewidth": 0.8, "xtick.color": QUIET, "ytick.color": QUIET,
        "xtick.major.size": 0, "ytick.major.size": 0, "ytick.minor.size": 0, "legend.frameon": False,
        "legend.fontsize": 9, "figure.facecolor": "white", "savefig.facecolor": "white", "svg.hashsalt": "segattn",
        "figure.constrained_layout.h_pad": 0.14, "figure.constrained_layout.w_pad": 0.12,
    }  # fmt: skip
