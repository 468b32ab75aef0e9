"""The part of segattn predict that labels videos and cameras."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import EXPORTED, usual_size
from segattn.cli.predict_workers import chosen_passes, on_engine_abreast
from segattn.cli.screen import percent, size_text
from segattn.contracts import cut

if TYPE_CHECKING:
    import torch

    from segattn.evaluation.protocol import Protocol
    from segattn.models.segmenter import Segmenter
    from segattn.predicting.abreast import Abreast
    from segattn.predicting.predict import ReadingSize
    from segattn.predicting.video.label import VideoReport
    from segattn.recipes.schema import Recipe

_DEFAULTS = {"video": "overlay", "codec": "mp4v", "audio": "drop", "every": 1, "smooth": 0.0, "seconds": None}
HELP = (
    "A video file, or camera:0 for a camera, gives NAME_overlay.mp4 (with NAME_legend.png) or NAME_labels.mp4: the\n"
    "same frames, upright, at the same times. Of a cut or damaged file, what can be read is labelled; exit code 2.\n\n"
)


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """The options that only videos have."""
    group = parser.add_argument_group("videos and cameras")
    group.add_argument(
        "--video",
        choices=("overlay", "labels", "both"),
        default=_DEFAULTS["video"],
        help="what is written: overlay (the default), the video with the classes' colours over it; labels, class ids "
        "as grey values, kept exactly (FFV1); or both",
    )
    group.add_argument(
        "--codec",
        choices=("mp4v", "vp9"),
        default=_DEFAULTS["codec"],
        help="of the overlay: mp4v (the default, MPEG-4), which players play, or vp9, which browsers play as well, and "
        "which takes fifty times as long to encode",
    )
    group.add_argument(
        "--audio",
        choices=("drop", "keep"),
        default=_DEFAULTS["audio"],
        help="drop it (the default), or keep it in the overlay as it is, by the system's ffmpeg program",
    )
    group.add_argument(
        "--every",
        type=int,
        default=_DEFAULTS["every"],
        metavar="N",
        help="label only each N-th frame, which is then shown as long as those that it stands for (default: 1)",
    )
    group.add_argument(
        "--smooth",
        type=float,
        default=_DEFAULTS["smooth"],
        metavar="S",
        help="against flicker: average class probabilities over time, S times the average so far and 1 - S times the "
        "frame's own, 0 to 0.99. What moves lags behind by S / (1 - S) frames (default: 0, each frame by itself)",
    )
    group.add_argument(
        "--seconds", type=float, metavar="T", help="only the first T seconds; a camera needs it, as it never ends"
    )


def takes_videos(arguments: argparse.Namespace) -> bool:
    """Whether the sources are videos and cameras, rather than images.

    Raises:
        ValueError: they are both; or an option is given that plays no part with what they are.
    """
    from segattn.predicting.video.containers import VIDEO_SUFFIXES
    from segattn.predicting.video.read import camera_number

    videos = [
        source
        for source in arguments.sources
        if camera_number(source) is not None or (source.lower().endswith(VIDEO_SUFFIXES) and not os.path.isdir(source))
    ]
    if not videos:
        for name, default in _DEFAULTS.items():
            if getattr(arguments, name) != default:
                raise ValueError(f"--{name}: is for videos, and none is named; leave it out for images")
        return False
    if len(videos) < len(arguments.sources):
        other = next(source for source in arguments.sources if source not in videos)
        raise ValueError(f"{videos[0]} is a video and {other} is not; take videos and images in separate calls")
    for name in ("confidence", "fresh", "parquet", "ray", "max_memory"):
        if getattr(arguments, name):
            raise ValueError(f"--{name.replace('_', '-')}: is for images only; leave it out for videos")
    if arguments.video == "labels" and arguments.codec != _DEFAULTS["codec"]:
        raise ValueError(f"--codec {arguments.codec}: is of the overlay, and --video labels writes none")
    if (arguments.workers or 1) > 1:
        if arguments.smooth:
            raise ValueError(f"--workers {arguments.workers}: with --smooth each frame needs the one before it; take 1")
        if any(camera_number(source) is not None for source in videos):
            raise ValueError(f"--workers {arguments.workers}: a camera's frames are labelled as they come; take 1")
        if arguments.model.endswith(EXPORTED):
            raise ValueError(f"--workers {arguments.workers}: of videos, an exported file labels one frame at a time")
    return True


def predict_videos(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    """Label the videos that the arguments name."""
    from segattn.cli.options import device_name, find_protocol, made_for, open_model, ready
    from segattn.cli.screen import error_text, is_out_of_memory, print_error, print_json
    from segattn.files import UnwritableError, require_separate, require_unread, require_writable
    from segattn.machine import pick_device
    from segattn.predicting.predict import check_reading_size
    from segattn.processes import gathered, working_together

    sources = _found(arguments.sources)
    require_writable(arguments.output)
    taken: dict[str, Path] = {}
    for source in sources:
        require_separate(taken, Path(source), _result(arguments, source, "overlay").name)
    results = [_result(arguments, source, kind) for source in sources for kind in ("overlay", "labels")]
    require_unread(results, [Path(source) for source in sources])
    device = pick_device(device_name(arguments))
    with working_together(device) as (rank, world):
        recipe, model = open_model(arguments.model, arguments.weights, overrides, exported=True)
        model = ready(model, arguments).to(device)
        protocol = find_protocol(recipe, arguments.protocol or "whole", overrides)
        check_reading_size(arguments.size, protocol)
        about = made_for(recipe, model.classes)
        passes = _passes(arguments, sources, device, recipe, protocol, model)
        model = on_engine_abreast(model, arguments, recipe, protocol, passes)
        if rank == 0 and not arguments.json:
            print(about, flush=True)
        own_rows: list[dict[str, Any]] = []
        own: list[Exception] = []
        for source in sources[rank::world]:
            try:
                row, problems = _predict_one(arguments, recipe, model, protocol, source, passes, show=rank == 0)
                own_rows.append(row)
                own += problems
            except UnwritableError:
                raise
            except (ValueError, OSError, MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                    raise
                own.append(ValueError(f"{source}: {error_text(error)}") if is_out_of_memory(error) else error)
        rows = [row for part in gathered(own_rows) for row in part]
        failed = [error for part in gathered(own) for error in part]
    if rank != 0:
        return
    if arguments.json:
        failures = [" ".join(error_text(each).split()) for each in failed]
        print_json({"model": about, "protocol": protocol.describe(), "videos": rows, "failed": failures})
    for each in failed[:-1]:
        print_error(each)
    if failed:
        raise failed[-1]


def _passes(
    arguments: argparse.Namespace,
    sources: list[str],
    device: torch.device,
    recipe: Recipe,
    protocol: Protocol,
    model: Segmenter,
) -> Abreast:
    """How many frames go through the network at a time: one of cameras, by exported files, and with smoothing."""
    from segattn.predicting.abreast import Abreast
    from segattn.predicting.predict import size_to_read
    from segattn.predicting.video.read import camera_number, open_source

    alone = arguments.smooth or arguments.model.endswith(EXPORTED)
    if alone or any(camera_number(source) is not None for source in sources):
        return Abreast(1, 1)
    sizes = [usual_size(recipe, protocol)]
    for source in sources:
        with suppress(ValueError, OSError, StopIteration):  # it is opened again, and refused then
            height, width = next(open_source(source).frames()).pixels.shape[:2]
            sizes.append(size_to_read(model, (height, width), protocol, arguments.size))
    return chosen_passes(arguments, max(sizes, key=prod), sys.maxsize, device, protocol, model)


def _predict_one(
    arguments: argparse.Namespace,
    recipe: Recipe,
    model: Segmenter,
    protocol: Protocol,
    source: str,
    passes: Abreast,
    *,
    show: bool,
) -> tuple[dict[str, Any], list[Exception]]:
    """Label one video and say so: what `--json` prints of it, and what could not be read of it."""
    import numpy as np

    from segattn.pictures import legend, write_image
    from segattn.predicting.video.label import predict_video
    from segattn.predicting.video.read import camera_number, open_source
    from segattn.progress import progress_bar

    kinds = ("overlay", "labels") if arguments.video == "both" else (arguments.video,)
    results = {kind: _result(arguments, source, kind) for kind in kinds}
    bar: AbstractContextManager[Callable[[int], None] | None] = nullcontext()
    if show and camera_number(source) is None:
        total = open_source(source, every=arguments.every, seconds=arguments.seconds).count
        bar = progress_bar(f"labelling {source}", max(total, 1))
    for result in results.values():
        if result.is_file() and not arguments.json:
            print(f"note: {result} is replaced once the new one is whole", flush=True)
    with bar as progress:
        report = predict_video(
            model,
            source,
            overlay=results.get("overlay"),
            labels=results.get("labels"),
            protocol=protocol,
            size=arguments.size,
            every=arguments.every,
            smooth=arguments.smooth,
            seconds=arguments.seconds,
            codec=arguments.codec,
            keep_audio=arguments.audio == "keep",
            tint_all=arguments.tint_all,
            workers=passes.workers,
            progress=progress,
        )
    files = list(results.values())
    if "overlay" in results:
        shares = np.array([report.shares.get(name, 0.0) for name in report.classes.names])
        files.append(_result(arguments, source, "overlay").with_name(f"{_stem(source)}_legend.png"))
        write_image(files[-1], legend(report.classes, shares, height=22 * len(report.shares) + 16))
    if not arguments.json:
        print(_said(source, files, report, arguments.size, recipe, passes), flush=True)
    return _row(source, files, report), [ValueError(problem) for problem in report.problems]


def _row(source: str, files: list[Path], report: VideoReport) -> dict[str, Any]:
    """What `--json` says of a video."""
    return {
        "video": source,
        "frames": report.frames,
        "size": list(report.size),
        "read_at": list(report.read_at),
        "seconds": round(report.duration, 6),
        "frames_per_second": round(report.frames_per_second, 3),
        "stages": {name: round(seconds, 6) for name, seconds in report.stages.items()},
        "shares": {name: round(share, 6) for name, share in report.shares.items()},
        "files": {file.stem.rpartition("_")[2]: str(file) for file in files},
    }


def _said(
    source: str, files: list[Path], report: VideoReport, size: ReadingSize, recipe: Recipe, passes: Abreast
) -> str:
    shares = ", ".join(f"{name} {percent(share)}" for name, share in report.shares.items())
    work = sum(report.stages.values())
    stages = ", ".join(f"{name} {percent(seconds / work)}" for name, seconds in report.stages.items())
    beside = f", {passes.words()}" if passes.workers > 1 else ""
    lines = [
        f"{source}: {shares}",
        f"  {'  '.join(map(str, files))}",
        f"  {report.frames} frames of {size_text(report.size)}, {report.duration:.1f} s, "
        f"labelled in {report.wall:.1f} s: {report.frames_per_second:.1f} frames/s{beside}; "
        f"share of the work: {stages}",
    ]
    if report.read_at != report.size:
        why = f", the size that {recipe.name} was trained at" if size == "trained" else ""
        read = f"{size_text(report.size)} frames read at {size_text(report.read_at)}{why}"
        lines.append(f"  {read}; --size native to read them as they are")
    if any(side % 2 for side in report.size):
        lines.append("  an odd number of rows or columns: the results have one more of them, 255 in labels")
    return "\n".join(lines)


def _found(sources: list[str]) -> list[str]:
    """The videos and cameras, each once, with patterns put in full.

    Raises:
        FileNotFoundError: one names nothing.
    """
    from segattn.predicting.video.read import camera_number

    found: dict[str, str] = {}
    for source in sources:
        magic = glob.has_magic(source) and not os.path.lexists(source)
        matches = sorted(glob.glob(source, recursive=True)) if magic else [source]
        if not matches:
            raise FileNotFoundError(f"{cut(source)}: no video matches this pattern")
        if camera_number(source) is None and not os.path.lexists(matches[0]):
            raise FileNotFoundError(f"{cut(source)}: no such video; check the path")
        for match in matches:
            found.setdefault(os.path.abspath(match), match)
    return list(found.values())


def _result(arguments: argparse.Namespace, source: str, kind: str) -> Path:
    return Path(arguments.output) / f"{_stem(source)}_{kind}.mp4"


def _stem(source: str) -> str:
    """The name of the results: a file's own without folder and suffix, camera0 for camera:0."""
    return Path(source).stem.replace("camera:", "camera")
