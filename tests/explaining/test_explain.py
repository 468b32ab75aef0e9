"""Looking changes nothing, ends whatever happens, and says what can be asked for."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import segattn
from segattn.evaluation.protocol import protocol
from segattn.explaining.explain import IDEAS, explain, shown_by
from segattn.models.segmenter import Segmenter

IMAGE = np.random.default_rng(3).integers(0, 256, (50, 70, 3), np.uint8)
NETWORKS = {
    ("attanet_light", "attanet_light"): {"strip", "fusion"},
    ("attanet_light", "danet"): {"position", "channel"},
    ("attanet_light", "acfnet"): {"class_centers"},
    ("agent_pvt_t", "semantic_fpn"): {"agents"},
    ("van_tiny", "light_ham"): {"large_kernel", "receptive_field", "ham"},
}


@cache
def network(backbone: str, head: str) -> Segmenter:
    torch.manual_seed(1)
    return segattn.build(backbone, head, num_classes=5).eval()


def test_it_takes_what_predict_takes_and_reads_it_at_the_size_of_training() -> None:
    model = network("attanet_light", "attanet_light")
    model.trained_at = (100, 140)
    try:
        view = explain(model, Image.fromarray(IMAGE), (20, 30), show=["margin", "evidence"])
        assert (view.seen, view.at, view.labels.shape) == ((100, 140), (20, 30), (50, 70))
        assert np.array_equal(view.labels, segattn.predict(model, IMAGE).labels)
        tensor = torch.from_numpy(IMAGE).permute(2, 0, 1)
        assert explain(model, tensor, (20, 30), show=["margin"], size="native").seen == (50, 70)
        assert explain(model, IMAGE, show=["margin"], size=35).seen == (25, 35)
    finally:
        model.trained_at = None


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


@pytest.mark.parametrize("names", NETWORKS, ids="_".join)
def test_looking_changes_neither_output_nor_model(names: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(*names)
    x = model.normalize(torch.from_numpy(IMAGE).permute(2, 0, 1)[None].contiguous())
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        before = model.logits(x)
    watched: list[Tensor] = []
    own = model.logits
    monkeypatch.setattr(model, "logits", lambda x: watched.append(own(x)) or watched[0])
    view = explain(model, IMAGE, (20, 30))
    monkeypatch.undo()
    assert torch.equal(watched[0], before)
    with torch.no_grad():
        assert torch.equal(model.logits(x), before)
    assert hooks(model) == 0
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert np.array_equal(view.labels, segattn.predict(model, IMAGE).labels)
    assert set(shown_by(model)) == {"margin", "evidence"} | NETWORKS[names]
    assert all(np.isfinite(array).all() for array in view.arrays.values())
    assert all(array.dtype in (np.float32, np.int64) for array in view.arrays.values())
    assert {panel.name for panel in view.panels} & set(view.arrays)


def test_every_idea_is_in_one_of_these_networks() -> None:
    assert {idea.name for idea in IDEAS} == {"margin", "evidence"}.union(*NETWORKS.values())


def test_every_array_is_in_the_docstring() -> None:
    text = explain.__doc__ or ""
    for names in NETWORKS:
        for name in explain(network(*names), IMAGE).arrays:
            stem = name.split(".")[0].removesuffix("_unbiased")
            assert f"`{stem}`" in text or f"`{stem}." in text, name


def test_hooks_go_when_the_network_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("attanet_light", "danet")

    def fail(_: object) -> Tensor:
        raise RuntimeError("broken")

    monkeypatch.setattr(model.head.classify, "forward", fail)
    with pytest.raises(RuntimeError, match="broken"):
        explain(model, IMAGE)
    assert hooks(model) == 0


def test_the_middle_is_asked_by_default_and_files_are_read_as_for_predict(tmp_path: Path) -> None:
    model = network("attanet_light", "attanet_light")
    assert cv2.imwrite(str(tmp_path / "a b.png"), IMAGE[..., ::-1])
    from_file = explain(model, tmp_path / "a b.png")
    view = explain(model, IMAGE, (25, 35))
    assert from_file.at == (25, 35)
    assert from_file.name == "a b"
    assert all(np.array_equal(from_file.arrays[key], view.arrays[key]) for key in view.arrays)


def test_a_protocol_that_resizes_is_followed() -> None:
    model = network("attanet_light", "attanet_light")
    resized = protocol("mmseg_whole")
    view = explain(model, IMAGE, (20, 30), show=["margin"], protocol=resized)
    prediction = segattn.predict(model, IMAGE, resized)
    assert view.seen != IMAGE.shape[:2]
    assert np.array_equal(view.labels, prediction.labels)


@pytest.mark.parametrize("name", ["multi_flip", "slide_512", "enlarged_flip"])
def test_a_protocol_that_looks_more_than_once_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"protocol {name}: looks more than once"):
        explain(network("attanet_light", "attanet_light"), IMAGE, protocol=protocol(name))


@pytest.mark.parametrize("at", [(50, 0), (0, 70), (-1, 5), (5, -1)])
def test_a_pixel_outside_is_refused_with_the_size(at: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"50 rows \(y from 0 to 49\) and 70 columns \(x from 0 to 69\)"):
        explain(network("attanet_light", "attanet_light"), IMAGE, at)


def test_what_the_model_can_t_show_is_refused_with_what_it_can() -> None:
    model = network("attanet_light", "attanet_light")
    with pytest.raises(
        ValueError, match=r"'agents' is not in this model. This model can show: margin, .*strip, fusion$"
    ):
        explain(model, IMAGE, show=["strip", "agents"])
    with pytest.raises(ValueError, match=r"'stripes' is not something to show. Did you mean strip\?"):
        explain(model, IMAGE, show=["stripes"])


def test_only_what_is_asked_for_is_shown() -> None:
    assert set(explain(network("attanet_light", "danet"), IMAGE, show=["channel"]).arrays) == {
        "channel_attention",
        "channel_groups",
        "channel_maps",
    }


def test_wrong_images_and_modes_are_refused(tmp_path: Path) -> None:
    model = network("attanet_light", "attanet_light")
    with pytest.raises(ValueError, match=r"image: of type dict; expected a path"):
        explain(model, {})  # type: ignore[arg-type]
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.png"):
        explain(model, tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        explain(model, os.devnull + "x")
    with pytest.raises(ValueError, match="training mode"):
        explain(segattn.build("attanet_light", "attanet_light", num_classes=2).train(), IMAGE)
    with pytest.raises(ValueError, match="32"):
        explain(network("agent_pvt_t", "semantic_fpn"), IMAGE[:20])


def test_the_released_class_feature_has_no_centres() -> None:
    from segattn.attention.class_center import released_class_feature
    from segattn.heads.acfnet import ACFNetHead

    backbone = network("attanet_light", "acfnet").backbone
    head = ACFNetHead(backbone.channels, 3, aux_index=1, class_feature=released_class_feature)
    model = Segmenter(backbone, head, num_classes=3, align_corners="edges").eval()
    assert shown_by(model) == ["margin", "evidence"]


def test_a_single_class_and_a_single_pixel_are_explained() -> None:
    model = segattn.build("attanet_light", "attanet_light", num_classes=1).eval()
    view = explain(model, IMAGE[:1, :1])
    assert "class_evidence" in view.arrays
    assert "margin" not in view.arrays
    assert "1 x 1 points" in " ".join(view.page().split())
