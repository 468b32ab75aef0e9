from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from segattn.attention.class_center import class_centers, released_class_feature
from segattn.backbones.light import AttaNetLight
from segattn.heads.acfnet import ASPP, ACFNetHead
from segattn.models.acfnet import ACFNET, ACFNet


def features() -> tuple[Tensor, ...]:
    return torch.randn(2, 8, 10, 14), torch.randn(2, 24, 5, 7), torch.randn(2, 32, 5, 7)


def test_outputs_by_name_at_their_maps_sizes() -> None:
    out = ACFNetHead((8, 24, 32), 5, aux_index=0).eval()(features())
    assert out.logits.shape == (2, 5, 5, 7)
    assert out.auxiliary["coarse"].shape == (2, 5, 5, 7)
    assert out.auxiliary["aux"].shape == (2, 5, 10, 14)
    assert set(out.auxiliary) == {"coarse", "aux"}


def test_a_narrow_head_has_its_width_everywhere() -> None:
    head = ACFNetHead((8, 24, 32), 5, aux_index=1, width=16).eval()
    widths = {module.out_channels for module in head.modules() if isinstance(module, torch.nn.Conv2d)}
    assert widths == {8, 16, 32, 5}
    assert head(features()).logits.shape == (2, 5, 5, 7)


def test_main_equals_the_logits_without_auxiliary_work() -> None:
    head = ACFNetHead((8, 24, 32), 5, aux_index=1).eval()
    ran: list[str] = []
    head.aux.register_forward_hook(lambda *_: ran.append("aux"))
    maps = features()
    main = head.main(maps)
    assert ran == []
    assert torch.equal(main, head(maps).logits)


def test_the_two_forms_share_parameters_and_differ_in_value() -> None:
    paper = ACFNetHead((8, 24, 32), 5, aux_index=1).eval()
    released = ACFNetHead((8, 24, 32), 5, aux_index=1, class_feature=released_class_feature).eval()
    released.load_state_dict(paper.state_dict())
    maps = features()
    assert torch.equal(paper(maps).auxiliary["coarse"], released(maps).auxiliary["coarse"])
    assert not torch.allclose(paper.main(maps), released.main(maps))


@pytest.mark.parametrize("form", [class_centers, released_class_feature], ids=["paper", "released"])
def test_every_parameter_gets_a_gradient(form: Any) -> None:
    head = ACFNetHead((8, 24, 32), 5, aux_index=1, class_feature=form)
    out = head(features())
    sum(logits.square().sum() for logits in (out.logits, *out.auxiliary.values())).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_images_of_a_batch_do_not_see_each_other() -> None:
    head = ACFNetHead((8, 24, 32), 5, aux_index=1).eval()
    maps = features()
    torch.testing.assert_close(head.main(maps)[1:], head.main(tuple(x[1:] for x in maps)), rtol=1e-4, atol=1e-5)


def test_any_backbone_will_do() -> None:
    backbone = AttaNetLight().eval()
    head = ACFNetHead(backbone.channels, 7, aux_index=-2).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 65, 97))
        out = head(maps)
    assert out.logits.shape == (1, 7, *maps[-1].shape[-2:])
    assert out.auxiliary["aux"].shape == (1, 7, *maps[-2].shape[-2:])


def test_an_auxiliary_map_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="auxiliary map 3: the backbone has 3 maps"):
        ACFNetHead((8, 24, 32), 5, aux_index=3)


def test_aspp_equals_the_reference(parity: Any) -> None:
    description = parity.description("modules_cnn")["cases"]["acfnet.aspp"]
    module = ASPP(64, 16).eval()
    state = parity.state(description["keys"])
    module.load_state_dict(
        {ACFNET.translate(f"aspp.{key}").removeprefix("head.aspp."): value for key, value in state.items()}
    )
    with torch.no_grad():
        out = module(parity.case_input(description["inputs"]["x"]))
    wanted = torch.from_numpy(parity.arrays("modules_cnn")["acfnet.aspp.out"])
    assert out.shape[1] == module.out_channels
    assert (out - wanted).abs().max() < 1e-4


@pytest.mark.parametrize("class_feature", ["paper", "released"])
def test_parameter_count_and_ceil_rounded_sizes(class_feature: Any) -> None:
    with torch.device("meta"):
        model = ACFNet(backbone="ecanet101", class_feature=class_feature).build(19).eval()
        sizes = {(112, 144): (15, 19), (97, 129): (13, 17), (769, 769): (97, 97), (1024, 2048): (129, 257)}
        for size, wanted in sizes.items():
            out = model.segment(torch.empty(1, 3, *size))
            assert all(logits.shape == (1, 19, *wanted) for logits in (out.logits, *out.auxiliary.values()))
    assert sum(p.numel() for p in model.parameters()) == 108_992_348


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101"])
def test_builds_on_resnets_without_eca(backbone: Any) -> None:
    with torch.device("meta"):
        model = ACFNet(backbone=backbone).build(19)
    assert not any("eca" in name for name, _ in model.named_parameters())
