"""Samples to batches: the same ones in the same order for any number of workers and processes, from any step on.

A training run's stream of samples is endless: position p is the sample p % n of epoch p // n, and epochs are shuffled
by (seed, epoch). What is drawn for a sample, and the other sample that it is mixed with where the recipe mixes, depends
on (seed, epoch, sample) alone. Where a share of the batches is of images without labels, these are a second stream of
the same kind: which stream a position takes its sample from depends on the position alone.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import count
from multiprocessing import active_children
from types import TracebackType
from typing import Any, NamedTuple, TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from segattn.contracts import IGNORE, PIXELS, Sample, SegmentationDataset
from segattn.datasets.base import PairedDataset
from segattn.machine import usable_cores
from segattn.training.pipelines import Pipeline, Seeded
from segattn.transforms.compose import Compose, Fitting, Transform
from segattn.transforms.mixing import Mixing
from segattn.transforms.pixels import Item

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


class Draw(NamedTuple):
    """The sample to load, and the epoch for which its randomness is drawn."""

    epoch: int
    sample: int


class Batch(TypedDict):
    """Images (B, 3, H, W) uint8 RGB, or bands (B, C, H, W) as they are stored; masks (B, H, W) uint8 training ids; and
    the samples' names."""

    image: Tensor
    mask: Tensor
    names: list[str]


_SIZES_SEEN = 8


def usual_size(dataset: PairedDataset, transforms: Sequence[Transform]) -> tuple[int, int] | None:
    """The usual (height, width) of whole images in training, before random factors and crops.

    The medians of the short and of the long sides of some images of the set, the larger of both as the width, after
    those transforms that bring images to a size whatever theirs is. None where no image can be read.
    """
    seen = []
    for index in np.linspace(0, len(dataset) - 1, min(_SIZES_SEEN, len(dataset)), dtype=int).tolist():
        with suppress(ValueError, OSError):  # which training meets and tells
            seen.append(sorted(dataset.image_size(index)))
    if not seen:
        return None
    height, width = np.median(seen, axis=0).astype(int).tolist()
    for transform in transforms:
        if isinstance(transform, Fitting):
            height, width = transform.middle(height, width)
    return (height, width) if height in PIXELS and width in PIXELS else None


class TrainingSet(Dataset[dict[str, Any]]):
    """Augmented samples of a data set, looked up by `Draw`.

    Args:
        transforms: the package's own, or one callable of the form ``pipeline(image=..., mask=...)`` that gives a
            mapping with both, such as an albumentations pipeline. What it draws from `random`, `numpy.random` or
            `torch` is seeded per sample; one with a generator of its own must have `set_random_seed`, as
            albumentations has, or else its draws depend on the workers.
        seed: of the run.
        unlabelled: images without labels, whose masks are all `IGNORE` here; their samples are counted after the
            data set's. None are mixed into another sample.
        mixing: what puts parts of another sample over a sample, after the transforms. That one is drawn from the whole
            data set and has transforms of its own draws, so that no batch, process or worker plays a part in it; it
            costs reading one more image.

    Raises:
        ValueError: no samples at all; on access: a sample without truth, naming its file, or two to be mixed that are
            of different sizes.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        transforms: Sequence[Transform] | Pipeline,
        seed: int,
        *,
        mixing: Sequence[Mixing] = (),
        unlabelled: SegmentationDataset | None = None,
    ) -> None:
        if not len(dataset):
            raise ValueError("the training set is empty; check the data root and the split")
        if unlabelled is not None and not len(unlabelled):
            raise ValueError("the set of unlabelled images is empty; check its folder")
        self.dataset, self.unlabelled = dataset, unlabelled
        self.seed = seed
        self.mixing = tuple(mixing)
        self._apply = Compose(tuple(transforms)) if isinstance(transforms, Sequence) else Seeded(transforms)

    def __len__(self) -> int:
        """Of the samples with labels."""
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, draw.epoch, draw.sample))
        name, item = self._augmented(draw.sample, rng)
        for number, mixing in enumerate(self.mixing, start=1):  # numpy takes a 0 at the end of a seed for nothing
            # a generator of its own: what is drawn for the sample itself is the same with and without mixing
            rng = np.random.default_rng((self.seed, draw.epoch, draw.sample, number))
            if rng.random() < mixing.probability:
                other_name, other = self._augmented(int(rng.integers(len(self.dataset))), rng)
                if item["mask"].shape != other["mask"].shape:
                    raise _different_sizes(
                        [(name, item), (other_name, other)], f"to be mixed ({type(mixing).__name__})"
                    )
                name, item = f"{name} + {other_name}", mixing(item, other, rng)
        return {"image": item["image"], "mask": item["mask"], "name": name}

    def _augmented(self, index: int, rng: np.random.Generator) -> tuple[str, Item]:
        if self.unlabelled is not None and index >= len(self.dataset):
            sample = self.unlabelled[index - len(self.dataset)]
            nothing = np.full(sample.image.shape[:2], IGNORE, np.uint8)
            return sample.name, self._apply(image=sample.image, mask=nothing, rng=rng)
        sample = self.dataset[index]
        if sample.mask is None:
            raise ValueError(f"{sample.image_path}: has no mask to learn from; choose another split")
        return sample.name, self._apply(image=sample.image, mask=sample.mask, rng=rng)


class StreamSampler(Sampler[list[Draw]]):
    """The endless stream of one process's micro-batches, from any position of the joint stream on.

    The positions of one round, `batch_size` times the number of processes, are dealt out like cards, so the union over
    the processes and over accumulated rounds is the batch that a single process would have taken. Batches are always
    full: one that reaches the end of an epoch is filled from the next, and no sample is left out. (AttaNet's code drops
    the incomplete batch at the end of each epoch instead.) Samples without labels are dealt last, so that each process
    gets its part of both kinds.

    Args:
        length: samples in the data set.
        batch_size: of one micro-batch of one process.
        seed: of the shuffling.
        start: the position to begin with: samples that all processes together have taken. What is skipped is not read.
        shard: (rank, world), as `evaluate` takes it.
        unlabelled: samples without labels, which have the numbers from `length` on.
        share: of the stream that is of these, 0 to 0.99; to a thousandth.
    """

    def __init__(
        self,
        length: int,
        *,
        batch_size: int,
        seed: int,
        start: int = 0,
        shard: tuple[int, int] = (0, 1),
        unlabelled: int = 0,
        share: float = 0.0,
    ) -> None:
        self._length, self._batch_size, self._seed, self._start = length, batch_size, seed, start
        self._rank, self._world = shard
        self._unlabelled, self._share = unlabelled, Fraction(share).limit_denominator(1000)

    def __iter__(self) -> Iterator[list[Draw]]:
        stream = self._stream()
        while True:
            dealt = [next(stream) for _ in range(self._batch_size * self._world)]
            dealt.sort(key=lambda draw: draw.sample >= self._length)
            yield dealt[self._rank :: self._world]

    def _stream(self) -> Iterator[Draw]:
        before = int(self._start * self._share)
        labelled = self._epochs(self._length, self._start - before)
        unlabelled = self._epochs(self._unlabelled, before, first=self._length)
        for position in count(self._start):
            after = int((position + 1) * self._share)
            yield next(labelled if after == before else unlabelled)
            before = after

    def _epochs(self, length: int, start: int, *, first: int = 0) -> Iterator[Draw]:
        """Samples `first`, `first` + 1, ..., `length` of them, in another order each epoch."""
        while True:
            epoch, skipped = divmod(start, length)
            # as many words as no other seed has
            seed = (self._seed, epoch, 0, 0, 1) if first else (self._seed, epoch)
            for sample in np.random.default_rng(seed).permutation(length)[skipped:]:
                yield Draw(epoch, first + int(sample))
            start = (epoch + 1) * length


def collate(items: Sequence[Mapping[str, Any] | Sample]) -> Batch:
    """Samples of one size -> `Batch`, as a `DataLoader` of one's own needs it.

    Args:
        items: samples of a data set here, or mappings with "image" (H, W, 3) uint8, "mask" (H, W) uint8 and "name".
            Images of other bands are (H, W, C), uint8, uint16 or float32.

    Raises:
        ValueError: sizes, bands or types differ, naming the samples, or a sample has no mask.
    """
    samples = [_as_mapping(item) for item in items]
    sizes = {sample["image"].shape[:2] for sample in samples}
    if len(sizes) > 1:
        raise _different_sizes([(sample["name"], sample) for sample in samples], "in a batch")
    height, width = next(iter(sizes))
    channels, kind = _one_kind(samples)
    images = np.empty((len(samples), channels, height, width), kind)
    masks = np.empty((len(samples), height, width), np.uint8)
    for i, sample in enumerate(samples):
        for channel in range(channels):
            cv2.extractChannel(sample["image"], channel, images[i, channel])
        masks[i] = sample["mask"]
    return {
        "image": torch.from_numpy(images),
        "mask": torch.from_numpy(masks),
        "names": [sample["name"] for sample in samples],
    }


def _one_kind(samples: Sequence[Mapping[str, Any]]) -> tuple[int, np.dtype[Any]]:
    """The number of bands and the type of the images of a batch. Raises ValueError where they differ."""
    kinds = {(sample["image"].shape[2], sample["image"].dtype) for sample in samples}
    if len(kinds) > 1:
        listed = ", ".join(
            f"{sample['name']} {sample['image'].shape[2]} of {sample['image'].dtype}" for sample in samples[:8]
        )
        raise ValueError(f"samples of different bands or types in a batch ({listed}); store all in one way")
    return kinds.pop()


def _different_sizes(samples: Sequence[tuple[str, Mapping[str, Any]]], where: str) -> ValueError:
    listed = ", ".join(f"{name} {item['image'].shape[1]}x{item['image'].shape[0]}" for name, item in samples[:8])
    return ValueError(f"samples of different sizes {where} ({listed}); end the augmentation with a crop")


def _as_mapping(sample: Mapping[str, Any] | Sample) -> Mapping[str, Any]:
    if not isinstance(sample, Sample):
        return sample
    if sample.mask is None:
        raise ValueError(f"{sample.image_path}: has no mask to learn from; choose another split")
    return {"image": sample.image, "mask": sample.mask, "name": sample.name}


def training_loader(
    training_set: TrainingSet,
    *,
    batch_size: int,
    start: int = 0,
    shard: tuple[int, int] = (0, 1),
    unlabelled_share: float = 0.0,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """The endless loader of one process: `Batch`es in the order of a `StreamSampler` with these arguments.

    Args:
        unlabelled_share: of the batches that is of the set's unlabelled images.
        workers: loading processes, but no more than there are cores; their number doesn't change what is loaded.
        pin_memory: put batches where a GPU can fetch them without waiting.
    """
    workers = min(workers, usable_cores())
    sampler = StreamSampler(
        len(training_set),
        batch_size=batch_size,
        seed=training_set.seed,
        start=start,
        shard=shard,
        unlabelled=0 if training_set.unlabelled is None else len(training_set.unlabelled),
        share=unlabelled_share,
    )
    return DataLoader(
        training_set,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator().manual_seed(training_set.seed),  # the global one is left alone
    )


class Batches:
    """The batches of a loader, with its loading processes for the time of the block.

    Signals that ask a run to stop (SIGTERM, SIGINT) often come to the whole group of processes. The loading processes
    are deaf to them, so that the step that waits for their data can end, and leave when they are told to.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        before = active_children()
        with _blocked(STOP_SIGNALS):  # what a process blocks, those that it starts block too, from the first moment on
            self._batches: Any = iter(loader)
        self._workers = [process for process in active_children() if process not in before]

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch: Batch = next(self._batches)
        return batch

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._workers:
            return
        self._batches._shutdown_workers()  # through their queue, with some seconds for what they are at
        for process in self._workers:
            process.kill()


def lost_worker(error: RuntimeError) -> str | None:
    """The event in words, if an error says that a loading process came to an end; None for other errors.

    It may be raised anywhere, as torch learns of it by a signal.
    """
    text = " ".join(str(error).split())
    if re.search(r"DataLoader worker \(pid\S* \S+\) (is killed|exited)", text):
        reason = re.search(r"killed by signal: ([\w ]+)", text)
        what = f"was killed ({reason[1]})" if reason else "ended unexpectedly"
        return (
            f"a data loading process {what}. Too little memory, of the machine or in /dev/shm? Fewer"
            " --training.workers need less"
        )
    return None


@contextmanager
def _blocked(signals: frozenset[signal.Signals]) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(worker: int) -> None:
    """A loading process is deaf to `STOP_SIGNALS` and uses one core; more would only fight the other workers."""
    for number in STOP_SIGNALS:  # they are blocked already, but for those of a server process that was there before
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
