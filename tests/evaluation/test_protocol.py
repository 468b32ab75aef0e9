from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segattn.evaluation.geometry import (
    FitInside,
    FixedSize,
    LongSide,
    NativeSize,
    OverhangingWindows,
    Pad,
    ShiftedWindows,
)
from segattn.evaluation.protocol import PROTOCOLS, WHOLE, MeanProbabilities, Protocol, protocol
from segattn.recipes.serialize import from_dict, override, to_dict

PAD = Pad(value="zero", place="end")
sides = st.integers(1, 300)


def test_sizes():
    assert NativeSize().size(1024, 2048, 0.75) == (768, 1536)
    assert NativeSize().size(45, 61, 0.5) == (22, 30)
    assert FixedSize(height=512, width=1024).size(375, 1242, 1.0) == (512, 1024)
    assert LongSide(pixels=2048).size(1024, 2048, 2.2) == (2253, 4506)
    assert LongSide(pixels=520).size(375, 500, 0.75) == (293, 390)
    assert LongSide(pixels=520).size(500, 375, 1.0) == (520, 390)
    assert FitInside(long=2048, short=512).size(683, 512, 1.0) == (683, 512)
    assert FitInside(long=2048, short=512, divisor=32).steps(683, 512, 1.0) == ((683, 512), (704, 512))
    assert FitInside(long=2048, short=512).size(100, 1000, 1.0) == (205, 2048)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (60, 1), (1, 5000)])
def test_thin_images_keep_a_pixel_at_every_scale(name, shape):
    for scale in PROTOCOLS[name].scales:
        assert min(PROTOCOLS[name].resize.size(*shape, scale)) >= 1


def test_windows_of_the_papers_on_a_cityscapes_image():
    slide = PROTOCOLS["attanet_slide"].windows
    assert slide.corners(1024, 2048) == ((0, 0), (0, 854), (0, 1024))
    danet = PROTOCOLS["danet_single"].windows
    assert danet.canvas(1024, 2048) == (1280, 2304)
    assert len(danet.corners(1280, 2304)) == 8
    acfnet = PROTOCOLS["acfnet_slide"].windows
    assert acfnet.corners(1024, 2048) == tuple((y, x) for y in (0, 255) for x in (0, 513, 1026, 1279))


def test_strides_follow_the_papers_rules():
    assert PROTOCOLS["attanet_slide"].windows.stride == ceil(1024 * 5 / 6)
    assert PROTOCOLS["acfnet_slide"].windows.stride == ceil(769 * 2 / 3)
    assert PROTOCOLS["danet_single"].windows.stride == int(768 * 2 / 3)
    assert PROTOCOLS["danet_multi"].windows.stride == int(480 * 2 / 3)
    assert PROTOCOLS["danet_multi_2018"].windows.stride == int(1024 / 2)


@given(sides, sides, st.integers(1, 64), st.data(), st.sampled_from([None, PAD, "overhang"]))
def test_windows_cover_every_pixel_and_stay_on_the_canvas(height, width, crop, data, kind):
    stride = data.draw(st.integers(1, crop))
    if kind == "overhang":
        windows = OverhangingWindows(crop=crop, stride=stride, pad=PAD)
    else:
        windows = ShiftedWindows(crop=crop, stride=stride, pad=kind)
    canvas = windows.canvas(height, width)
    assert canvas >= (height, width)
    corners = windows.corners(*canvas)
    for axis, side in enumerate((height, width)):
        starts = sorted({corner[axis] for corner in corners})
        assert starts[0] == 0
        assert all(b - a <= stride for a, b in pairwise(starts))
        assert side <= starts[-1] + crop <= max(canvas[axis], crop)
        assert len(starts) == ceil(max(side - crop, 0) / stride) + 1


def test_names_and_words():
    assert protocol("whole") is WHOLE
    with pytest.raises(ValueError, match=r"'mmseg_hole'.*Did you mean mmseg_whole"):
        protocol("mmseg_hole")
    assert len(set(PROTOCOLS.values())) == len(PROTOCOLS)
    words = PROTOCOLS["danet_multi_2018"].describe()
    assert words.startswith("danet_multi_2018: long side 2048, windows of 1024 every 512, scales 0.5 0.75")
    assert "exp of summed logits" in words
    assert "absent classes count as zero" in words
    changed = replace(WHOLE, flip=True, combine=MeanProbabilities())
    assert changed.describe() == (
        "custom: own size, no windows, scale 1, flip, mean of probabilities, main output, absent classes left out"
    )


def test_refusals():
    with pytest.raises(ValueError, match="scales"):
        Protocol(scales=())
    with pytest.raises(ValueError, match="scales"):
        Protocol(scales=(1.0, 0.0))
    with pytest.raises(ValueError, match="outputs"):
        Protocol(outputs=())
    with pytest.raises(ValueError, match="stride from 1 to the crop"):
        ShiftedWindows(crop=512, stride=513)
    with pytest.raises(ValueError, match="stride from 1 to the crop"):
        OverhangingWindows(crop=512, stride=0, pad=PAD)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_round_trip_as_plain_data(name):
    assert from_dict(Protocol, to_dict(PROTOCOLS[name])) == PROTOCOLS[name]


def test_fields_can_be_overridden():
    assert override(PROTOCOLS["danet_multi"], {"windows.stride": "240"}).windows.stride == 240


def test_nothing_here_imports_torch():
    code = "import sys, segattn.evaluation.protocol; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
