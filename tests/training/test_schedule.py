"""Rates at given iterations against the released codes (schedules_cnn, optim_mm)."""

from __future__ import annotations

import pytest

from segattn.recipes.schema import ExponentialWarmup, LinearWarmup, Schedule
from segattn.training.optim import rate

ATTANET = Schedule(lr=1e-2, iterations=200_000, warmup=ExponentialWarmup(iterations=1000, start_lr=1e-5))
LINEAR = Schedule(lr=6e-5, iterations=160_000, power=1.0, warmup=LinearWarmup(iterations=1500, ratio=1e-6))
POLY = Schedule(lr=2e-4, iterations=40_000)
CNN = {
    "attanet_light": ("lr", ATTANET),
    "attanet_r18": ("lr", ATTANET),
    "danet_cityscapes": ("lr", Schedule(lr=0.003, iterations=89_040)),
    "acfnet": ("lr", Schedule(lr=1e-2, iterations=60_000)),
    "acfnet, script default": ("lr_40000", Schedule(lr=1e-2, iterations=40_000)),
}
MM = {
    "van_light_ham": LINEAR,
    "van_ham": LINEAR,
    "van_upernet": LINEAR,
    "van_fpn": POLY,
    "agent_swin_upernet": LINEAR,
    "agent_pvt_fpn": POLY,
}


@pytest.mark.parametrize("name", CNN)
def test_equals_the_released_cnn_codes(name, parity):
    key, schedule = CNN[name]
    points = parity.description("schedules_cnn")["systems"][name.split(",")[0]][key]
    assert len(points) >= 9
    for point in points:
        assert rate(schedule, point["iteration"]) == pytest.approx(point["lr"], rel=1e-9, abs=1e-20), point


@pytest.mark.parametrize("name", MM)
def test_equals_mmcv(name, parity):
    points = parity.description("optim_mm")[name]["lr_at_iteration"]
    assert len(points) >= 18
    for iteration, value in points.items():
        assert rate(MM[name], int(iteration)) == pytest.approx(value, rel=1e-9, abs=1e-20), iteration


def test_ends_at_zero_and_goes_no_further():
    for schedule in (ATTANET, LINEAR, POLY):
        assert rate(schedule, schedule.iterations) == 0
        assert rate(schedule, schedule.iterations - 1) > 0
        for outside in (-1, schedule.iterations + 1):
            with pytest.raises(ValueError, match=f"iteration {outside} lies outside"):
                rate(schedule, outside)


LINEAR_5, EXPONENTIAL_5 = LinearWarmup(iterations=5, ratio=0.1), ExponentialWarmup(iterations=5, start_lr=1e-4)


@pytest.mark.parametrize("warmup", [None, LINEAR_5, EXPONENTIAL_5])
def test_a_schedule_that_starts_later_is_a_fresh_one(warmup: LinearWarmup | ExponentialWarmup | None) -> None:
    fresh = Schedule(lr=0.01, iterations=30, warmup=warmup)
    later = Schedule(lr=0.01, iterations=130, start=100, warmup=warmup)
    assert [rate(later, 100 + step) for step in range(31)] == [rate(fresh, step) for step in range(31)]
    with pytest.raises(ValueError, match=r"lies outside the schedule's 100\.\.130"):
        rate(later, 99)
    for start in (130, 131):
        with pytest.raises(ValueError, match=f"start {start}: expected less than iterations 130"):
            Schedule(lr=0.01, iterations=130, start=start)
