"""Time of each stage of `segattn predict VIDEO` by itself and overlapped, and memory from the first frame to the last.

    python benchmarks/video_stages.py --threads 2 --engine auto --output benchmarks/results/video_stages.json

A drawn street is panned over 1000 frames of 480x360 (MPEG-4, 30 frames/s). Apart: reading all frames; labelling the
first --labelled of them, and so many times as long for all (the time does not depend on what a network sees); writing
the overlay of all frames with one label map. Then `segattn.predict_video` on the whole. `whole_by_longest` is its time
by that of the longest stage alone, `whole_by_longest_within` by that of the stage that was longest at work within it,
which other work on the machine slows as much; `memory_last_by_first` the mean resident size in the last tenth of the
frames by that in the first. With --rounds, the median of rounds in each of which all are measured after one another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

import segattn
from segattn.exporting.fastest import ENGINES, on_engine
from segattn.machine import limited_threads, provenance, resident_memory
from segattn.pictures import overlay
from segattn.predicting.video.read import open_source
from segattn.predicting.video.write import VideoWriter
from segattn.synthetic.write import draw_street

RATE = 30.0


def film(path: Path, frames: int, height: int, width: int) -> None:
    street = draw_street(np.random.default_rng(0), (height, 2 * width))[0]
    writer = VideoWriter(path, rate=RATE, pixel_aspect=Fraction(1), codec="mp4v")
    for number in range(frames):
        left = abs(width - number * 2 % (2 * width))
        writer.write(np.ascontiguousarray(street[:, left : left + width]), number / RATE)
    writer.finish(frames / RATE)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def show(facts: dict[str, object], rounds: list[dict[str, float]], output: Path | None) -> None:
    """Print the facts of a run, the median of its rounds and the rounds, and write them where that is asked for."""
    result = {
        **provenance(),
        **facts,
        "median": {key: round(statistics.median(each[key] for each in rounds), 4) for key in rounds[0]},
        "rounds": [{key: round(value, 4) for key, value in each.items()} for each in rounds],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if output is not None:
        output.write_text(text + "\n")


def measure(model: segattn.Segmenter, path: Path, folder: Path, labelled: int, workers: int) -> dict[str, float]:
    source = open_source(path)
    frames = []
    count = 0

    def read() -> None:
        nonlocal count
        for frame in source.frames():
            count += 1
            if len(frames) < labelled:
                frames.append(frame.pixels)

    reading = seconds(read)
    labels = segattn.predict(model, frames[0]).labels  # and warms up
    network = seconds(lambda: [segattn.predict(model, pixels) for pixels in frames]) * count / len(frames)
    writer = VideoWriter(folder / "apart.mp4", rate=RATE, pixel_aspect=Fraction(1), codec="mp4v")

    def write() -> None:
        for number in range(count):
            writer.write(overlay(frames[number % len(frames)], labels, model.classes), number / RATE)
        writer.finish(count / RATE)

    writing = seconds(write)
    frames.clear()
    memory: list[int] = []
    report = segattn.predict_video(
        model,
        path,
        overlay=folder / "whole.mp4",
        workers=workers,
        progress=lambda _: memory.append(resident_memory()),
    )
    tenth = max(count // 10, 1)
    longest = max(reading, network, writing)
    return {
        "read_s": reading,
        "network_s": network,
        "write_s": writing,
        "sum_s": reading + network + writing,
        "whole_s": report.wall,
        "whole_by_longest": report.wall / longest,
        "whole_by_longest_within": report.wall / max(report.stages.values()),
        "frames_per_second": report.frames_per_second,
        "memory_first_tenth_mib": statistics.mean(memory[:tenth]) / 2**20,
        "memory_last_tenth_mib": statistics.mean(memory[-tenth:]) / 2**20,
        "memory_last_by_first": statistics.mean(memory[-tenth:]) / statistics.mean(memory[:tenth]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="attanet_lite0_camvid")
    parser.add_argument("--engine", default="torch", choices=ENGINES)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--labelled", type=int, default=100)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="frames at a time; the network alone has one at a time")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    model = segattn.create_model(arguments.model, weights="default")
    size = (arguments.height, arguments.width)
    with limited_threads(arguments.threads // arguments.workers or 1):
        running = on_engine(model, arguments.engine, size, workers=arguments.workers)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "street.mp4"
        film(path, arguments.frames, arguments.height, arguments.width)
        rounds = [
            measure(running.model, path, Path(name), arguments.labelled, arguments.workers)
            for _ in range(arguments.rounds)
        ]
    show(
        {"threads": arguments.threads, "workers": arguments.workers, "engine": running.words}, rounds, arguments.output
    )


if __name__ == "__main__":
    main()
