"""segattn predict: label images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import (
    EXPORTED_HELP,
    MODEL_HELP,
    add_engine_option,
    add_json_option,
    add_model_options,
    add_reading_size_option,
    device_name,
    find_protocol,
    on_engine,
    open_model,
    ready,
)
from segattn.cli.predict_video import HELP as VIDEO_HELP
from segattn.cli.predict_video import add_video_options, predict_videos, takes_videos

if TYPE_CHECKING:
    from segattn.contracts import Classes
    from segattn.predicting.predict import Prediction, PredictionFiles, ReadingSize
    from segattn.recipes.schema import Recipe

_NAMED_CLASSES = 4


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "predict",
        help="label images and videos",
        description="Label images: for each, NAME_labels.png (class ids, with the classes' colours as its palette),\n"
        "NAME_overlay.png (with a legend), and the share of each class on the terminal. Two images of one name are\n"
        "refused before the first is written. Hidden files, tools' leftovers and folders' sub-folders are not read.\n"
        "Images that can't be labelled are named at the end; exit code 2 then.\n\n"
        + VIDEO_HELP
        + MODEL_HELP
        + EXPORTED_HELP,
        epilog="examples:\n"
        "  segattn predict photo.jpg\n"
        "  segattn predict photo.jpg --model attanet_light_camvid    (a quarter of the parameters)\n"
        "  segattn predict holiday/ 'more/*.png' --output labelled\n"
        "  segattn predict panorama.jpg --size native --protocol slide_512\n"
        "  segattn predict photo.jpg --model runs/mine/best.safetensors --protocol multi_flip\n"
        "  segattn predict street.mp4 --smooth 0.5\n"
        "  segattn predict camera:0 --seconds 10 --video both",
    )
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="images, folders of images, or quoted globs; or videos"
    )
    add_model_options(parser, "--model", default="attanet_lite0_camvid")
    add_engine_option(parser)
    parser.add_argument("--protocol", metavar="NAME", help="a named protocol instead of one plain pass")
    add_reading_size_option(parser, "labels have the image's own size in any case")
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="also write NAME_confidence.png: the probability that the model gives to each label, 0..255 for 0..1",
    )
    parser.add_argument(
        "--tint-all",
        action="store_true",
        help="lay colours over background and black classes too, which overlays else leave as they are",
    )
    parser.add_argument("--output", type=Path, default=Path("predictions"), metavar="DIR", help="default: predictions")
    add_video_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=_predict, takes_overrides=True)


def _predict(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    if takes_videos(arguments):
        return predict_videos(arguments, overrides)

    from segattn.cli.screen import error_text, is_out_of_memory, print_error, print_json
    from segattn.datasets.images import read_image
    from segattn.evaluation.inference import meaning_of
    from segattn.evaluation.score_map import require_probabilities
    from segattn.files import require_unread, require_writable
    from segattn.machine import pick_device
    from segattn.predicting.image_files import find_images, unread_folders
    from segattn.predicting.predict import PredictionFiles, check_reading_size, predict
    from segattn.processes import gathered, working_together
    from segattn.progress import track

    images = find_images(arguments.sources)
    require_writable(arguments.output)
    results = (
        file
        for path in images
        for file in PredictionFiles.of(path.stem, arguments.output, confidence=arguments.confidence).written()
    )
    require_unread(results, images)
    device = pick_device(device_name(arguments))
    with working_together(device) as (rank, world):
        recipe, model = open_model(arguments.model, arguments.weights, overrides, exported=True)
        model = ready(model, arguments).to(device)
        protocol = find_protocol(recipe, arguments.protocol or "whole", overrides)
        check_reading_size(arguments.size, protocol)
        if arguments.confidence:
            require_probabilities(meaning_of(protocol))
        model = on_engine(model, arguments, recipe, protocol)
        about = made_for(recipe, model.classes)
        if rank == 0 and not arguments.json:
            print(about, flush=True)
        mine = images[rank::world]
        own_rows: list[dict[str, Any]] = []
        options = {"size": arguments.size, "confidence": arguments.confidence}
        own_unread: list[Exception] = []
        own_unlabelled: list[Exception] = []
        for path in track(mine, "labelling", len(mine)) if rank == 0 else mine:
            try:
                image = read_image(path, upright=True)
            except (ValueError, OSError, MemoryError) as error:
                own_unread.append(
                    ValueError(f"{path}: {error_text(error)}") if isinstance(error, MemoryError) else error
                )
                continue
            try:
                prediction = predict(model, image, protocol, **options, name=path.stem)
            except (ValueError, MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                    raise
                own_unlabelled.append(ValueError(f"{path}: {error_text(error)}"))
                continue
            files = prediction.save(arguments.output, confidence=arguments.confidence, tint_all=arguments.tint_all)
            own_rows.append(_row(path, prediction, files))
            if not arguments.json:
                print(_said(path, prediction, files, recipe.name, arguments.size), flush=True)
        rows = [row for part in gathered(own_rows) for row in part]
        unread = [error for part in gathered(own_unread) for error in part]
        unlabelled = [error for part in gathered(own_unlabelled) for error in part]
    if rank != 0:
        return
    notes = unread_folders(arguments.sources, arguments.output)
    failed = unread + unlabelled
    if arguments.json:
        order = {str(path): number for number, path in enumerate(images)}
        rows.sort(key=lambda row: order[row["image"]])
        failures = [" ".join(error_text(error).split()) for error in failed]
        print_json(
            {"model": about, "protocol": protocol.describe(), "images": rows, "failed": failures, "notes": notes}
        )
    else:
        for note in notes:
            print(f"note: {note}")
    if len(images) == len(failed) == 1:
        raise failed[0]
    for reason in failed:
        print_error(reason)
    if failed:
        rest = "; the others are labelled" if len(failed) < len(images) else ""
        what = "labelled" if unlabelled else "read"
        raise ValueError(f"{len(failed)} of {len(images)} images can't be {what}{rest}")


def made_for(recipe: Recipe, classes: Classes) -> str:
    """One line: what the weights of a recipe were made for."""
    from segattn.datasets.catalog import SOURCES

    source = SOURCES.get(recipe.data.dataset)
    what = source.shows if source is not None else "images such as those that it was trained on"
    names = ", ".join(classes.names[:_NAMED_CLASSES]) + (", ..." if len(classes) > _NAMED_CLASSES else "")
    return f"{recipe.name}: made for {what}, {len(classes)} classes: {names}"


def _row(path: Path, prediction: Prediction, files: PredictionFiles) -> dict[str, Any]:
    """What `--json` says of an image."""
    height, width = prediction.labels.shape
    return {
        "image": str(path),
        "size": [height, width],
        "read_at": list(prediction.read_at),
        "shares": {name: round(share, 6) for name, share in prediction.shares().items()},
        "files": {name: str(file) for name, file in files._asdict().items() if file is not None},
    }


def _said(path: Path, prediction: Prediction, files: PredictionFiles, name: str, size: ReadingSize) -> str:
    shares = ", ".join(f"{name} {_percent(share)}" for name, share in prediction.shares().items())
    lines = [f"{path}: {shares}", f"  {'  '.join(map(str, files.written()))}"]
    if prediction.read_at != prediction.labels.shape:
        why = f", the size that {name} was trained at" if size == "trained" else ""
        read = f"{_times(prediction.labels.shape)} image read at {_times(prediction.read_at)}{why}"
        lines.append(f"  {read}; --size native to read it as it is")
    return "\n".join(lines)


def _times(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.001 else "<0.1%"
