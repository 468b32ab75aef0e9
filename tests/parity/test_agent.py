"""Agent-Swin and Agent-PVT segmenters against numbers of the released code: outputs, taps, gradients, names, sizes."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.attention.agent import AgentAttention
from segattn.layers import DropPath, resize
from segattn.models.agent import AgentPVTSemanticFPN, AgentSwinUperNet
from segattn.models.key_map import MMSEG
from segattn.models.segmenter import Segmenter

MODELS: dict[str, Callable[[], Segmenter]] = {
    **{f"agent_swin_{s}": lambda s=s: AgentSwinUperNet(size=s).build(150) for s in "tsb"},  # type: ignore[misc]
    **{f"agent_pvt_{s}": lambda s=s: AgentPVTSemanticFPN(size=s).build(150) for s in "tsml"},  # type: ignore[misc]
}
FIXTURES = ("agent_swin_t", "agent_swin_b", "agent_pvt_t", "agent_pvt_s", "agent_pvt_l")
SIZES = {"swin": [(128, 160), (98, 130), (256, 320)], "pvt": [(128, 160), (100, 132), (224, 256)]}
FAST = {"agent_swin_t": 2, "agent_swin_b": 0, "agent_pvt_t": 3, "agent_pvt_s": 1, "agent_pvt_l": 0}  # how many sizes
CASES = [
    pytest.param(name, size, id=f"{name}-{size[0]}x{size[1]}", marks=[pytest.mark.slow] * (i >= FAST[name]))
    for name in FIXTURES
    for i, size in enumerate(SIZES[name.split("_")[1]])
]

RENAMED_TAPS = (
    (r"^neck", "head.neck"),
    (r"^(backbone\.layers\.3\.blocks\.\d+\.attn)$", r"\1.proj"),  # the reference's windows, before they are put back
    (r"^decode_head\.psp_modules", "head.pyramid"),
    (r"^decode_head\.", "head."),
    (r"^auxiliary_head\.convs", "auxiliary_head.block"),
)


def load(model: Segmenter, keys: dict[str, list[int]], parity: Any) -> None:
    """The reference's tensors, filled by rule, under its own names, strictly; the index tables are ours already."""
    ours = model.state_dict()
    state = {MMSEG.translate(key): value for key, value in parity.state(keys).items()}
    for key in keys:
        if key.endswith("relative_position_index"):
            assert list(ours[MMSEG.translate(key)].shape) == keys[key]
            state[MMSEG.translate(key)] = ours[MMSEG.translate(key)]
    assert len(state) == len(keys)
    model.load_state_dict(state, strict=True)


def assert_near(ours: Tensor, theirs: np.ndarray, what: str) -> None:
    torch.testing.assert_close(
        ours, torch.from_numpy(theirs), rtol=1e-4, atol=1e-4, check_dtype=False, msg=lambda text: f"{what}: {text}"
    )


def statistics(output: Any, channels: int) -> Tensor:
    """(2, channels): mean and deviation over all positions, of a map with its channels second or last."""
    positions = output.flatten(2)[0].T if output.shape[1] == channels else output.flatten(0, -2)
    return torch.stack([positions.mean(0), positions.std(0, correction=0)])


@pytest.mark.parametrize(("name", "size"), CASES)
def test_outputs_and_taps(name: str, size: tuple[int, int], fill: ModuleType, parity: Any) -> None:
    description, arrays = parity.description(name), parity.arrays(name)
    assert list(size) in description["inputs"]
    model = MODELS[name]().eval()
    load(model, description["keys"], parity)
    prefix = f"{size[0]}x{size[1]}."
    expected = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

    outputs: dict[str, Any] = {}
    for key in expected:
        if key.startswith("tap."):
            path = re.sub(r"\.out\d$", "", key.removeprefix("tap."))
            for pattern, replacement in RENAMED_TAPS:
                path = re.sub(pattern, replacement, path)
            model.get_submodule(path).register_forward_hook(
                lambda module, args, output, key=key: outputs.__setitem__(key, output)
            )
    with torch.no_grad():
        result = model.segment(torch.from_numpy(fill.image(*size)))

    logits = {"main": result.logits, **result.auxiliary}
    logits["main_full"] = resize(result.logits, size)
    for key, value in expected.items():
        if key in logits:
            c, h, w = description["steps"][prefix + key]["step"]
            assert_near(logits[key][:, ::c, ::h, ::w], value, key)
        else:
            output = outputs[key][int(key[-1])] if isinstance(outputs[key], tuple) else outputs[key]
            assert_near(statistics(output, value.shape[1]), value, key)


@pytest.mark.parametrize("name", [pytest.param("agent_swin_t", marks=pytest.mark.slow), "agent_pvt_t"])
def test_one_training_step(name: str, fill: ModuleType, parity: Any) -> None:
    expected = parity.description("train_mm")[name]
    model = MODELS[name]().train()
    load(model, parity.description(name)["keys"], parity)
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.rate = 0.0

    model.double()
    labels = torch.from_numpy(fill.labels(64, 96, 150, 2))
    output = model.segment(torch.from_numpy(fill.image(64, 96, 2)).double())
    total = torch.zeros((), dtype=torch.float64)
    for key, logits, weight in [("decode", output.logits, 1.0), *((k, v, 0.4) for k, v in output.auxiliary.items())]:
        sums = F.cross_entropy(resize(logits, labels.shape[-2:]), labels, ignore_index=255, reduction="sum")
        loss = weight * sums / labels.numel()
        assert loss.item() == pytest.approx(expected["losses"][f"{key}.loss_ce"], rel=1e-6)
        total = total + loss
    assert total.item() == pytest.approx(expected["total"], rel=1e-6)
    total.backward()

    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    without = [key for key, gradient in gradients.items() if gradient is None or not gradient.any()]
    assert without == []
    norm = torch.stack([gradient.norm() for gradient in gradients.values() if gradient is not None]).norm().item()
    assert norm == pytest.approx(expected["gradient_norm_all_parameters"], rel=1e-4)
    for key, value in expected["gradient_norms"].items():
        # The reference ran in single precision, where zeros of ReLU and a batch norm over two values move gradients so.
        assert gradients[MMSEG.translate(key)].norm().item() == pytest.approx(value, rel=5e-4), key
    state = model.state_dict()
    for key, value in expected["running_statistics_after"].items():
        statistic = state[MMSEG.translate(key)]
        assert statistic.mean().item() == pytest.approx(value["mean"], rel=1e-4), key
        assert statistic.norm().item() == pytest.approx(value["norm"], rel=1e-4), key


@pytest.mark.parametrize(
    ("name", "total", "auxiliary"),
    [
        ("agent_swin_t", 60_556_472, 923_798),
        ("agent_swin_s", 81_320_192, 923_798),
        ("agent_swin_b", 121_606_588, 1_218_710),
        ("agent_pvt_t", 15_323_998, 0),
        ("agent_pvt_s", 24_388_712, 0),
        ("agent_pvt_m", 39_675_392, 0),
        ("agent_pvt_l", 52_491_826, 0),
    ],
)
def test_parameters_of_every_row(name: str, total: int, auxiliary: int) -> None:
    with torch.device("meta"):
        model = MODELS[name]()
    assert sum(parameter.numel() for parameter in model.parameters()) == total
    heads = [parameter.numel() for key, parameter in model.named_parameters() if key.startswith("auxiliary_head.")]
    assert sum(heads) == auxiliary


def test_what_is_kept_leaves_a_whole_network_repeatable(fill: ModuleType, parity: Any) -> None:
    """Sizes in turn, with and without what is kept from before, and a batch against its images."""
    model = MODELS["agent_pvt_t"]().eval()
    load(model, parity.description("agent_pvt_t")["keys"], parity)
    sizes = [(64, 96), (96, 64), (64, 96)]
    with torch.no_grad():
        kept = [model.logits(torch.from_numpy(fill.image(*size))) for size in sizes]
        for size, logits in zip(sizes, kept, strict=True):
            model.train().eval()  # forgets
            assert torch.equal(model.logits(torch.from_numpy(fill.image(*size))), logits)
        batch = torch.from_numpy(fill.image(64, 96, 2))
        parts = torch.cat([model.logits(image) for image in batch.split(1)])
        torch.testing.assert_close(model.logits(batch), parts, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_missing_agent_biases_would_show(fill: ModuleType, parity: Any) -> None:
    """The fixture's own sensitivity figure: how far the logits move without biases."""
    description = parity.description("agent_swin_t")
    model = MODELS["agent_swin_t"]().eval()
    load(model, description["keys"], parity)
    image = torch.from_numpy(fill.image(128, 160))
    with torch.no_grad():
        before = model.logits(image)
        for module in model.modules():
            if isinstance(module, AgentAttention):
                for name, parameter in module.named_parameters(recurse=False):
                    assert name.endswith("_bias")
                    parameter.zero_()
        moved = ((model.logits(image) - before).norm() / before.norm()).item()
    figure = description["sensitivity_relative_L2_of_main"]["128x160"]["agent biases (an, na, ah, aw, ha, wa) zero"]
    assert moved == pytest.approx(figure, rel=0.01)
