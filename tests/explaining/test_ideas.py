"""What a view shows of each idea is what the plain form's matrices say, to 1e-6."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import segattn
from segattn.attention.agent import AgentAttention
from segattn.attention.class_center import ClassFeature
from segattn.attention.dual import ChannelAttention, PositionAttention
from segattn.attention.hamburger import MatrixFactorization
from segattn.attention.large_kernel import LargeKernelGate
from segattn.attention.strip import AttentionFusion, StripAttention
from segattn.explaining.dual import group_rows
from segattn.explaining.view import View
from segattn.models.segmenter import Segmenter

AT = (37, 90)
IMAGE = np.random.default_rng(3).integers(0, 256, (64, 128, 3), np.uint8)
IMAGE[:, 64:] //= 3


@cache
def network(backbone: str, head: str) -> Segmenter:
    """With attention that is far from even."""
    torch.manual_seed(1)
    model = segattn.build(backbone, head, num_classes=5).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.uniform_(module.bias, -0.2, 0.4)
            assert module.running_var is not None
            module.running_var.uniform_(0.2, 0.5)
        elif isinstance(module, PositionAttention | ChannelAttention):
            nn.init.constant_(module.gamma, 0.3)
            if isinstance(module, PositionAttention):
                module.query.weight.data *= 5
        elif isinstance(module, AgentAttention):
            for bias in module._biases():
                nn.init.normal_(bias, std=0.7)
    return model


@cache
def view(backbone: str, head: str) -> View:
    return segattn.explain(network(backbone, head), IMAGE, AT)


def input_of(model: Segmenter) -> Tensor:
    return model.normalize(torch.from_numpy(IMAGE).permute(2, 0, 1)[None].contiguous())


def read(model: Segmenter, module: nn.Module, look: Callable[[Any, Any], Any]) -> Any:
    """`look(arguments, output)` at the module's call in one pass."""
    found = []
    handle = module.register_forward_hook(lambda _, arguments, output: found.append(look(arguments, output)))
    with torch.no_grad():
        model.logits(input_of(model))
    handle.remove()
    return found[-1]


def last(model: nn.Module, kind: type[nn.Module]) -> Any:
    return [module for module in model.modules() if isinstance(module, kind)][-1]


def near(value: np.ndarray, expected: Tensor | np.ndarray, atol: float = 1e-6) -> None:
    assert value.shape == tuple(expected.shape)
    np.testing.assert_allclose(value, np.asarray(expected), rtol=0, atol=atol)


def cell(h: int, w: int) -> tuple[int, int]:
    """That the pixel's middle lies in."""
    return (2 * AT[0] + 1) * h // 128, (2 * AT[1] + 1) * w // 256


def test_position_attention_is_the_row_of_the_whole_matrix() -> None:
    model = network("attanet_light", "danet")
    module = last(model, PositionAttention)
    x = read(model, module, lambda arguments, _: arguments[0])
    with torch.no_grad():
        S = torch.softmax(module.query(x).flatten(2).mT @ module.key(x).flatten(2), dim=-1)[0]
    h, w = x.shape[-2:]
    row, column = cell(h, w)
    shown = view("attanet_light", "danet").arrays
    assert S.max() > 2 * S.mean()
    near(shown["position_attention"], S[row * w + column].view(h, w))
    assert shown["position_attention"].sum() == pytest.approx(1, abs=1e-6)
    assert shown["position_gamma"] == np.float32(0.3)
    (panel,) = (p for p in view("attanet_light", "danet").panels if p.name == "position_attention")
    assert panel.others is not None
    for pixel, other in zip([(0, 0), (63, 127)], panel.others([(0, 0), (63, 127)]), strict=True):
        near(other, S[0 if pixel == (0, 0) else h * w - 1].view(h, w))


def test_channel_attention_is_the_matrix_and_groups_are_of_like_rows() -> None:
    model = network("attanet_light", "danet")
    x = read(model, last(model, ChannelAttention), lambda arguments, _: arguments[0])
    f = x.flatten(2)[0].double()
    energy = f @ f.mT
    shown = view("attanet_light", "danet").arrays
    near(shown["channel_attention"], torch.softmax(energy.amax(1, keepdim=True) - energy, dim=-1), atol=1e-5)
    np.testing.assert_allclose(shown["channel_attention"].sum(1), 1, atol=1e-5)
    groups = shown["channel_groups"]
    sizes = np.bincount(groups)
    assert len(sizes) == 8
    assert (np.diff(sizes) <= 0).all()
    near(shown["channel_maps"][1], x[0, torch.from_numpy(groups == 1)].mean(0))


def test_rows_of_one_kind_are_one_group() -> None:
    kinds = np.eye(4)[[2, 0, 0, 1, 0, 1, 3, 0]] + 0.01 * np.random.default_rng(0).random((8, 4))
    assert group_rows(kinds, 4).tolist() in ([2, 0, 0, 1, 0, 1, 3, 0], [3, 0, 0, 1, 0, 1, 2, 0])
    assert group_rows(kinds[:3], 8).tolist() == [0, 1, 2]


def test_strip_attention_is_the_row_s_part_of_the_matrix() -> None:
    model = network("attanet_light", "attanet_light")
    module = last(model, StripAttention)
    x = read(model, module, lambda arguments, _: arguments[0])
    h, w = x.shape[-2:]
    with torch.no_grad():
        A = module.attention(x)[0].view(w, h, w)  # strips, rows, columns
    row, column = cell(h, w)
    shown = view("attanet_light", "attanet_light").arrays
    assert A.max() > 2 * A.mean()
    near(shown["strip_attention"], A[:, row].mT)
    near(shown["strip_attention_pixel"], A[:, row, column])
    np.testing.assert_allclose(shown["strip_attention"].sum(1), 1, atol=1e-6)


def test_fusion_weights_are_those_that_the_module_gave() -> None:
    model = network("attanet_light", "attanet_light")
    w = read(model, last(model, AttentionFusion), lambda _, output: output)
    shown = view("attanet_light", "attanet_light").arrays["fusion_weights"]
    near(shown, w[0, :, 0, 0], atol=0)
    assert shown.min() < 0.4 < 0.6 < shown.max()


def test_class_centers_are_weighted_means_and_the_mix_gives_the_class_feature() -> None:
    model = network("attanet_light", "acfnet")
    module = last(model, ClassFeature)
    features, coarse = read(model, module, lambda arguments, _: arguments)
    feature = read(model, module.project, lambda arguments, _: arguments[0])
    with torch.no_grad():
        reduced = module.reduce(features)[0].flatten(1).double()
    P = torch.softmax(coarse[0].flatten(1).double(), dim=0)
    centers = P @ reduced.mT / P.sum(1, keepdim=True)
    shown = view("attanet_light", "acfnet").arrays
    near(shown["class_centers"], centers.float(), atol=1e-5 * float(centers.max()))
    row, column = cell(*coarse.shape[-2:])
    near(shown["class_mix"] @ shown["class_centers"], feature[0, :, row, column], atol=1e-5 * float(centers.max()))
    near(shown["class_mix"], P.view(coarse.shape[1:])[:, row, column].float())
    near(shown["class_similarity"], F.cosine_similarity(centers[:, None], centers[None], dim=-1).float(), atol=1e-5)


def agents_plain(module: AgentAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Whole matrices of one image: gathering (heads, a, n) and reading (heads, n, a), then both without biases."""
    path = Path(__file__).parents[1] / "oracles" / "agent_attention.py"
    spec = importlib.util.spec_from_file_location("oracle_agent_attention", path)
    assert spec is not None
    assert spec.loader is not None
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    h, w = x.shape[1:3]
    q, k, _ = module.project(x)
    agents = module.shape.agents
    A = F.adaptive_avg_pool2d(q.permute(0, 3, 1, 2), agents).flatten(2).mT
    A, Q, K = (t.reshape(-1, module.heads, x.shape[3] // module.heads).transpose(0, 1) for t in (A, q, k))
    P = oracle.position_bias(module.an_bias, (module.ah_bias + module.aw_bias)[0], agents, h, w)
    lines = (module.ha_bias + module.wa_bias)[0].permute(0, 3, 1, 2)
    R = oracle.position_bias(module.na_bias, lines, agents, h, w).transpose(1, 2)
    scale = A.shape[-1] ** -0.5
    gather, read_back = scale * A @ K.mT, scale * Q @ A.mT
    return (gather + P).softmax(-1), (read_back + R).softmax(-1), gather.softmax(-1), read_back.softmax(-1)


@pytest.mark.parametrize("backbone", ["agent_pvt_t", "agent_swin_t"])
@pytest.mark.parametrize("stage", [1, 3])
def test_agents_are_rows_and_columns_of_the_two_matrices(backbone: str, stage: int) -> None:
    model = network(backbone, "semantic_fpn")
    path = {"agent_pvt_t": f"block{stage}.1", "agent_swin_t": f"layers.{stage - 1}.blocks.1"}[backbone]
    module = last(model.backbone.get_submodule(path), AgentAttention)
    x = read(model, module, lambda arguments, _: arguments[0])
    h, w = x.shape[1:3]
    rows, columns = module.shape.agents
    agent = cell(rows, columns)[0] * columns + cell(rows, columns)[1]
    with torch.no_grad():
        gather, read_back, plain_gather, plain_read = agents_plain(module, x)
    shown = view(backbone, "semantic_fpn").arrays
    near(shown[f"agent_gather.{stage}.2"], gather[:, agent].view(-1, h, w))
    near(shown[f"agent_read.{stage}.2"], read_back[..., agent].view(-1, h, w))
    near(shown[f"agent_gather_unbiased.{stage}.2"], plain_gather[:, agent].view(-1, h, w))
    near(shown[f"agent_read_unbiased.{stage}.2"], plain_read[..., agent].view(-1, h, w))
    np.testing.assert_allclose(shown[f"agent_gather.{stage}.2"].sum((1, 2)), 1, atol=1e-5)
    assert (gather - plain_gather).abs().max() > 0.01
    with torch.no_grad():
        whole = module.agent_maps(x, range(rows * columns), biases=True)[1]
    torch.testing.assert_close(whole.sum(2), torch.ones_like(whole[:, :, 0]))


def test_swin_s_stage_without_agents_shows_none() -> None:
    names = {key.split(".")[1] for key in view("agent_swin_t", "semantic_fpn").arrays if key.startswith("agent_")}
    assert names == {"1", "2", "3"}


def test_the_gate_is_what_features_are_multiplied_by() -> None:
    model = network("van_tiny", "light_ham")
    shown = view("van_tiny", "light_ham").arrays
    for stage, blocks in ((1, 3), (4, 2)):
        gates = [m for m in model.backbone.get_submodule(f"block{stage}").modules() if isinstance(m, LargeKernelGate)]
        assert len(gates) == blocks
        for module, value in zip(gates, shown[f"large_kernel_gate.{stage}"], strict=True):
            x, output = read(model, module, lambda arguments, output: (arguments[0], output))
            gate = module.conv1(module.conv_spatial(module.conv0(x)))
            torch.testing.assert_close(x * gate, output)
            near(value, gate[0].abs().mean(0).detach(), atol=1e-5)


def test_the_receptive_field_is_the_gradient_by_the_input() -> None:
    model = network("van_tiny", "light_ham")
    x = input_of(model).requires_grad_()
    maps = []
    handle = model.backbone.get_submodule("block4").register_forward_hook(lambda _m, _a, output: maps.append(output))
    model.logits(x)
    handle.remove()
    y = maps[0]
    assert y.shape[-2:] == (2, 4)
    (gradient,) = torch.autograd.grad(y[0, :, 1, 3].sum(), x)  # 37 / 32 and 90 / 32 are nearest to 1 and 3
    sway = gradient[0].abs().sum(0)
    shown = view("van_tiny", "light_ham").arrays
    near(shown["receptive_field"], sway / sway.sum())
    side = int(shown["receptive_field_side"])
    ys, xs = np.ogrid[:64, :128]
    inside = np.maximum(abs(ys - 32), abs(xs - 96)) <= side // 2
    assert shown["receptive_field"][inside].sum() >= 0.95
    smaller = np.maximum(abs(ys - 32), abs(xs - 96)) <= side // 2 - 1
    assert shown["receptive_field"][smaller].sum() < 0.95


def test_bases_and_energies_make_up_the_reconstruction() -> None:
    model = network("van_tiny", "light_ham")
    module = last(model, MatrixFactorization)
    x, output = read(model, module, lambda arguments, output: (arguments[0], output))
    shown = view("van_tiny", "light_ham").arrays
    maps, spectra = shown["ham_bases"], shown["ham_spectra"]
    h, w = x.shape[-2:]
    assert maps.shape == (64, h, w)
    near(np.einsum("rd,rhw->dhw", spectra, maps), output[0], atol=1e-5)
    X, rest = x[0].double(), (x - output)[0].double()
    whole = X.square().sum()
    near(shown["ham_error"], (rest.square().sum() / whole).sqrt())
    near(shown["ham_error_map"], (rest.square().sum(0) / X.square().sum(0)).sqrt(), atol=1e-5)
    assert shown["ham_energy"].min() >= 0
    assert shown["ham_energy"].sum() == pytest.approx(float((X * output[0]).sum() / whole), abs=1e-5)
    basis = torch.from_numpy(spectra[7]).double()[:, None, None] * torch.from_numpy(maps[7]).double()
    assert shown["ham_energy"][7] == pytest.approx(float((X * basis).sum() / whole), abs=1e-6)


def test_drawing_random_bases_once_more_changes_no_later_draw() -> None:
    from segattn.heads.ham import LightHam

    model = network("van_tiny", "light_ham")
    torch.manual_seed(2)
    head = LightHam(model.backbone.channels, 5, random_bases_in_eval=True)
    other = Segmenter(model.backbone, head, num_classes=5, align_corners="edges").eval()
    torch.manual_seed(3)
    with torch.no_grad():
        expected = [other.logits(input_of(other)) for _ in range(2)]
    torch.manual_seed(3)
    segattn.explain(other, IMAGE, AT, show=["ham"])
    with torch.no_grad():
        assert torch.equal(other.logits(input_of(other)), expected[1])


def test_a_head_that_leaves_the_last_map_alone_has_evidence_on_the_one_before() -> None:
    model = network("efficientnet_lite0", "fcn")
    features = [f.detach() for f in model.backbone(input_of(model))]
    A = features[-2].requires_grad_()
    shown = view("efficientnet_lite0", "fcn")
    row, column = cell(*A.shape[-2:])
    logit = model.head.main((*features[:-2], A, features[-1]))[0, int(shown.labels[AT]), row, column]
    (gradient,) = torch.autograd.grad(logit, A)
    cam = (gradient.mean((2, 3), keepdim=True) * A).sum(1)[0].clamp(min=0).detach()
    near(shown.arrays["class_evidence"], cam, atol=1e-6 * max(1, float(cam.max())))
    assert shown.arrays["evidence_check"][0] == pytest.approx(logit.item(), abs=1e-5)


@pytest.mark.parametrize(
    "names",
    [
        ("attanet_light", "attanet_light"),
        ("van_tiny", "light_ham"),
        ("efficientnet_lite0_os16", "acfnet_narrow"),
        ("van_tiny", "upernet"),
    ],
)
def test_evidence_is_grad_cam_and_its_check_blanks_what_it_says(names: tuple[str, str]) -> None:
    model = network(*names)
    features = [f.detach() for f in model.backbone(input_of(model))]
    A = features[-1].requires_grad_()
    logits = model.head.main((*features[:-1], A))
    shown = view(*names)
    row, column = cell(*logits.shape[-2:])
    chosen = int(shown.labels[AT])
    logit = logits[0, chosen, row, column]
    (gradient,) = torch.autograd.grad(logit, A)
    cam = (gradient.mean((2, 3), keepdim=True) * A).sum(1)[0].clamp(min=0).detach()
    near(shown.arrays["class_evidence"], cam, atol=1e-6 * max(1, float(cam.max())))
    check = shown.arrays["evidence_check"]
    assert check[0] == pytest.approx(logit.item(), abs=1e-5)
    cam[cell(*cam.shape)] = -1
    strongest = cam.flatten().topk(-(-cam.numel() // 10)).indices
    blank = torch.zeros(cam.numel(), dtype=torch.bool)
    blank[strongest] = True
    with torch.no_grad():
        x = torch.where(blank.view(cam.shape), A.mean((2, 3), keepdim=True), A)
        without = float(model.head.main((*features[:-1], x))[0, chosen, row, column])
    assert check[1] == pytest.approx(without, rel=5e-6, abs=1e-5)  # UperNet adds 18432 products, in another order
    assert check[2] != check[1]


@pytest.mark.parametrize(
    ("names", "path"),
    [(("efficientnet_lite0_os16", "acfnet_narrow"), "fine"), (("van_tiny", "upernet"), "fpn_bottleneck")],
)
def test_evidence_costs_a_head_s_end_at_few_cells_only(names: tuple[str, str], path: str) -> None:
    model = network(*names)
    cells: list[int] = []
    handle = model.head.get_submodule(path).register_forward_hook(
        lambda _module, _arguments, output: cells.append(output.shape[-2:].numel())
    )
    segattn.explain(model, IMAGE, AT, show=["evidence"])
    handle.remove()
    first, *later = cells
    assert first >= 32
    assert len(later) == 3
    assert max(later) <= 9


def test_the_receptive_field_needs_no_whole_hidden_map_on_the_way_back() -> None:
    model = network("van_tiny", "light_ham")
    calls: list[nn.Module] = []
    handles = [block.mlp.register_forward_hook(lambda module, *_: calls.append(module)) for block in blocks(model)]
    segattn.explain(model, IMAGE, AT, show=["receptive_field"])
    for handle in handles:
        handle.remove()
    assert len(calls) == len(set(calls)) == 13


def blocks(model: Segmenter) -> list[Any]:
    return [model.backbone.get_submodule(path) for path in model.backbone.blocks]


def test_scores_and_margin_are_of_the_logits_that_labels_come_from() -> None:
    model = network("attanet_light", "attanet_light")
    shown = view("attanet_light", "attanet_light")
    prediction = segattn.predict(model, IMAGE)
    assert np.array_equal(shown.labels, prediction.labels)
    scores = torch.from_numpy(prediction.scores).softmax(0)
    near(shown.arrays["class_scores"], scores[:, AT[0], AT[1]])
    assert shown.arrays["class_scores"].sum() == pytest.approx(1, abs=1e-6)
    assert shown.label == model.classes.names[int(shown.arrays["class_scores"].argmax())]
    with torch.no_grad():
        two = model.logits(input_of(model)).softmax(1).sort(1, descending=True).values[0]
    near(shown.arrays["margin"], two[0] - two[1])
