"""What a teacher costs: a training step of AttaNet-light with and without the answers of attanet_lite0_camvid.

    python benchmarks/distillation.py --threads 1

Prints the medians of processor time over rounds in which both steps take turns, the parts that the teacher's forward
pass and the rest (its logits at full size, the Distillation term) have in the difference, and the ratio of pairs: its
median and middle half.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from segattn.api import load_teacher
from segattn.losses.terms import Distillation
from segattn.recipes.catalog import recipe
from segattn.training.step import training_step
from segattn.training.teacher import Teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, nargs=2, default=(257, 337), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--precision", choices=("auto", "float32", "bf16"), default="auto")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    row = recipe("attanet_light_camvid_distilled")
    row = replace(row, training=replace(row.training, precision=arguments.precision))
    alone = replace(row, losses=tuple(term for term in row.losses if not isinstance(term, Distillation)))
    model = row.network.build(row.data.num_classes)
    with_teacher, without = training_step(model, row), training_step(model, alone)
    trained = load_teacher(row)
    assert trained is not None
    teacher = Teacher(trained, device=torch.device("cpu"), dtype=with_teacher.dtype, plain_memory=False)
    images = torch.randint(0, 256, (arguments.batch, 3, *arguments.crop), dtype=torch.uint8)
    labels = torch.randint(0, row.data.num_classes, (arguments.batch, *arguments.crop))

    def taught() -> None:
        with_teacher(images, labels, None, teacher(images))["total"].backward()

    def plain() -> None:
        without(images, labels)["total"].backward()

    pairs = [(seconds(plain), seconds(taught), seconds(lambda: teacher(images))) for _ in range(arguments.rounds + 2)]
    bare, whole, answers = (1000 * statistics.median(times) for times in zip(*pairs[2:], strict=True))
    low, middle, high = statistics.quantiles([pair[1] / pair[0] for pair in pairs[2:]], n=4)
    print(f"{with_teacher.dtype}: without {bare:.0f} ms, with {whole:.0f} ms", end=" ")
    print(f"(the teacher's answers {answers:.0f}, its term {whole - bare - answers:.0f}),", end=" ")
    print(f"ratio {middle:.2f} ({low:.2f} to {high:.2f})")


def seconds(step: Callable[[], None]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


if __name__ == "__main__":
    main()
