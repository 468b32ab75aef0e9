from __future__ import annotations

import pytest
import torch

from segattn.models.build import build
from segattn.normalization import Normalization

NORMALIZATION = Normalization(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


@pytest.mark.parametrize("bgr", [False, True])
def test_normalize(bgr: bool) -> None:
    normalization = Normalization(mean=NORMALIZATION.mean, std=NORMALIZATION.std, bgr=bgr)
    model = build("attanet_light", "fcn", num_classes=2, normalization=normalization)
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (normalization.mean, normalization.std))
    expected = (pixels.double() / 255 - mean) / std
    expected = expected.flip(1) if bgr else expected
    for images in (pixels, pixels / 255, pixels.contiguous(memory_format=torch.channels_last)):
        x = model.normalize(images)
        assert x.dtype == torch.float32
        assert (x - expected).abs().max() < 1e-6


def test_normalize_leaves_the_images_alone_and_passes_gradients() -> None:
    model = build("attanet_light", "fcn", num_classes=2, normalization=NORMALIZATION)
    images = torch.rand(1, 3, 4, 5, requires_grad=True)
    before = images.detach().clone()
    model.normalize(images).sum().backward()
    assert torch.equal(images.detach(), before)
    assert images.grad is not None
    torch.testing.assert_close(images.grad[0, :, 0, 0], torch.tensor([5.0, 4.0, 1 / 0.3]))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    model = build("attanet_light", "fcn", num_classes=2)
    with pytest.raises(ValueError, match=r"expected \(batch, 3, height, width\)"):
        model.normalize(torch.zeros(shape))
    with pytest.raises(ValueError, match="expected uint8"):
        model.normalize(torch.zeros(1, 3, 8, 8, dtype=torch.int32))
