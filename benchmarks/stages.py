"""Time of each stage of labelling many images by itself and overlapped, and memory from the first image to the last.

    python benchmarks/stages.py --threads 2 --engine auto --output benchmarks/results/stages.json

Drawn streets, or the images of --images over and over, as --count files of 480x360. Apart: reading all files; labelling
the first --labelled, and so many times as long for all; writing labels and overlay of all. Then all at once, as
`segattn predict FOLDER --workers 1` does, and with several threads a second time, abreast, as it does by itself: as
many passes at a time as there are threads, one thread each, in the form that is fastest on one thread.
`whole_by_longest` is the time of the whole by that of the longest stage alone; `sum_by_whole` is what overlapping
gains; `memory_last_by_first` the mean resident size in the last tenth of the images by that in the first. Of passes
abreast, `one_thread_s` are all stages alone on one thread, which divided by the threads is the least that the whole can
take (`whole_by_share`). With --rounds, the median of rounds in each of which all are measured after one another.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from video_stages import seconds, show

import segattn
from segattn.evaluation.protocol import WHOLE
from segattn.exporting.fastest import ENGINES, on_engine
from segattn.machine import limited_threads, resident_memory
from segattn.predicting.abreast import Abreast
from segattn.predicting.collection import collect
from segattn.predicting.many import Labelled, label_many
from segattn.predicting.prediction import EncodedFiles
from segattn.predicting.sources import read_source
from segattn.synthetic.write import draw_street

SIZE = 360, 480
DRAWN = 20


def paint(folder: Path, count: int, images: Path | None) -> list[Path]:
    """So many files: copies of the images, or of drawn streets."""
    folder.mkdir()
    if images is None:
        sources = [folder / f"drawn{number}.png" for number in range(min(DRAWN, count))]
        for number, source in enumerate(sources):
            Image.fromarray(draw_street(np.random.default_rng(number), SIZE)[0]).save(source)
    else:
        sources = sorted(path for path in images.iterdir() if path.suffix.lower() in (".png", ".jpg"))
    files = [folder / f"{number:06}{sources[0].suffix}" for number in range(count)]
    for number, file in enumerate(files):
        shutil.copyfile(sources[number % len(sources)], file)
    return files


class Forms(NamedTuple):
    """A network as it is run one image after another on all threads and, if these are several, abreast."""

    alone: segattn.Segmenter
    abreast: segattn.Segmenter | None
    threads: int


def measure(forms: Forms, files: list[Path], output: Path, labelled: int) -> dict[str, float]:
    model = forms.alone
    reading = seconds(lambda: [read_source(file, file.stem) and None for file in files])
    first = [read_source(file, file.stem).pixels for file in files[:labelled]]
    results = [segattn.predict(model, pixels) for pixels in first[:DRAWN]]  # and warms up
    network = seconds(lambda: [segattn.predict(model, pixels) and None for pixels in first]) * len(files) / len(first)
    writing = seconds(lambda: [results[number % len(results)].save(output) for number in range(len(files))])
    results.clear()
    found = {"read_s": reading, "network_s": network, "write_s": writing, "sum_s": reading + network + writing}
    longest = max(reading, network, writing)
    whole = at_once(model, files, output, None)
    found |= whole | {"whole_by_longest": whole["whole_s"] / longest, "sum_by_whole": found["sum_s"] / whole["whole_s"]}
    if forms.abreast is None:
        return found
    with limited_threads(1):
        passes = seconds(lambda: [segattn.predict(forms.abreast, pixels) and None for pixels in first])
    one_thread = reading + passes * len(files) / len(first) + writing
    abreast = at_once(forms.abreast, files, output, Abreast(forms.threads, 1))
    return found | {
        "abreast_network_one_thread_s": passes * len(files) / len(first),
        "abreast_one_thread_s": one_thread,
        **{f"abreast_{key}": value for key, value in abreast.items()},
        "abreast_whole_by_longest": abreast["whole_s"] / longest,
        "abreast_whole_by_share": abreast["whole_s"] / (one_thread / forms.threads),
        "whole_by_abreast": whole["whole_s"] / abreast["whole_s"],
    }


def at_once(model: segattn.Segmenter, files: list[Path], output: Path, passes: Abreast | None) -> dict[str, float]:
    memory: list[int] = []

    def encode(result: Labelled) -> EncodedFiles:
        assert result.prediction is not None
        return result.prediction.encoded(output)

    def take(encoded: EncodedFiles) -> None:
        encoded.write()
        memory.append(resident_memory())

    times = label_many(
        model,
        collect(list(map(str, files))).items(),
        WHOLE,
        size="trained",
        confidence=False,
        encode=encode,
        take=take,
        survives=lambda _: False,
        passes=passes,
    )
    tenth = max(len(files) // 10, 1)
    return {
        "whole_s": times.wall,
        "images_per_second": len(files) / times.wall,
        "memory_first_tenth_mib": statistics.mean(memory[:tenth]) / 2**20,
        "memory_last_tenth_mib": statistics.mean(memory[-tenth:]) / 2**20,
        "memory_last_by_first": statistics.mean(memory[-tenth:]) / statistics.mean(memory[:tenth]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="attanet_lite0_camvid")
    parser.add_argument("--engine", default="torch", choices=ENGINES)
    parser.add_argument("--images", type=Path, help="a folder of images, instead of drawn streets")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--labelled", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    model = segattn.create_model(arguments.model, weights="default")
    running = on_engine(model, arguments.engine, SIZE, say=print)
    facts = {"model": arguments.model, "threads": arguments.threads, "engine": running.words}
    forms = Forms(running.model, None, arguments.threads)
    if arguments.threads > 1:
        with limited_threads(1):
            beside = on_engine(model, arguments.engine, SIZE, workers=arguments.threads, say=print)
        facts["abreast_engine"] = beside.words
        forms = forms._replace(abreast=beside.model)
    with tempfile.TemporaryDirectory() as name:
        files = paint(Path(name) / "images", arguments.count, arguments.images)
        output = Path(name) / "labelled"
        rounds = [measure(forms, files, output, arguments.labelled) for _ in range(arguments.rounds)]
    show(facts, rounds, arguments.output)


if __name__ == "__main__":
    main()
