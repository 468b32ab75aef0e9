"""ImageNet classifiers as a start for Agent-Swin and Agent-PVT: names, what is left out, other training sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from segattn.models.agent import AGENT_PVT_IMAGENET, AGENT_SWIN_IMAGENET, AgentPVTSemanticFPN, AgentSwinUperNet
from segattn.weights.fit_size import fit_trained_size


@pytest.fixture(scope="module")
def swin() -> dict[str, Tensor]:
    with torch.device("meta"):
        return AgentSwinUperNet(size="s").build(150).state_dict()


@pytest.fixture(scope="module")
def pvt() -> dict[str, Tensor]:
    with torch.device("meta"):
        return AgentPVTSemanticFPN(size="m").build(150).state_dict()


def backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key.startswith("backbone.")}


def test_names_of_agent_swin(swin: dict[str, Tensor]) -> None:
    wanted = {key.removeprefix("backbone.") for key in backbone(swin)}
    stage_norms = {f"norm{i}.{leaf}" for i in range(4) for leaf in ("weight", "bias")}
    masks = {f"layers.2.blocks.{i}.attn_mask" for i in range(1, 18, 2)}
    released = (wanted - stage_norms) | {"norm.weight", "norm.bias", "head.weight", "head.bias"} | masks
    translated = AGENT_SWIN_IMAGENET.translate_all(released)
    assert set(backbone(swin)) - set(translated.values()) == {f"backbone.{key}" for key in stage_norms}
    assert set(translated.values()) <= set(swin)
    assert AGENT_SWIN_IMAGENET.reason_to_drop("layers.0.blocks.0.norm1.weight") is None
    assert AGENT_SWIN_IMAGENET.reason_to_drop("layers.2.blocks.1.attn_mask") is not None


def test_names_of_agent_pvt(pvt: dict[str, Tensor]) -> None:
    released = {key.removeprefix("backbone.") for key in backbone(pvt)} | {"head.weight", "head.bias"}
    assert set(AGENT_PVT_IMAGENET.translate_all(released).values()) == set(backbone(pvt))


def swin_of_288(shape: torch.Size, key: str) -> tuple[int, ...]:
    """Shapes of a classifier for 288 pixels: maps of 72, 36, 18, 9 cells, windows of 9."""
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "relative_position_index":
        return (81, 81)
    if leaf == "relative_position_bias_table":
        return (17 * 17, shape[1])
    if leaf in ("ah_bias", "aw_bias", "ha_bias", "wa_bias"):
        return tuple({56: 72, 28: 36, 14: 18, 7: 9}.get(n, n) if i >= 2 else n for i, n in enumerate(shape))
    return tuple(shape)


def test_classifiers_of_other_sizes(swin: dict[str, Tensor]) -> None:
    target = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in backbone(swin).items()}
    source = {key: torch.ones(swin_of_288(value.shape, key)) for key, value in target.items()}
    fitted, notes = fit_trained_size(source, target)
    assert {key: value.shape for key, value in fitted.items()} == {key: value.shape for key, value in target.items()}
    changed = {key for key in target if source[key].shape != target[key].shape}
    assert set(notes) == changed
    assert notes["backbone.layers.0.blocks.0.attn.ah_bias"] == "resized from 1x3x9x72x1 to 1x3x9x56x1"
    assert notes["backbone.layers.3.blocks.0.attn.relative_position_index"] == "replaced from 81x81 to 49x49"
    for key in changed:
        if not key.endswith("index"):
            torch.testing.assert_close(fitted[key], torch.ones_like(fitted[key]))


def test_resizing_keeps_what_is_linear() -> None:
    position = (torch.arange(64.0) + 0.5) / 64
    inner = (torch.arange(56.0) + 0.5)[1:-1] / 56
    source = {
        "a.ha_bias": position.view(1, 1, 64, 1, 1).expand(1, 2, 64, 1, 9),
        "a.aw_bias": position.expand(1, 2, 9, 1, 64),
        "pos_embed1": position.repeat(64).view(1, -1, 1).expand(1, -1, 3),
    }
    target = {
        "a.ha_bias": torch.zeros(1, 2, 56, 1, 9),
        "a.aw_bias": torch.zeros(1, 2, 9, 1, 56),
        "pos_embed1": torch.zeros(1, 56 * 56, 3),
    }
    fitted, _ = fit_trained_size(source, target)
    torch.testing.assert_close(fitted["a.ha_bias"][0, 1, 1:-1, 0, 4], inner)
    torch.testing.assert_close(fitted["a.aw_bias"][0, 1, 4, 0, 1:-1], inner)
    torch.testing.assert_close(fitted["pos_embed1"].view(56, 56, 3)[17, 1:-1, 2], inner)


def test_other_misfits_stay_for_the_loader_to_refuse() -> None:
    source = {"head.weight": torch.ones(3), "unknown": torch.ones(1), "pos_embed1": torch.ones(1, 50, 4)}
    fitted, notes = fit_trained_size(source, {"head.weight": torch.ones(4), "pos_embed1": torch.ones(1, 49, 4)})
    assert notes == {}
    assert all(fitted[key] is source[key] for key in source)
