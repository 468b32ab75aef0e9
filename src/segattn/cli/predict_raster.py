"""The part of segattn predict that labels rasters: scenes of any size that lie somewhere on Earth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.screen import percent, size_text
from segattn.contracts import cut

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter
    from segattn.predicting.raster.label import RasterReport

_WINDOW, _OVERLAP, _MEMORY = 512, 128, 512 << 20
_DEFAULTS = {"bands": None, "range": None, "window": _WINDOW, "overlap": _OVERLAP}
_IMAGES_ONLY = {
    **dict.fromkeys(("confidence", "fresh", "parquet", "tint_all"), False),
    **dict.fromkeys(("ray", "protocol", "workers")),
}
_MOST_PROBLEMS = 20
HELP = (
    "With --raster, a GeoTIFF of any size gives NAME_labels.tif: class ids at the same place, in the same coordinate\n"
    "reference system, in bounded memory; a call that was stopped goes on where it was.\n\n"
)


def add_raster_options(parser: argparse.ArgumentParser) -> None:
    """The options that only rasters have."""
    group = parser.add_argument_group("rasters (pip install 'segattn[raster]')")
    group.add_argument(
        "--raster",
        action="store_true",
        help="the sources are rasters: read by overlapping windows at their own resolution, blended without seams, and "
        "written as GeoTIFF with transform, coordinate reference system and 255 where there is no data",
    )
    group.add_argument(
        "--bands",
        type=_bands,
        metavar="R,G,B",
        help="the bands, from 1, that are red, green and blue, or one for all (default: those that the file calls so); "
        "for a network of other bands as many as it takes, in its order (default: all)",
    )
    group.add_argument(
        "--range",
        type=_range,
        metavar="LOW,HIGH",
        help="the values that become black and white; needed for bands of other than 8 bits, unless the network takes "
        "them as they are stored. Write --range=-5,40 where one is negative",
    )
    group.add_argument(
        "--window", type=int, default=_WINDOW, metavar="N", help=f"side of the windows in pixels (default: {_WINDOW})"
    )
    group.add_argument(
        "--overlap",
        type=int,
        default=_OVERLAP,
        metavar="N",
        help=f"pixels that neighbouring windows share at least (default: {_OVERLAP})",
    )


def takes_rasters(arguments: argparse.Namespace) -> bool:
    """Whether the sources are said to be rasters.

    Raises:
        ValueError: an option is given that plays no part with what they are.
    """
    if not arguments.raster:
        for name, default in _DEFAULTS.items():
            if getattr(arguments, name) != default:
                raise ValueError(f"--{name.replace('_', '-')}: is for rasters; give --raster too, or leave it out")
        return False
    for name, default in _IMAGES_ONLY.items():
        if getattr(arguments, name) != default:
            raise ValueError(f"--{name.replace('_', '-')}: is for images and not for rasters; leave it out")
    if arguments.size not in ("trained", "native"):
        raise ValueError(f"--size {arguments.size}: a raster is read at its own resolution; leave it out")
    return True


def predict_rasters(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    """Label the rasters that the arguments name."""
    from segattn.cli.options import device_name, find_protocol, made_for, on_engine, open_model, ready
    from segattn.cli.screen import error_text, print_error, print_json
    from segattn.datasets.bands import require_rasterio
    from segattn.files import UnwritableError, require_separate, require_unread, require_writable
    from segattn.machine import pick_device
    from segattn.processes import gathered, working_together

    require_rasterio()
    sources = [Path(source) for source in dict.fromkeys(arguments.sources)]
    taken: dict[str, Path] = {}
    for source in sources:
        require_separate(taken, source, _result(arguments, source).name)
    require_unread((_result(arguments, source) for source in sources), sources)
    require_writable(arguments.output)
    device = pick_device(device_name(arguments))
    with working_together(device) as (rank, world):
        recipe, model = open_model(arguments.model, arguments.weights, overrides, exported=True)
        model = ready(model, arguments).to(device)
        model = on_engine(model, arguments, recipe, find_protocol(recipe, "whole", overrides))
        about = made_for(recipe, model.classes)
        if rank == 0 and not arguments.json:
            print(about, flush=True)
        rows: list[dict[str, Any]] = []
        failed: list[Exception] = []
        for source in sources[rank::world]:
            try:
                row, problems = _predict_one(arguments, model, source, show=rank == 0)
                rows.append(row)
                failed += problems
            except UnwritableError:
                raise
            except (ValueError, OSError) as error:
                failed.append(error)
        rows = [row for part in gathered(rows) for row in part]
        failed = [error for part in gathered(failed) for error in part]
    if rank != 0:
        return
    if arguments.json:
        failures = [" ".join(error_text(each).split()) for each in failed]
        print_json({"model": about, "rasters": rows, "failed": failures})
    for each in failed[:-1]:
        print_error(each)
    if failed:
        raise failed[-1]


def _predict_one(
    arguments: argparse.Namespace, model: Segmenter, source: Path, *, show: bool
) -> tuple[dict[str, Any], list[Exception]]:
    """Label one raster and say so: what `--json` prints of it, and which windows could not be read."""
    from segattn.predicting.raster.label import predict_raster
    from segattn.progress import progress_bar

    result = _result(arguments, source)
    with progress_bar(f"labelling {source}", 1) as done:
        report = predict_raster(
            model,
            source,
            result,
            bands=arguments.bands,
            value_range=arguments.range,
            window=arguments.window,
            overlap=arguments.overlap,
            memory=arguments.max_memory or _MEMORY,
            progress=done if show else None,
        )
    if not arguments.json:
        print(_said(source, result, report), flush=True)
    row = {
        "raster": str(source),
        "size": list(report.size),
        "crs": report.place,
        "windows": report.windows,
        "panels": report.panels,
        "seconds": round(report.wall, 3),
        "stages": {name: round(seconds, 3) for name, seconds in report.stages.items()},
        "shares": {name: round(share, 6) for name, share in report.shares.items()},
        "unlabelled": round(report.unlabelled, 6),
        "files": {"labels": str(result)},
    }
    problems = list(report.problems[:_MOST_PROBLEMS])
    if len(report.problems) > _MOST_PROBLEMS:
        problems.append(f"{source}: {len(report.problems)} windows in all can't be read; the rest is labelled")
    return row, [ValueError(problem) for problem in problems]


def _said(source: Path, result: Path, report: RasterReport) -> str:
    shares = ", ".join(f"{name} {percent(share)}" for name, share in report.shares.items())
    megapixels = report.size[0] * report.size[1] / 1e6
    work = sum(report.stages.values()) or 1.0
    stages = ", ".join(f"{name} {percent(seconds / work)}" for name, seconds in report.stages.items())
    lines = [
        f"{source}: {shares or 'no data'}",
        f"  {result}",
        f"  {size_text(report.size)} ({megapixels:.1f} megapixels), {report.windows} windows in {report.wall:.1f} s; "
        f"share of the work: {stages}",
    ]
    if report.panels > 1:
        lines.append(f"  in {report.panels} panels from left to right, as --max-memory holds no wider strip of scores")
    if report.resumed:
        lines.append(f"  {percent(report.resumed / 1e6 / megapixels)} had been labelled by an earlier call")
    if report.unlabelled:
        lines.append(f"  {percent(report.unlabelled)} have no data, and are 255 in the labels")
    if report.place is None:
        lines.append("  the raster has no coordinate reference system, and so its labels have none")
    return "\n".join(lines)


def _result(arguments: argparse.Namespace, source: Path) -> Path:
    return Path(arguments.output) / f"{source.stem}_labels.tif"


def _bands(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{cut(text)}: expected numbers of bands, such as 4,3,2") from None


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{cut(text)}: expected two numbers, such as 0,3000") from None
    return low, high
