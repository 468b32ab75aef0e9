"""The recipe: a published row (or one of ours) as typed data.

A recipe states how a network is composed, trained and scored and what was claimed for it, so that anybody can read the
whole experiment in one place. Variants are `dataclasses.replace` of another recipe. Nothing here imports torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from typing import Literal

from segattn.contracts import (
    ABOVE_ZERO,
    ABOVE_ZERO_TO_ONE,
    BELOW_ONE,
    COUNT,
    COUNT_OR_NONE,
    FRACTION,
    NOT_NEGATIVE,
    PIXELS,
    POSITIVE,
    Range,
    check,
)
from segattn.evaluation.protocol import Protocol
from segattn.evaluation.protocol import protocol as find_protocol
from segattn.losses.terms import LossTerm
from segattn.models.networks import Network
from segattn.recipes.published import Counting, PublishedCost
from segattn.transforms.compose import Transform
from segattn.transforms.mixing import Mixing


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The publication of an idea, and what of it is here.

    Attributes:
        name: what `segattn list --method` takes.
        arxiv: the number.
        code: the address of the repository that its recipes follow, if there is one.
        code_licence: that repository's: a short name, then what there is to say about it in brackets.
        ideas: the files of `segattn.attention` that it brings or uses.
        counting: how its tables count operations, a name of `segattn.measure.complexity.CONVENTIONS`.
    """

    name: str = ""
    title: str
    venue: str
    arxiv: str
    code: str | None = None
    code_licence: str = "not known"
    ideas: tuple[str, ...] = ()
    counting: Counting = "macs"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published or measured score: `value` in percent mIoU on `split`, from `source`, with `protocol` (in words).

    `protocol_names` are the keys of `segattn.evaluation.protocol.PROTOCOLS` under which the score is to be compared:
    none where that is the recipe's own protocol, several where its source leaves open which one it was. `weights` is
    the file in this repository that has the score, where it is not the recipe's checkpoint. `macc` and `aacc` are the
    mean class accuracy and the pixel accuracy beside it, in percent. `chosen_on_split`: the split that it is reported
    for chose something of it: the weights among several, the recipe or the protocol. `other_settings` says in words by
    which settings it came about, where these are not the recipe's, so that nobody expects it of the recipe.
    """

    value: float
    split: str
    source: str
    protocol: str
    protocol_names: tuple[str, ...] = ()
    weights: str | None = None
    macc: float | None = None
    aacc: float | None = None
    chosen_on_split: bool = False
    other_settings: str = ""

    def __post_init__(self) -> None:
        percentage = Range(0, 100, "a percentage")
        check(self, value=percentage, macc=percentage, aacc=percentage)
        for name in self.protocol_names:
            find_protocol(name)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file of weights, or why there is none. What nobody stated is left out or "not known".

    Attributes:
        file: its name, None where its publisher states none.
        url: of the file, or of the page or folder that holds it, as its publisher links to it.
        shipped: it comes inside this package.
        holds_objects: it is a pickle with more than tensors, out of which `segattn weights extract` takes these.
        licence: a short name, then what there is to say about it in brackets.
        note: what its user should know, in words.
    """

    file: str | None = None
    url: str | None = None
    shipped: bool = False
    holds_objects: bool = False
    licence: str = "not known"
    note: str = ""

    def __post_init__(self) -> None:
        if self.shipped and self.url is not None:
            raise ValueError(f"url {self.url}: a checkpoint that ships with the package is downloaded from nowhere")

    @property
    def availability(self) -> Literal["shipped", "released", "none"]:
        """Inside the package, for download from its authors, or nowhere that is known."""
        if self.shipped:
            return "shipped"
        return "none" if self.url is None else "released"


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data that are trained and scored on. `root` is where the user keeps it; recipes leave it open.

    `num_classes` is stated so that a data set with another class list can't slip in: opening it checks the two.
    `count_at` is the height and width at which `segattn show` counts what one image costs. `unlabelled` is a folder of
    images without masks, and `unlabelled_share` the part of every batch that is of them, for a Distillation term to
    learn from.

    `trained_at` is the height and width that whole images have in training, before random scaling and crops: the size
    at which things look as large as the network knows them. `segattn.predict` brings images near it. None where it is
    not known; images are then read as they are. Scoring does not look at it: the protocol says at which size. What a
    training on files writes states the size of these, whatever its recipe says.
    """

    dataset: str
    num_classes: int
    root: str | None = None
    train_split: str = "train"
    val_split: str = "val"
    count_at: tuple[int, int] = (512, 1024)
    trained_at: tuple[int, int] | None = None
    unlabelled: str | None = None
    unlabelled_share: float = 0.0

    def __post_init__(self) -> None:
        check(self, num_classes=Range(1, 254, "1 to 254"), count_at=Range(32, 16384, "32 to 16384 pixels"))
        check(self, trained_at=PIXELS, unlabelled_share=Range(0, 0.99, "0 to 0.99"))


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum; `weight_decay` is added to the gradient.

    `layer_decay`: the rate of each block of the backbone is that of the next one, nearer to the head, times this; what
    is no part of the backbone has the full rate. See `segattn/training/blocks.py`. None for equal rates.
    """

    momentum: float = 0.9
    weight_decay: float = 5e-4
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        check(self, momentum=BELOW_ONE, weight_decay=NOT_NEGATIVE, layer_decay=ABOVE_ZERO_TO_ONE)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay; `layer_decay` as in `SGD`."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        check(self, betas=BELOW_ONE, eps=POSITIVE, weight_decay=NOT_NEGATIVE, layer_decay=ABOVE_ZERO_TO_ONE)


@dataclass(frozen=True, kw_only=True)
class ParameterRule:
    """Multipliers for the parameters that `pattern` (a regular expression, searched in the full name) matches.

    Rules multiply: a parameter that two rules match gets both. `max_ndim` narrows a rule to tensors of at most that
    many dimensions: 1 means norms' scales and shifts, biases, gates and layer scales.
    """

    pattern: str = ""
    max_ndim: int | None = None
    lr: float = 1.0
    weight_decay: float = 1.0

    def __post_init__(self) -> None:
        _check_pattern("pattern", self.pattern)
        check(self, max_ndim=COUNT_OR_NONE, lr=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE)


@dataclass(frozen=True, kw_only=True)
class ExponentialWarmup:
    """`start_lr * (lr / start_lr) ** (it / iterations)` while `it <= iterations`; the poly decay starts after it."""

    iterations: int
    start_lr: float

    def __post_init__(self) -> None:
        check(self, iterations=COUNT, start_lr=POSITIVE)


@dataclass(frozen=True, kw_only=True)
class LinearWarmup:
    """The poly rate, which starts at 0, times `1 - (1 - it / iterations) * (1 - ratio)` while `it < iterations`."""

    iterations: int
    ratio: float

    def __post_init__(self) -> None:
        check(self, iterations=COUNT, ratio=FRACTION)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate `lr * (1 - it / iterations) ** power` at iteration `it` from 0, after an optional warm-up.

    `start` is the iteration at which this schedule begins: that many were a finished run's, which this one goes on from
    as if at iteration 0 of `iterations - start` (a warm restart).
    """

    lr: float
    iterations: int
    power: float = 0.9
    warmup: ExponentialWarmup | LinearWarmup | None = None
    start: int = 0

    def __post_init__(self) -> None:
        check(self, lr=POSITIVE, iterations=COUNT, power=NOT_NEGATIVE, start=COUNT_OR_NONE)
        length = self.iterations - self.start
        if length < 1:
            raise ValueError(f"start {self.start}: expected less than iterations {self.iterations}")
        if self.warmup is not None and self.warmup.iterations > length:
            raise ValueError(
                f"warmup.iterations {self.warmup.iterations}: the warm-up is longer than the run of {length} "
                f"iterations, which would never reach lr {self.lr:g}; set schedule.warmup.iterations to "
                f"{length} or less, or schedule.warmup to null"
            )


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of the training loop.

    Attributes:
        batch_size: images per optimiser step, over all processes and accumulated micro-batches together.
        accumulation: micro-batches per optimiser step.
        precision: of the forward and backward pass; weights and optimiser stay float32. "auto" is bf16 where the device
            computes it natively, else float32; a run that continues keeps what it began with.
        ema_decay: of the averaged weights, which are then what is validated and saved as the model; None for none.
        parallel: what several processes share: "ddp" keeps the whole state in each, "fsdp" a part of it in each,
            which saves memory and costs exchanges.
        sync_norm: batch norms share their statistics over processes.
        clip_norm: largest L2 norm of the whole gradient; None for no clipping.
        frozen: regular expressions, searched in parameters' full names; what they match keeps its values, and a batch
            norm all of whose parameters they match keeps its statistics and normalises by them.
        checkpoint_activations: keep only what enters each block of the backbone, and compute its inside again in the
            backward pass: less memory, more time, the same result.
        teacher: the trained network that a Distillation term learns from: a file of ours (.safetensors), or the name
            of a recipe whose weights ship with the package; None for none.
        compile: the network's forward and backward pass by torch.compile, which needs a C++ compiler on CPU.
        max_loss_growth: training stops when the loss stays above this many times its running median; None for never.
        validate_every, checkpoint_every, log_every: in optimiser steps.
        workers: data loading processes per training process.
    """

    batch_size: int
    accumulation: int = 1
    precision: Literal["auto", "float32", "bf16", "fp16"] = "float32"
    ema_decay: float | None = None
    parallel: Literal["ddp", "fsdp"] = "ddp"
    sync_norm: bool = False
    clip_norm: float | None = None
    frozen: tuple[str, ...] = ()
    checkpoint_activations: bool = False
    teacher: str | None = None
    compile: bool = False
    max_loss_growth: float | None = 10.0
    channels_last: bool = False
    validate_every: int = 5000
    checkpoint_every: int = 1000
    log_every: int = 50
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check(self, batch_size=COUNT, accumulation=COUNT, ema_decay=BELOW_ONE, clip_norm=ABOVE_ZERO)
        check(self, validate_every=COUNT, checkpoint_every=COUNT, log_every=COUNT, seed=COUNT_OR_NONE)
        check(
            self,
            workers=Range(0, 1024, "0 or more, at most 1024"),
            max_loss_growth=Range(1, inf, "a number above 1, not infinite, or null", low_open=True, high_open=True),
        )
        for pattern in self.frozen:
            _check_pattern("frozen", pattern)
        if self.compile and self.parallel == "fsdp":
            raise ValueError("compile true with parallel fsdp: not supported; take parallel ddp")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One row: everything needed to build, train and score a network, and what was claimed.

    Attributes:
        name: `<head or method>_<backbone>_<dataset>`.
        paper: None for a composition of our own.
        claims: published scores; our own measured ones are in `results`.
        published_cost: what the same source states of size, cost and speed.
        augmentation: in order, from the decoded image to the training crop.
        mixing: in order, what puts parts of another training crop over each; nothing does in the papers.
        losses: terms that are summed.
        protocol: how the finished model is scored.
        validation: how it is scored during training, which chooses the best checkpoint: quick and plain by default.
        parameter_rules: learning rate and weight decay multipliers.
        pretrained: the backbone's ImageNet weights that training starts from with `--pretrained auto`, a name of
            `segattn.weights.pretrained.PRETRAINED`; None where there are none, or none that can be downloaded or
            installed.
        starts_from: the recipe whose trained weights this one's training goes on from, given with `--weights`.
        checkpoint: the weights behind the claims, or behind our results.
        backbone_checkpoint: the backbone's ImageNet weights where `pretrained` is None, to be downloaded by hand and
            given to `--pretrained`.
        processes: of the reference's training, where its losses depend on their number, as OHEM and Lovasz do, which
            look at the images of one process alone. What is started decides; `segattn show` prints how.
        deviations: in words, where this recipe knowingly differs from what was published or released.
    """

    name: str
    paper: Paper | None = None
    claims: tuple[Claim, ...] = ()
    results: tuple[Claim, ...] = ()
    published_cost: PublishedCost | None = None
    network: Network
    pretrained: str | None = None
    starts_from: str | None = None
    checkpoint: Checkpoint = Checkpoint()
    backbone_checkpoint: Checkpoint = Checkpoint()
    data: Data
    augmentation: tuple[Transform, ...]
    mixing: tuple[Mixing, ...] = ()
    losses: tuple[LossTerm, ...]
    optimizer: SGD | AdamW
    parameter_rules: tuple[ParameterRule, ...] = ()
    schedule: Schedule
    training: Training
    protocol: Protocol
    validation: Protocol = Protocol()
    processes: int = 1
    deviations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self, processes=Range(1, 65536, "1 to 65536"))
        name = self.name
        if (
            not name
            or name.startswith(".")
            or len(name.encode()) > 200
            or not name.isprintable()
            or set(name) & set("/\\")
        ):
            raise ValueError(
                f"name {name[:60]!r}: names a folder of runs, so 1 to 200 bytes of printable characters were expected, "
                "without / and \\, not beginning with a full stop"
            )


def _check_pattern(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{name} {pattern[:60]!r}: no regular expression ({error})") from None
