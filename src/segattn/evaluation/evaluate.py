"""A model over a whole data set: the one way in which this package scores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import reduce
from operator import add

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segattn.contracts import (
    IGNORE,
    Classes,
    Sample,
    SegmentationDataset,
    SegmentationModel,
    require_dataset,
    require_model,
    require_same_classes,
)
from segattn.evaluation.calibration import Calibration, count_confidence
from segattn.evaluation.inference import score_map
from segattn.evaluation.metrics import ConfusionMatrix, ImageScore, Scores, image_score
from segattn.evaluation.protocol import WHOLE, Protocol, meaning_of, require_probabilities
from segattn.evaluation.score_map import ScoreMap
from segattn.machine import pick_device
from segattn.processes import gathered
from segattn.progress import progress_bar

_AHEAD = 2
"""Images that are decoded while the network works on the one before them."""


def evaluate(
    model: SegmentationModel,
    dataset: SegmentationDataset,
    protocol: Protocol = WHOLE,
    *,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: bool | Callable[[int, int], None] = False,
    on_prediction: Callable[[Sample, NDArray[np.uint8]], None] | None = None,
    calibration: bool = False,
    on_scores: Callable[[int, Sample, ScoreMap], None] | None = None,
) -> Scores:
    """Score a model on a data set, one image at a time, against masks at their own size.

    Args:
        model: scored in evaluation mode, and left in the mode it was in. Where it says what its outputs mean
            (`classes`, as a `Segmenter`), these must be the data set's classes in their order.
        device: "auto", "cpu", "cuda", ...: where to work, and where a network is moved to; None leaves it where it is.
        autocast: precision of the network's products; None for float32.
        shard: (rank, world): score images rank, rank + world, ... only. All ranks' scores add up to those of the set,
            each image counted once; `sum_over_processes` adds them.
        progress: show a bar, or call with (images done, images in all).
        on_prediction: called with each sample and its (H, W) uint8 training ids, in the order of the data set.
        calibration: also compare confidences, at the model's `temperature`, with what is right: `Scores.calibration`.
            Takes a fifth of a light network's time, and less beside a larger one.
        on_scores: called with each sample's index, the sample and its scores, before `on_prediction`.

    Raises:
        ValueError: a plain module (see `segattn.wrap`), no data set (`segattn.as_dataset`), a model of other classes
            than the data set's, an image without a mask or of a size that the network can't take, a mask of another
            size or with unknown ids (the file is named), an empty data set, or a shard or device that doesn't exist;
            with `calibration`, a protocol whose scores are no probabilities.
    """
    require_model(model)
    require_dataset(dataset)
    rank, world = shard
    if not 0 <= rank < world:
        raise ValueError(f"shard {shard}: expected (rank, world) with 0 <= rank < world")
    if len(dataset) == 0:
        raise ValueError("the data set is empty: there is nothing to score")
    classes = getattr(model, "classes", None)
    if isinstance(classes, Classes):
        require_same_classes("the model", classes, dataset.classes)
    if calibration:
        require_probabilities(meaning_of(protocol))
    temperature: float = getattr(model, "temperature", 1.0) if meaning_of(protocol) == "logits" else 1.0
    calibrations: list[Calibration] = []
    if device is not None:
        device = pick_device(str(device))
        if isinstance(model, nn.Module):
            model.to(device)
    indices = range(rank, len(dataset), world)
    confusion = ConfusionMatrix(len(dataset.classes))
    images: list[ImageScore] = []
    with _in_evaluation_mode(model), _reporting(progress, len(indices)) as report:
        for index, sample in zip(indices, _prefetched(dataset, indices), strict=True):
            mask = _checked_mask(sample)
            try:
                scored = score_map(model, sample.image, protocol, device=device, autocast=autocast)
                labels = scored.labels().cpu().numpy()
                counts = confusion.update(labels, mask)
            except ValueError as error:
                raise ValueError(f"{sample.image_path}: {error}") from None
            images.append(image_score(counts, index, sample.name, str(sample.image_path)))
            if calibration:
                calibrations.append(calibration_of(scored, labels, mask, temperature))
            if on_scores is not None:
                on_scores(index, sample, scored)
            if on_prediction is not None:
                on_prediction(sample, labels)
            report(len(images), len(indices))
    return Scores(
        confusion.counts,
        dataset.classes.names,
        protocol.absent,
        protocol.describe(),
        tuple(images),
        reduce(add, calibrations, Calibration.empty(temperature)) if calibration else None,
    )


def calibration_of(
    scored: ScoreMap, labels: NDArray[np.uint8], mask: NDArray[np.uint8], temperature: float
) -> Calibration:
    """The confidences of one image against its (H, W) mask; `labels` are the arg-max of the scores."""
    truth = torch.from_numpy(np.ascontiguousarray(mask)).to(scored.device)
    confidence, loss = scored.confidence_and_loss(truth, temperature)
    counted = mask != IGNORE
    return count_confidence(
        confidence.cpu().numpy()[counted], (labels == mask)[counted], float(loss.double().sum()), temperature
    )


def sum_over_processes(scores: Scores) -> Scores:
    """The scores of all processes' shards together, the same on every process; `scores` itself where there is but one.

    Counts are added as int64, so the result is exactly what one process would have got, image by image.
    """
    return reduce(add, gathered(scores))


def _checked_mask(sample: Sample) -> NDArray[np.uint8]:
    if sample.mask is None:
        raise ValueError(
            f"{sample.image_path}: has no mask, so it can't be scored; "
            "choose a split with labels, or use predict for images without"
        )
    if sample.mask.shape != sample.image.shape[:2]:
        (height, width), (rows, columns) = sample.image.shape[:2], sample.mask.shape
        raise ValueError(
            f"{sample.image_path}: the image is {height}x{width} (height x width) and its mask {rows}x{columns}; "
            "masks are never resized to score: label the image at its own size"
        )
    return sample.mask


def _prefetched(dataset: SegmentationDataset, indices: Sequence[int]) -> Iterator[Sample]:
    """The samples in order, read by threads ahead of their use."""
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="segattn-read") as readers:
        waiting: deque[Future[Sample]] = deque()
        try:
            for index in indices:
                waiting.append(readers.submit(dataset.__getitem__, index))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            readers.shutdown(cancel_futures=True)


@contextmanager
def _in_evaluation_mode(model: SegmentationModel) -> Iterator[None]:
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@contextmanager
def _reporting(progress: bool | Callable[[int, int], None], total: int) -> Iterator[Callable[[int, int], None]]:
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda done, total: None
    else:
        with progress_bar("scoring", total) as show:
            yield lambda done, _: show(done)
