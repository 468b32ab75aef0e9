"""segattn benchmark: speed, memory and cost of a network on this machine."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import add_engine_option, add_json_option

if TYPE_CHECKING:
    from segattn.measure.benchmark import Measurement, Settings


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register this module's command."""
    parser = commands.add_parser(
        "benchmark",
        help="time, memory and achieved speed of networks here",
        description="Measure networks, with random weights, on one image: time, peak memory, the share of each part, "
        "and\nthe achieved GFLOP/s beside those of a large matrix product on the same threads. Each measurement has a\n"
        "process of its own. With one thread on the CPU, times are processor time, which other work on the machine\n"
        "does not lengthen.",
    )
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="recipes' names or files")
    parser.add_argument(
        "--size", nargs="+", type=_size, default=[(512, 1024)], metavar="HxW", help="image sizes (default: 512x1024)"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: torch's own choice")
    parser.add_argument("--repeats", type=_positive, default=5, metavar="N", help="timed passes (default: 5)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, auto (default: cpu)")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bf16"),
        default="float32",
        help="auto: bf16 where the device computes it natively (default: float32)",
    )
    parser.add_argument("--fold", action="store_true", help="as predict and evaluate do on request")
    parser.add_argument("--channels-last", action="store_true", help="lay out all maps with channels innermost")
    add_engine_option(parser)
    add_json_option(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write all figures there, as JSON")
    parser.set_defaults(run=_benchmark, takes_overrides=True)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"{text!r}: expected HEIGHTxWIDTH, e.g. 512x1024")
    return int(match[1]), int(match[2])


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def _benchmark(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from rich.console import Console

    from segattn.cli.options import find_recipe
    from segattn.cli.screen import print_json, print_table
    from segattn.machine import pick_device
    from segattn.measure.benchmark import Settings, check_device, measure

    settings = Settings(
        device=str(pick_device("auto")) if arguments.device == "auto" else arguments.device,
        threads=arguments.threads,
        repeats=arguments.repeats,
        precision=arguments.precision,
        fold=arguments.fold,
        channels_last=arguments.channels_last,
        engine=arguments.engine,
    )
    if settings.engine != "torch" and (settings.fold or settings.channels_last or settings.precision != "float32"):
        raise ValueError(f"--engine {settings.engine}: chooses a float32 form itself; leave the other forms out")
    check_device(settings.device)
    recipes = [find_recipe(name, overrides) for name in arguments.recipes]
    measured: list[Measurement] = []
    failures: list[str] = []
    for recipe in recipes:
        for size in arguments.size:
            with Console(stderr=True).status(f"{recipe.name} at {size[0]}x{size[1]}"):
                try:
                    measured.append(measure(recipe, size, settings))
                except ValueError as error:
                    failures.append(str(error))
            _write(arguments.output, settings, measured)  # again and again, so that a long run can be stopped
    if arguments.json:
        print_json(_content(settings, measured))
    elif measured:
        print_table(_figures(measured))
        print_table(_shares(measured))
        if settings.engine != "torch":
            for m in measured:
                print(f"{m.recipe} at {m.size[0]}x{m.size[1]}: {m.engine}")
        print(
            f"{settings.device}, {measured[0].threads} threads, {settings.precision}, {measured[0].clock} time: median "
            f"(fastest - slowest) of {settings.repeats}; of product: GFLOP/s as a share of a large matrix product's"
        )
    if failures:
        raise ValueError("; ".join(failures))


def _figures(measured: list[Measurement]) -> Any:
    from rich.table import Table

    table = Table("recipe", "size", title=None)
    for name in ("ms", "images/s", "peak MiB", "GMACs", "GFLOP/s", "of product"):
        table.add_column(name, justify="right")
    for m in measured:
        table.add_row(
            m.recipe,
            f"{m.size[0]}x{m.size[1]}",
            f"{1e3 * m.seconds:.1f} ({1e3 * min(m.times):.1f} - {1e3 * max(m.times):.1f})",
            f"{1 / m.seconds:.3g}",
            f"{m.memory / 2**20:.0f}",
            f"{m.macs / 1e9:.1f}",
            f"{m.gflops:.1f}",
            f"{100 * m.of_product:.0f} %",
        )
    return table


def _shares(measured: list[Measurement]) -> Any:
    from rich.table import Table

    table = Table("part", title=None)
    parts: dict[str, None] = {}
    for m in measured:
        table.add_column(f"{m.recipe}\n{m.size[0]}x{m.size[1]}", justify="right")
        parts.update(dict.fromkeys(m.parts))
    for part in parts:
        table.add_row(part, *(f"{100 * m.parts[part]:.1f} %" if part in m.parts else "" for m in measured))
    return table


def _content(settings: Settings, measured: list[Measurement]) -> dict[str, Any]:
    from dataclasses import asdict

    from segattn.machine import provenance

    return {**provenance(), "settings": asdict(settings), "measurements": [m.to_dict() for m in measured]}


def _write(path: Path | None, settings: Settings, measured: list[Measurement]) -> None:
    from segattn.files import write_file

    if path is not None:
        write_file(path, (json.dumps(_content(settings, measured), indent=1) + "\n").encode())
