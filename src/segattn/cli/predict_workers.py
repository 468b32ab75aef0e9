"""The part of segattn predict that chooses how many images go through the network at a time."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING

from segattn.cli.options import on_engine, usual_size

if TYPE_CHECKING:
    import torch

    from segattn.evaluation.geometry import Size
    from segattn.evaluation.protocol import Protocol
    from segattn.exporting.exported import ExportedModel
    from segattn.models.segmenter import Segmenter
    from segattn.predicting.abreast import Abreast
    from segattn.predicting.collection import Collection
    from segattn.recipes.schema import Recipe


def add_workers_option(parser: argparse._ActionsContainer) -> None:
    """The option of how many images go through the network at a time."""
    parser.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="images or frames that go through the network at a time on the CPU, each on its share of the threads "
        "(default: of many as many as there are threads, as far as half of the free memory or --max-memory goes; 1: "
        "one after another, on all threads)",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:20]!r}: expected a whole number from 1")
    return int(text)


def chosen_passes(
    arguments: argparse.Namespace,
    read_at: Size,
    share: int,
    device: torch.device | None,
    protocol: Protocol,
    model: Segmenter | ExportedModel,
) -> Abreast:
    """How many passes at a time, as asked for or as many as pay.

    Args:
        read_at: (height, width) at which images or frames are usually read.
        share: of the images, how many are this process's.
        device: of the model; None for an exported file, which runs on the CPU.

    Raises:
        ValueError: several are asked for on another device.
    """
    from segattn.machine import available_memory, usable_cores
    from segattn.predicting.abreast import Abreast, abreast
    from segattn.processes import processes_here

    asked = arguments.workers
    if device is not None and device.type != "cpu":
        if asked is not None and asked > 1:
            raise ValueError(
                f"--workers {asked}: is for the CPU, and this is {device}, which works on one image after another; "
                "leave it out, or give --device cpu"
            )
        return Abreast(1, 1)
    if device is None:
        threads = max(usable_cores() // processes_here(), 1)
    else:
        import torch

        threads = torch.get_num_threads()
    memory = arguments.max_memory
    if memory is None and asked is None:
        free = available_memory()
        memory = None if free is None else free // 2 // processes_here()
    return abreast(
        model,
        protocol,
        read_at,
        images=share,
        threads=threads,
        memory=memory,
        exact=arguments.max_memory is not None,
        workers=asked,
    )


def first_read_at(
    arguments: argparse.Namespace,
    images: Collection,
    recipe: Recipe,
    protocol: Protocol,
    model: Segmenter | ExportedModel,
) -> Size:
    """The (height, width) at which the first file is read, for all; the usual one where it can't be known."""
    from segattn.datasets.headers import read_checked
    from segattn.predicting.predict import size_to_read

    if images.files:
        with suppress(ValueError, OSError):  # it is read again, and refused then
            header = read_checked(images.files[0]).header
            return size_to_read(model, (header.height, header.width), protocol, arguments.size)
    return usual_size(recipe, protocol)


def prepared(
    model: Segmenter | ExportedModel,
    arguments: argparse.Namespace,
    recipe: Recipe,
    protocol: Protocol,
    passes: Abreast,
) -> Segmenter | ExportedModel:
    """The model in the form in which it is run, by so many threads at a time."""
    from segattn.exporting.exported import ExportedModel, for_protocol

    if not isinstance(model, ExportedModel):
        return on_engine_abreast(model, arguments, recipe, protocol, passes)
    return for_protocol(model.beside(passes.workers, passes.threads) if passes.workers > 1 else model, protocol)


def on_engine_abreast(
    model: Segmenter, arguments: argparse.Namespace, recipe: Recipe, protocol: Protocol, passes: Abreast
) -> Segmenter:
    """The network on the engine that was asked for, opened for so many passes at a time."""
    from segattn.machine import limited_threads

    if passes.workers == 1:
        return on_engine(model, arguments, recipe, protocol)
    with limited_threads(passes.threads):
        return on_engine(model, arguments, recipe, protocol, workers=passes.workers)
