"""The log of a run as curves: loss, learning rate, validation scores and speed over the steps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.files import atomic_path
from segattn.training.state import LOG

Series = NDArray[np.float64]
_INK, _QUIET, _GRID = "#1f2430", "#667085", "#e4e7ec"
_COLOURS = ("#2457a6", "#c8553d", "#2f855a", "#8a63b8", "#b7791f", "#0e7490", "#a63d6f", "#5b6b7f")

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
    training, validation = _read(folder)

    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with mpl.rc_context(_style()):
        figure = Figure(figsize=(11, 7), layout="constrained")
        FigureCanvasAgg(figure)
        loss, score, learning_rate, speed = figure.subplots(2, 2).flat
        _draw_loss(loss, training)
        _draw_scores(score, validation)
        _draw_rate(learning_rate, training)
        _draw_speed(speed, training)
        figure.suptitle(folder.resolve().name, x=0.01, ha="left", fontsize=13, fontweight="bold")
        last = max(record["step"] for record in training + validation)
        for axes in (loss, score, learning_rate, speed):
            axes.set_xlim(0, 1.02 * last)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.set_xlabel("step")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {})):
            with atomic_path(folder / f"curves{suffix}") as temporary:
                figure.savefig(temporary, format=suffix[1:], dpi=150, metadata=metadata)
    return folder / "curves.png"


def _read(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The training and the validation records, in the order of their steps."""
    path = folder / LOG
    if not path.is_file():
        what = f"the folder holds no {LOG}" if folder.is_dir() else "no such folder"
        raise FileNotFoundError(f"{folder}: {what}; expected a folder that `segattn train` wrote")
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
    return training, validation


def _draw_loss(axes: Any, records: Sequence[dict[str, Any]]) -> None:
    """The sum in ink, its terms in colours, on a logarithmic axis where the values span more than a decade."""
    from matplotlib.ticker import LogLocator, NullLocator

    terms = [key for key in dict.fromkeys(key for record in records for key in record) if key.startswith("loss/")]
    shown = [("sum", "loss", _INK)] if len(terms) != 1 else []
    shown += [(key.removeprefix("loss/"), key, _COLOURS[i % len(_COLOURS)]) for i, key in enumerate(terms)]
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
    _finish(axes, "Loss", "mean since the last record", empty=not positive.size)


def _draw_scores(axes: Any, records: Sequence[dict[str, Any]]) -> None:
    best = ""
    for (key, label), colour in zip((("miou", "mIoU"), ("macc", "mAcc"), ("aacc", "aAcc")), _COLOURS, strict=False):
        steps, values = _series(records, key)
        main = key == "miou"
        look = {"linewidth": 2.0 if main else 1.2, "alpha": 1.0 if main else 0.6}
        axes.plot(steps, values, color=colour, label=label, **look, **_marker(values))
        if main and np.isfinite(values).any():
            top = int(np.nanargmax(values))
            axes.plot(steps[top], values[top], "o", color=colour, markersize=7)
            best = f"best mIoU {values[top]:.2f} at step {steps[top]:,.0f}"
    _finish(axes, "Validation", f"percent; {best}" if best else "percent", empty=not best)


def _draw_rate(axes: Any, records: Sequence[dict[str, Any]]) -> None:
    """The schedule's rate and, where parameter groups multiply it, the range that they span."""
    steps, rates = _series(records, "lr")
    groups = [[value for value in record.get("lr_by_group") or () if value is not None] for record in records]
    if all(groups) and records:
        low, high = np.array([min(group) for group in groups]), np.array([max(group) for group in groups])
        if not (np.allclose(low, rates, rtol=1e-4, atol=0) and np.allclose(high, rates, rtol=1e-4, atol=0)):
            axes.fill_between(steps, low, high, color=_COLOURS[0], alpha=0.15, linewidth=0, label="parameter groups")
    axes.plot(steps, rates, color=_COLOURS[0], linewidth=2.0, label="schedule", **_marker(rates))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _finish(axes, "Learning rate", "per step", empty=not rates.size)


def _draw_speed(axes: Any, records: Sequence[dict[str, Any]]) -> None:
    steps, values = _series(records, "images_per_second")
    axes.plot(steps, values, color=_COLOURS[2], linewidth=1.6, label="speed", **_marker(values))
    if np.isfinite(values).any():
        median = float(np.nanmedian(values))
        axes.axhline(median, color=_INK, linewidth=1, linestyle=(0, (4, 3)), zorder=3, label=f"median {median:.3g}")
        axes.set_ylim(0, 1.15 * float(np.nanmax(values)))
    _, waits = _series(records, "data_wait")
    waited = f"; {np.nanmean(waits):.0%} of the time waiting for data" if np.isfinite(waits).any() else ""
    _finish(axes, "Speed", f"images per second{waited}", empty=not values.size)


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


def _finish(axes: Any, title: str, unit: str, *, empty: bool) -> None:
    axes.set_title(title, loc="left", fontweight="bold", pad=20)
    axes.text(0, 1.03, unit, transform=axes.transAxes, color=_QUIET, fontsize=9)
    if empty:
        axes.text(0.5, 0.5, "no record yet", transform=axes.transAxes, ha="center", va="center", color=_QUIET)
        axes.set_yticks([])
    elif len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(loc="best")


def _style() -> dict[Any, Any]:
    return {
        "font.size": 10, "font.family": "DejaVu Sans", "text.color": _INK, "axes.titlesize": 11.5,
        "axes.edgecolor": _GRID, "axes.labelcolor": _QUIET, "axes.titlecolor": _INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
        "grid.color": _GRID, "grid.linewidth": 0.8, "xtick.color": _QUIET, "ytick.color": _QUIET,
        "xtick.major.size": 0, "ytick.major.size": 0, "ytick.minor.size": 0, "legend.frameon": False,
        "legend.fontsize": 9, "figure.facecolor": "white", "savefig.facecolor": "white", "svg.hashsalt": "segattn",
        "figure.constrained_layout.h_pad": 0.14, "figure.constrained_layout.w_pad": 0.12,
    }  # fmt: skip
