from __future__ import annotations

import pytest
import torch

from segattn.backbones.light import AttaNetLight
from segattn.heads.danet import DANetHead
from segattn.models.danet import DANet


def test_outputs_by_name_at_the_map_s_size() -> None:
    out = DANetHead(64, 5).eval()((torch.randn(2, 3, 20, 30), torch.randn(2, 64, 9, 13)))
    assert out.logits.shape == (2, 5, 9, 13)
    assert {name: tuple(logits.shape) for name, logits in out.auxiliary.items()} == dict.fromkeys(
        ("position", "channel"), (2, 5, 9, 13)
    )


def test_main_equals_the_logits_without_the_branches_classifiers() -> None:
    head = DANetHead(64, 5).eval()
    features = (torch.randn(2, 64, 9, 13),)
    ran = []
    head.classify_position.register_forward_hook(lambda *_: ran.append("position"))
    head.classify_channel.register_forward_hook(lambda *_: ran.append("channel"))
    main = head.main(features)
    assert ran == []
    assert torch.equal(main, head(features).logits)


def test_fused_logits_are_made_from_the_sum_of_the_branches() -> None:
    head = DANetHead(64, 5).eval()
    for branch in (head.classify_position, head.classify_channel):
        branch.load_state_dict(head.classify.state_dict())
    out = head((torch.randn(2, 64, 9, 13),))
    bias = head.classify[1].bias
    assert isinstance(bias, torch.Tensor)
    total = out.auxiliary["position"] + out.auxiliary["channel"] - bias[:, None, None]
    torch.testing.assert_close(out.logits, total, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    head = DANetHead(64, 5)
    torch.nn.init.constant_(head.position[1].gamma, 0.5)
    torch.nn.init.constant_(head.channel[1].gamma, 0.5)
    out = head((torch.randn(2, 64, 9, 13),))
    sum(logits.square().sum() for logits in (out.logits, *out.auxiliary.values())).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        # a constant added to all keys of a row leaves its softmax as it is
        assert parameter.grad.abs().sum() > 0 or name == "position.1.key.bias", name


def test_images_of_a_batch_do_not_see_each_other() -> None:
    head = DANetHead(64, 5).eval()
    torch.nn.init.constant_(head.position[1].gamma, 0.5)
    torch.nn.init.constant_(head.channel[1].gamma, 0.5)
    x = torch.randn(2, 64, 9, 13)
    torch.testing.assert_close(head.main((x,))[1:], head.main((x[1:],)), rtol=1e-4, atol=1e-5)


def test_channels_last_gives_the_same() -> None:
    head = DANetHead(64, 5).eval()
    torch.nn.init.constant_(head.position[1].gamma, 0.5)
    torch.nn.init.constant_(head.channel[1].gamma, 0.5)
    x = torch.randn(2, 64, 9, 13)
    wanted = head.main((x,))
    got = head.to(memory_format=torch.channels_last).main((x.to(memory_format=torch.channels_last),))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_any_backbone_will_do() -> None:
    backbone = AttaNetLight().eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 65, 97))
        logits = DANetHead(backbone.channels[-1], 7).eval().main(features)
    assert logits.shape == (1, 7, *features[-1].shape[-2:])


@pytest.mark.parametrize(
    ("network", "classes", "parameters"),
    [
        (DANet(backbone="resnet50"), 19, 47_462_651),
        (DANet(backbone="resnet50", stem="deep", stage4_dilations=(2, 4, 4)), 19, 47_586_427),
        (DANet(backbone="resnet101"), 19, 66_454_779),
        (DANet(backbone="resnet101"), 59, 66_516_339),
        (DANet(backbone="resnet101"), 60, 66_517_878),
        (DANet(backbone="resnet101"), 171, 66_688_707),
    ],
)
def test_parameter_counts(network: DANet, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        model = network.build(classes)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.align_corners == "corners"


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101", "resnet152"])
def test_builds_and_answers_at_an_eighth(backbone: str) -> None:
    with torch.device("meta"):
        output = DANet(backbone=backbone).build(7).segment(torch.empty(2, 3, 97, 129))  # type: ignore[arg-type]
    assert output.logits.shape == (2, 7, 13, 17)
    assert set(output.auxiliary) == {"position", "channel"}
