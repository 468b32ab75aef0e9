"""The learning rate as a pure function of the iteration."""

from __future__ import annotations

from segattn.recipes.schema import ExponentialWarmup, LinearWarmup, Schedule


def rate(schedule: Schedule, iteration: int) -> float:
    """The base learning rate in force for the optimiser step `iteration`, counted from 0.

    Poly decay, ``lr * (1 - iteration / iterations) ** power``, in all five papers' code. AttaNet's exponential warm-up
    comes before it, the linear warm-up of VAN and Agent Attention scales its first iterations.

    Raises:
        ValueError: if the iteration lies outside 0..schedule.iterations.
    """
    if not 0 <= iteration <= schedule.iterations:
        raise ValueError(f"iteration {iteration} lies outside the schedule's 0..{schedule.iterations}")
    warmup = schedule.warmup
    if isinstance(warmup, ExponentialWarmup):
        if iteration <= warmup.iterations:
            return float(warmup.start_lr * (schedule.lr / warmup.start_lr) ** (iteration / warmup.iterations))
        return _poly(schedule, iteration - warmup.iterations, schedule.iterations - warmup.iterations)
    value = _poly(schedule, iteration, schedule.iterations)
    if isinstance(warmup, LinearWarmup) and iteration < warmup.iterations:
        value *= 1 - (1 - iteration / warmup.iterations) * (1 - warmup.ratio)
    return value


def _poly(schedule: Schedule, done: int, total: int) -> float:
    return float(schedule.lr * (1 - done / total) ** schedule.power)
