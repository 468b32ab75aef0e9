"""One network under another recipe's conditions, so that a comparison of the two says something about the networks.

Kept from the base, whole: data, augmentation, optimiser, schedule, batch, precision, averaging, seed, protocols, and
the loss terms that read the main output alone. Kept from the network's own recipe: the network with its normalisation,
and which auxiliary outputs are trained beside the main one and how strongly, as deep supervision is part of a method.
Every network starts from random weights.
"""

from __future__ import annotations

from dataclasses import replace

from segattn.losses.terms import Distillation, LossTerm, Lovasz
from segattn.recipes.schema import Checkpoint, Recipe


def controlled(own: Recipe, base: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe that trains the network of `own` as `base` says, and in words what could not be kept.

    An auxiliary output that both recipes train has the terms of `base`. One that only `own` trains gets the form of the
    base's first term on the main output, weighted relative to that term as `own` weights it relative to its main one.
    Base terms on outputs that `own` does not train are left out, as the network has no such outputs.

    The base's parameter rules are all kept here, though some may match nothing in this network.

    Raises:
        ValueError: the base has no loss term that reads the main output alone.
    """
    if own.name == base.name and own.network == base.network:
        return base, ()
    losses, notes = _losses(own, base)
    recipe = replace(
        base,
        name=own.name,
        paper=own.paper,
        claims=(),
        results=(),
        published_cost=None,
        network=own.network,
        pretrained=None,
        checkpoint=Checkpoint(),
        backbone_checkpoint=Checkpoint(),
        losses=losses,
        deviations=(f"all but the network is as in {base.name}", *notes),
    )
    return recipe, notes


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with another number of optimiser steps, its warm-up in proportion.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps: expected 1 or more")
    schedule = recipe.schedule
    warmup = schedule.warmup
    if warmup is not None:
        warmup = replace(warmup, iterations=max(1, warmup.iterations * steps // schedule.iterations))
    return replace(recipe, schedule=replace(schedule, iterations=steps, warmup=warmup))


def outputs_of(term: LossTerm) -> tuple[str, ...]:
    """The outputs that a term reads."""
    return term.outputs if isinstance(term, Lovasz) else (term.output,)


def _losses(own: Recipe, base: Recipe) -> tuple[tuple[LossTerm, ...], tuple[str, ...]]:
    trained = {name for term in own.losses for name in outputs_of(term)} | {"main"}
    from_truth = [term for term in base.losses if not isinstance(term, Distillation)]
    main = next((term for term in from_truth if outputs_of(term) == ("main",)), None)
    if main is None:
        raise ValueError(f"{base.name} has no loss term on the main output alone that other networks could be given")
    kept: list[LossTerm] = []
    notes = []
    for term in base.losses:
        readable = tuple(name for name in outputs_of(term) if name in trained)
        lacking = ", ".join(name for name in outputs_of(term) if name not in trained)
        kind = type(term).__name__
        if not lacking:
            kept.append(term)
        elif isinstance(term, Lovasz) and readable:
            kept.append(replace(term, outputs=readable))
            notes.append(f"{kind} reads {', '.join(readable)} alone: this network has no output {lacking}")
        else:
            notes.append(f"no {kind} of {lacking}: this network has no such output")
    covered = {name for term in base.losses for name in outputs_of(term)}
    for name in dict.fromkeys(name for term in own.losses for name in outputs_of(term)):
        if name in covered:
            continue
        weight = main.weight * _relative_weight(own, name)
        kept.append(_on(main, name, weight))
        notes.append(f"{type(main).__name__} of its own auxiliary output {name} too, with weight {weight:g}")
    return tuple(kept), tuple(notes)


def _relative_weight(own: Recipe, output: str) -> float:
    def total(name: str) -> float:
        return sum(term.weight for term in own.losses if outputs_of(term) == (name,))

    return total(output) / total("main") if total(output) and total("main") else 1.0


def _on(term: LossTerm, output: str, weight: float) -> LossTerm:
    if isinstance(term, Lovasz):
        return replace(term, outputs=(output,), weight=weight)
    return replace(term, output=output, weight=weight)
