from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from segattn.attention.class_center import ClassFeature, class_centers, released_class_feature
from segattn.backbones.light import AttaNetLight
from segattn.backbones.resnet import ResNet
from segattn.models.acfnet import ACFNET

Form = Callable[[Tensor, Tensor], Tensor]
both_forms = pytest.mark.parametrize("form", [class_centers, released_class_feature], ids=["paper", "released"])


def oracle() -> ModuleType:
    path = Path(__file__).parents[1] / "oracles" / "class_feature.py"
    spec = importlib.util.spec_from_file_location("oracle_class_feature", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("form", "name"), [(class_centers, "class_centers"), (released_class_feature, "released")])
def test_forms_against_loops(form: Form, name: str) -> None:
    features, coarse = torch.randn(2, 6, 4, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    for f, c, out in zip(features, coarse, form(features, coarse), strict=True):
        wanted = torch.from_numpy(getattr(oracle(), name)(f.flatten(1).numpy(), c.flatten(1).numpy()))
        torch.testing.assert_close(out.flatten(1), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("form", "array"), [(class_centers, "paper"), (released_class_feature, "out")])
def test_module_equals_the_reference(form: Form, array: str, parity: Any) -> None:
    description = parity.description("modules_cnn")["cases"]["acfnet.acf"]
    module = ClassFeature(48, 16, aggregate=form).eval()
    prefix, ours = "acfhead.acf.", "head.class_feature."
    state = parity.state(description["keys"])
    module.load_state_dict({ACFNET.translate(prefix + key).removeprefix(ours): value for key, value in state.items()})
    inputs = [parity.case_input(description["inputs"][name]) for name in ("features", "coarse")]
    with torch.no_grad():
        out = module(*inputs)
    wanted = torch.from_numpy(parity.arrays("modules_cnn")[f"acfnet.acf.{array}"])
    assert (out - wanted).abs().max() < 1e-4


def test_paper_is_the_default() -> None:
    assert ClassFeature(8, 4).aggregate is class_centers


def test_certain_classes_give_every_pixel_the_mean_of_its_class() -> None:
    features = torch.randn(1, 4, 2, 3)
    labels = torch.tensor([[[0, 0, 1], [1, 1, 0]]])
    coarse = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2) * 100.0
    out = class_centers(features, coarse)
    for label in (0, 1):
        inside = (labels == label)[0]
        mean = features[0][:, inside].mean(1, keepdim=True)
        torch.testing.assert_close(out[0][:, inside], mean.expand(-1, 3), rtol=1e-4, atol=1e-5)


@both_forms
def test_gradients_flow_into_features_and_coarse_map(form: Form) -> None:
    inputs = [torch.randn(1, 4, 2, 3, dtype=torch.float64), torch.randn(1, 3, 2, 3, dtype=torch.float64)]
    assert torch.autograd.gradcheck(form, [x.requires_grad_() for x in inputs])


@both_forms
def test_every_parameter_gets_a_gradient(form: Form) -> None:
    module = ClassFeature(8, 4, aggregate=form)
    module(torch.randn(2, 8, 5, 6), torch.randn(2, 3, 5, 6)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("base", [lambda: ResNet(50, output_stride=8), AttaNetLight], ids=["resnet50", "attanet_light"])
@both_forms
def test_any_base_network_will_do(base: Callable[[], Any], form: Form) -> None:
    backbone = base().eval()
    with torch.no_grad():
        last = backbone(torch.randn(1, 3, 65, 97))[-1]
        module = ClassFeature(backbone.channels[-1], 16, aggregate=form).eval()
        out = module(last, torch.randn(1, 7, *last.shape[-2:]))
    assert out.shape == (1, 16, *last.shape[-2:])
    assert out.isfinite().all()


@pytest.mark.parametrize(("dtype", "scale"), [(torch.bfloat16, 1.0), (torch.float16, 30.0)], ids=["bf16", "fp16"])
@both_forms
def test_sums_over_all_positions_are_float32_under_autocast(form: Form, dtype: torch.dtype, scale: float) -> None:
    torch.manual_seed(0)
    features = (torch.randn(1, 64, 97, 97).relu() * scale).to(dtype)
    coarse = torch.randn(1, 19, 97, 97) * 3
    coarse[:, 0] += 8
    coarse = coarse.to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        out = form(features, coarse)
    assert out.dtype == dtype
    wanted = form(features.double(), coarse.double())
    assert (out.double() - wanted).norm() < 0.01 * wanted.norm()
