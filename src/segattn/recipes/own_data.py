"""A recipe fitted to somebody's own data and machine: each choice a plain function of facts, with its reason.

Nothing is read or measured here. What a recipe was published with stays where the data don't decide: network,
optimiser, kinds of augmentation and of loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, log, sqrt
from typing import Literal, NamedTuple, TypeVar

from segattn.contracts import counted, cut
from segattn.losses.terms import CrossEntropy, Distillation, LossTerm, OhemCrossEntropy, OhemSearchCrossEntropy
from segattn.normalization import BandFacts
from segattn.recipes.own_bands import fit_bands
from segattn.recipes.own_images import fit_augmentation, fit_protocol, last_crop
from segattn.recipes.schema import Checkpoint, Data, ExponentialWarmup, LinearWarmup, Recipe, Schedule, Training
from segattn.recipes.serialize import override, to_dict

EPOCHS, LEAST_STEPS = 100, 300
"""Of a run for which nobody says how long it may take; at most the recipe's own steps."""
VALIDATIONS = 10
_VALIDATION_SHARE = 0.25
"""Of the time, where `minutes` are given: there are fewer validations if they would take more."""
_WARMUP_SHARE = 0.05
_ENET_C = 1.02


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is known of a data set.

    Attributes:
        root: its folder.
        name: for the run.
        classes: their names.
        train, val: numbers of images.
        size: median height and width of the training images, as they are read.
        shares: of the labelled pixels, one a class.
        masks: the number of masks that the shares were counted in.
        bands: of the images, where dataset.yaml names some; None for RGB of 8 bits.
    """

    root: str
    name: str
    classes: tuple[str, ...]
    train: int
    val: int
    size: tuple[int, int]
    shares: tuple[float, ...]
    masks: int
    bands: BandFacts | None = None


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """What is known of the machine.

    Attributes:
        device: that trains, "cpu", "cuda", ...
        cores: for each training process and its loading processes.
        processes: that train together.
        bf16: the device computes bf16 natively.
        accumulation: parts of a batch that fit into memory; None where that was not tried.
    """

    device: str
    cores: int
    processes: int = 1
    bf16: bool = False
    accumulation: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of one optimiser step, its data included, and of one validation."""

    step: float
    validation: float


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a run may take: epochs, or minutes at a measured pace; with neither, what `EPOCHS` says.

    Raises:
        ValueError: both, or one that is not above 0.
    """

    epochs: float | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("minutes", self.minutes)):
            if value is not None and not 0 < value < 1e6:
                raise ValueError(f"{name} {value:g}: expected a number above 0 and below a million")
        if self.epochs is not None and self.minutes is not None:
            raise ValueError(f"epochs {self.epochs:g} and minutes {self.minutes:g}: one of the two decides; give one")


class Choice(NamedTuple):
    """A field of the recipe that was chosen, its value, and why, in words."""

    field: str
    value: str
    why: str


class Fitted(NamedTuple):
    """A recipe to train by, and what was chosen in it."""

    recipe: Recipe
    choices: tuple[Choice, ...]


def fit_recipe(
    recipe: Recipe,
    data: DataFacts,
    machine: MachineFacts,
    budget: Budget,
    *,
    given: Mapping[str, str] | None = None,
    pace: Pace | None = None,
) -> Fitted:
    """The recipe for this data on this machine.

    Args:
        given: fields of the recipe that somebody set, by path (as for `override`): they are kept, and what depends on
            them follows.
        pace: measured; needed for a budget of minutes.

    Raises:
        ValueError: a field that can't be set, or that contradicts the budget.
    """
    given = dict(given or {})
    _refuse_contradictions(given, budget)
    recipe, band_rows = fit_bands(recipe, data.bands, given)
    # the recipe's own warm-up may be longer than the run that is asked for
    bare = replace(recipe, schedule=replace(recipe.schedule, warmup=None))
    wanted = override(recipe if _touches(given, "schedule.warmup") else bare, given) if given else bare
    taught, rows = _without_teacher(wanted, given)
    own = replace(
        taught,
        name=data.name,
        data=_data(taught.data, data),
        claims=(),
        results=(),
        published_cost=None,
        starts_from=None,
        checkpoint=Checkpoint(),
        processes=1,
    )
    choices = [
        Choice("data.num_classes", str(len(data.classes)), f"dataset.yaml: {cut(', '.join(data.classes))}"),
        *rows,
        *(Choice(*row) for row in band_rows),
    ]

    if not _touches(given, "augmentation"):
        augmentation, why = fit_augmentation(recipe.augmentation, data.size)
        own = replace(own, augmentation=augmentation)
        index, crop = last_crop(augmentation)
        choices.append(Choice(f"augmentation.{index}", f"{crop[0]}x{crop[1]}", why))
    if "losses" not in given:
        losses, rows = _losses(own, recipe, data)
        own = replace(own, losses=losses)
        choices += rows
    for field in ("validation", "protocol"):
        if not _touches(given, field):
            fitted, why = fit_protocol(getattr(own, field), data.size)
            own = replace(own, **{field: fitted})  # type: ignore[arg-type]
            choices.append(Choice(field, fitted.describe().partition(":")[0], why))

    training, rows = _training(own.training, data, machine, given)
    own = replace(own, training=training)
    choices += rows
    if training.batch_size != recipe.training.batch_size and "schedule.lr" not in given:
        lr = own.schedule.lr * training.batch_size / recipe.training.batch_size
        own = replace(own, schedule=replace(own.schedule, lr=lr))
        why = f"{recipe.schedule.lr:g} for batches of {recipe.training.batch_size}, in proportion"
        choices.append(Choice("schedule.lr", f"{lr:.3g}", why))
    schedule, training, rows = _times(own, recipe, data, budget, given, pace)
    own = replace(own, schedule=schedule, training=training)
    choices += rows

    own = override(own, {key: text for key, text in given.items() if key != "name"}) if given else own
    shown = {choice.field for choice in choices}
    choices = [_as_given(choice, own, given) for choice in choices]
    choices += [_as_given(Choice(field, "", ""), own, given) for field in given if field not in shown]
    told = tuple(f"{choice.field} {choice.value}: {choice.why}" for choice in choices)
    own = replace(own, deviations=(f"{recipe.name} fitted to the data in {data.root}", *told))
    return Fitted(own, tuple(choices))


def table(choices: tuple[Choice, ...]) -> str:
    """The choices as lines of three columns."""
    heads = Choice("choice", "value", "why")
    widths = [max(len(row[column]) for row in (heads, *choices)) for column in (0, 1)]
    return "\n".join(f"{row.field:{widths[0]}}  {row.value:{widths[1]}}  {row.why}" for row in (heads, *choices))


Warmup = TypeVar("Warmup", bound=ExponentialWarmup | LinearWarmup)


def shorter_warmup(warmup: Warmup, steps: int) -> Warmup:
    """A warm-up for a run of that many steps, no longer than it was."""
    return replace(warmup, iterations=min(warmup.iterations, max(1, int(_WARMUP_SHARE * steps))))


def _refuse_contradictions(given: Mapping[str, str], budget: Budget) -> None:
    for field in ("data.root", "data.dataset", "data.num_classes"):
        if field in given:
            raise ValueError(f"{field}: the folder of your own data decides it; remove one of the two")
    if "schedule.iterations" in given and (budget.epochs or budget.minutes):
        raise ValueError("schedule.iterations: the epochs or minutes decide it; remove one of the two")


def _touches(given: Mapping[str, str], field: str) -> bool:
    return any(key == field or key.startswith(f"{field}.") for key in given)


def _as_given(choice: Choice, recipe: Recipe, given: Mapping[str, str]) -> Choice:
    """What was given instead, where somebody did."""
    if choice.field not in given:
        return choice
    node = to_dict(recipe)
    for part in choice.field.split("."):
        node = node[int(part)] if isinstance(node, list) else node[part]
    return Choice(choice.field, cut(str(node)), "given")


def _data(wanted: Data, data: DataFacts) -> Data:
    height, width = (min(max(side, 32), 16384) for side in data.size)
    return Data(
        dataset="folder",
        num_classes=len(data.classes),
        root=data.root,
        count_at=(height, width),
        unlabelled=wanted.unlabelled,
        unlabelled_share=wanted.unlabelled_share,
    )


def _without_teacher(wanted: Recipe, given: Mapping[str, str]) -> tuple[Recipe, list[Choice]]:
    """The recipe without its teacher, which knows other classes, and what only that needs; with one that is given."""
    if wanted.training.teacher is None or _touches(given, "training.teacher"):
        return wanted, []
    losses = tuple(term for term in wanted.losses if not isinstance(term, Distillation))
    bare = replace(
        wanted,
        losses=losses,
        training=replace(wanted.training, teacher=None),
        data=replace(wanted.data, unlabelled=None, unlabelled_share=0.0),
    )
    return bare, [Choice("training.teacher", "none", f"{wanted.training.teacher} was taught other classes")]


def labelled_steps(images: int, recipe: Recipe) -> float:
    """Optimiser steps in which as many labelled images are drawn as there are."""
    return images / (recipe.training.batch_size * (1 - recipe.data.unlabelled_share))


def _losses(own: Recipe, recipe: Recipe, data: DataFacts) -> tuple[tuple[LossTerm, ...], list[Choice]]:
    """Class weights of these classes where the recipe has some, and numbers of hard pixels for the new crop."""
    new, old = (last_crop(one.augmentation)[1] for one in (own, recipe))
    area = new[0] * new[1] / (old[0] * old[1])
    weights = class_weights(data.shares)
    terms: list[LossTerm] = []
    choices = []
    for index, term in enumerate(own.losses):
        if isinstance(term, CrossEntropy) and term.class_weights is not None:
            term = replace(term, class_weights=weights)
            why = f"the recipe weighs classes: by the square root of ENet's rule, from {counted(data.masks, 'mask')}"
            choices.append(Choice(f"losses.{index}.class_weights", _listed(weights), why))
        elif isinstance(term, OhemCrossEntropy | OhemSearchCrossEntropy) and area != 1:
            term = replace(term, min_kept=max(1, round(term.min_kept * area)))
            choices.append(Choice(f"losses.{index}.min_kept", str(term.min_kept), "in proportion to the crop"))
        terms.append(term)
    return tuple(terms), choices


def class_weights(shares: tuple[float, ...]) -> tuple[float, ...]:
    """sqrt(1 / ln(1.02 + share)), of mean 1: at most 6 times as much for the rarest class as for the commonest.

    The full weights by ENet's rule (arXiv 1606.02147), up to 36 times as much, make a network see rare classes
    everywhere; those of this package's CamVid recipes were tempered in the same way.
    """
    raw = [sqrt(1 / log(_ENET_C + share)) if share > 0 else 1.0 for share in shares]
    mean = sum(raw) / len(raw)
    return tuple(round(weight / mean, 3) for weight in raw)


def _listed(weights: tuple[float, ...]) -> str:
    more = f", ... {len(weights) - 4} more" if len(weights) > 4 else ""
    return f"[{', '.join(f'{weight:g}' for weight in weights[:4])}{more}]"


def _training(
    settings: Training, data: DataFacts, machine: MachineFacts, given: Mapping[str, str]
) -> tuple[Training, list[Choice]]:
    """Batch, parts of it, precision and loading processes."""
    rows = []
    batch, why = settings.batch_size, "the recipe's"
    if "training.batch_size" not in given:
        if data.train < batch:
            batch, why = max(2, data.train), f"all that there are: {counted(data.train, 'image')}"
        batch = ceil(batch / machine.processes) * machine.processes
    rows.append(Choice("training.batch_size", str(batch), why))
    parts = settings.accumulation
    if "training.accumulation" not in given:
        parts = machine.accumulation or 1
        if machine.accumulation is not None:
            rows.append(Choice("training.accumulation", str(parts), f"what fits into the memory of {machine.device}"))
    precision: Literal["bf16", "float32"] = "bf16" if machine.bf16 else "float32"
    native = "computes bf16 natively" if machine.bf16 else "has no native bf16, as far as is known"
    rows.append(Choice("training.precision", precision, f"{machine.device} {native}"))
    most = 1 if machine.device == "cpu" else 8
    workers = min(most, machine.cores - 1)
    why = f"{machine.cores} cores for each of {counted(machine.processes, 'training process', 'training processes')}"
    rows.append(Choice("training.workers", str(workers), why))
    return replace(settings, batch_size=batch, accumulation=parts, precision=precision, workers=workers), rows


def _times(
    own: Recipe, recipe: Recipe, data: DataFacts, budget: Budget, given: Mapping[str, str], pace: Pace | None
) -> tuple[Schedule, Training, list[Choice]]:
    """Steps, warm-up, and how often to validate, save and log."""
    epoch = labelled_steps(data.train, own)
    validations = VALIDATIONS
    if "schedule.iterations" in given:
        steps, why = own.schedule.iterations, "given"
    elif budget.minutes is not None:
        assert pace is not None, "minutes need a measured pace"
        seconds = 60 * budget.minutes
        validations = max(1, min(VALIDATIONS, int(_VALIDATION_SHARE * seconds / max(pace.validation, 1e-6))))
        steps = max(1, int((seconds - validations * pace.validation) / pace.step))
        why = (
            f"{budget.minutes:g} minutes at {pace.step:.2g} s a step (measured), less {validations} validations of"
            f" {pace.validation:.2g} s; {steps / epoch:.3g} epochs of {counted(data.train, 'image')}"
        )
    elif budget.epochs is not None:
        steps = max(1, round(budget.epochs * epoch))
        why = f"{budget.epochs:g} {'epoch' if budget.epochs == 1 else 'epochs'} of {counted(data.train, 'image')}"
    else:
        steps = min(max(round(EPOCHS * epoch), LEAST_STEPS), recipe.schedule.iterations)
        why = f"{steps / epoch:.3g} epochs of {counted(data.train, 'image')}; --epochs or --minutes say otherwise"
    rows = [Choice("schedule.iterations", str(steps), why)]
    schedule = replace(own.schedule, iterations=steps)
    warmup = recipe.schedule.warmup
    if warmup is not None and not _touches(given, "schedule.warmup"):
        shorter = shorter_warmup(warmup, steps)
        schedule = replace(schedule, warmup=shorter)
        why = f"{_WARMUP_SHARE:.0%} of the steps, at most the recipe's {warmup.iterations}"
        rows.append(Choice("schedule.warmup.iterations", str(shorter.iterations), why))
    validations = max(1, min(validations, int(steps / max(epoch, 1))))
    every = ceil(steps / validations)
    why = f"{counted(ceil(steps / every), 'validation')} of {counted(data.val, 'image')}"
    rows.append(Choice("training.validate_every", str(every), why))
    saving, showing = min(every, 250), min(50, max(1, steps // 20))
    rows.append(Choice("training.checkpoint_every", str(saving), "what a run that is killed can lose"))
    training = replace(own.training, validate_every=every, checkpoint_every=saving, log_every=showing)
    return schedule, training, rows
