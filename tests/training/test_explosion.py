"""A loss that stays far above its median ends a run, at the same step with and without a resume."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from segattn.recipes.schema import Training
from segattn.training.divergence import PATIENCE, ExplodingLossError, LossGrowth
from segattn.training.state import Progress


def watch(losses: list[float], progress: Progress | None = None, factor: float | None = 10.0) -> Progress:
    progress = Progress() if progress is None else progress
    growth = LossGrowth(progress, factor)
    for loss in losses:
        progress.step += 1
        growth.look(progress.step, loss, [f"image{progress.step}"])
    return progress


def test_a_loss_that_stays_high_ends_the_run_and_names_its_first_images() -> None:
    with pytest.raises(ExplodingLossError) as info:
        watch([0.5] * 100 + [5.1] * PATIENCE)
    text = str(info.value)
    assert text.startswith(
        f"step {100 + PATIENCE}: the loss is 5.1 and has been more than 10 times its usual 0.5 since"
    )
    assert "step 101 had the images image101." in text


def test_single_hard_batches_and_a_loss_that_comes_back_do_not() -> None:
    progress = watch([0.5] * 100 + ([50.0] * (PATIENCE - 1) + [0.5]) * 5 + [4.9] * 200)
    assert progress.high_steps == 0


def test_high_losses_do_not_become_the_usual_ones() -> None:
    assert max(watch([0.5] * 100 + ([50.0] * (PATIENCE - 1) + [0.5]) * 20).calm_losses) == 0.5


def test_a_loss_that_falls_or_begins_low_is_let_be() -> None:
    watch([1000.0 / (step + 1) for step in range(2000)])
    watch([0.01] * 20 + [5.0] * 100)  # too few steps to say what is usual
    watch([-0.5] * 100 + [5.0] * 100)  # no factor says anything about a negative median


def test_nothing_is_watched_or_kept_without_a_limit() -> None:
    assert watch([0.5] * 100 + [1e6] * 100, factor=None).calm_losses == []


@pytest.mark.parametrize("cut", [60, 100, 101, 110, 100 + PATIENCE - 1])
def test_a_resumed_run_stops_at_the_same_step(cut: int) -> None:
    losses = [0.5 + 0.001 * (step % 7) for step in range(100)] + [7.0] * PATIENCE
    saved = asdict(watch(losses[:cut]))
    resumed = Progress(**saved)
    with pytest.raises(ExplodingLossError, match=f"step {100 + PATIENCE}: .* usual 0.503 since step 101"):
        watch(losses[cut:], resumed)


def test_states_from_before_there_was_a_limit_are_read() -> None:
    assert Progress(**{"step": 3, "validated": 0, "scores": None, "best": None}).calm_losses == []


@pytest.mark.parametrize("factor", [1.0, 0.0, float("nan")])
def test_a_limit_that_every_loss_passes_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match=r"max_loss_growth .*: expected a number above 1"):
        Training(batch_size=1, max_loss_growth=factor)
