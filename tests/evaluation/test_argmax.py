"""The arg-max of resized maps, against the plain form."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segattn.evaluation.argmax import _products_are_float32, resized_argmax
from segattn.layers import resize

SIZES = [((8, 16), (64, 128)), ((5, 7), (37, 50)), ((1, 1), (9, 5)), ((9, 3), (9, 3)), ((9, 3), (1, 1))]
SIZES += [((30, 40), (17, 9)), ((128, 256), (1024, 2048))]


@pytest.mark.parametrize("align_corners", ["edges", "corners"])
@pytest.mark.parametrize(("cells", "size"), SIZES)
def test_resized_argmax_is_the_argmax_of_the_resized(cells, size, align_corners):
    maps = torch.randn(1, 6, *cells)
    labels = resized_argmax(maps, size, align_corners=align_corners)
    full = F.interpolate(maps, size, mode="bilinear", align_corners=align_corners == "corners")[0]
    assert labels.dtype == torch.uint8
    chosen = full.gather(0, labels[None].long())[0]
    torch.testing.assert_close(chosen, full.amax(0), atol=1e-5, rtol=0)
    assert (labels != full.argmax(0)).float().mean() < 1e-3  # ties


@pytest.mark.parametrize(
    ("cells", "size"), [((8, 16), (64, 128)), ((46, 61), (361, 481)), ((45, 60), (353, 474)), ((1, 2), (5, 9))]
)
def test_resized_argmax_on_the_grid(cells, size):
    maps = torch.randn(1, 6, *cells)
    labels = resized_argmax(maps, size, align_corners="grid")
    assert torch.equal(labels, resize(maps, size, align_corners="grid").argmax(1)[0].to(torch.uint8))


def test_resized_argmax_takes_the_first_of_equals_and_any_memory_format():
    maps = torch.zeros(1, 4, 3, 5)
    assert not resized_argmax(maps, (24, 40), align_corners="edges").any()
    maps = torch.randn(1, 4, 6, 5)
    expected = resized_argmax(maps, (48, 40), align_corners="corners")
    again = resized_argmax(maps.contiguous(memory_format=torch.channels_last), (48, 40), align_corners="corners")
    assert torch.equal(expected, again)


def test_products_of_lower_precision_are_not_used():
    maps = torch.randn(1, 6, 16, 16)
    assert _products_are_float32()
    with torch.autocast("cpu", torch.bfloat16):
        assert not _products_are_float32()
        in_autocast = resized_argmax(maps, (128, 128), align_corners="edges")
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        assert not _products_are_float32()
        in_bf16 = resized_argmax(maps, (128, 128), align_corners="edges")
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    full = F.interpolate(maps, (128, 128), mode="bilinear", align_corners=False)[0]
    assert torch.equal(in_autocast, full.argmax(0).to(torch.uint8))
    assert torch.equal(in_bf16, in_autocast)
