from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segattn.heads.attanet import AttaNetHead, AttaNetLightHead


def maps(channels: tuple[int, ...], sizes: tuple[tuple[int, int], ...], batch: int = 2) -> tuple[Tensor, ...]:
    return tuple(torch.randn(batch, c, *size) for c, size in zip(channels, sizes, strict=True))


RESNET = (AttaNetHead, (16, 32, 64), ((13, 17), (7, 9), (4, 5)))
LIGHT = (AttaNetLightHead, (16, 32, 32), ((13, 17), (7, 9), (7, 9)))
both = pytest.mark.parametrize(("make", "channels", "sizes"), [RESNET, LIGHT], ids=["resnet", "light"])


@both
def test_outputs_have_the_sizes_of_their_maps(make: Any, channels: Any, sizes: Any) -> None:
    output = make(channels, 5).eval()(maps(channels, sizes))
    f8, f16 = sizes[0], sizes[1]
    assert output.logits.shape == (2, 5, *f8)
    light = make is AttaNetLightHead
    assert {name: tuple(x.shape) for name, x in output.auxiliary.items()} == {
        "aux1": (2, 5, *(f8 if light else f16)),
        "aux2": (2, 5, *(f16 if light else f8)),
    }


@both
def test_main_is_the_logits_alone(make: Any, channels: Any, sizes: Any) -> None:
    head, features = make(channels, 5).eval(), maps(channels, sizes)
    for aux in (head.aux1, head.aux2):
        aux.register_forward_hook(lambda *_: calls.append(1))
    calls: list[int] = []
    with torch.no_grad():
        main = head.main(features)
        assert calls == []
        assert torch.equal(main, head(features).logits)


@both
def test_a_batch_equals_its_images_one_by_one(make: Any, channels: Any, sizes: Any) -> None:
    head, features = make(channels, 5).eval(), maps(channels, sizes)
    with torch.no_grad():
        together = head(features)
        for i in range(2):
            alone = head(tuple(f[i : i + 1] for f in features))
            for a, b in [(together.logits, alone.logits)] + [
                (together.auxiliary[name], alone.auxiliary[name]) for name in ("aux1", "aux2")
            ]:
                assert torch.allclose(a[i : i + 1], b, atol=1e-5)


@both
def test_every_parameter_gets_a_gradient(make: Any, channels: Any, sizes: Any) -> None:
    head = make(channels, 5)
    output = head(maps(channels, sizes, batch=4))
    sum(x.square().mean() for x in (output.logits, *output.auxiliary.values())).backward()
    assert [name for name, p in head.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_the_resnet_head_takes_the_last_three_of_four_maps() -> None:
    head, features = AttaNetHead((16, 32, 64), 5).eval(), maps(RESNET[1], RESNET[2])
    with torch.no_grad():
        assert torch.equal(head.main((torch.randn(2, 8, 25, 33), *features)), head.main(features))


def test_the_second_auxiliary_output_reads_the_released_layer() -> None:
    light, features = AttaNetLightHead((16, 32, 32), 5).eval(), maps(LIGHT[1], LIGHT[2])
    with torch.no_grad():
        changed = light((features[0], features[1] + 1, features[2]))
        output = light(features)
    assert torch.equal(changed.logits, output.logits)
    assert not torch.equal(changed.auxiliary["aux2"], output.auxiliary["aux2"])


def test_only_the_resnet_head_drops_channels() -> None:
    def rates(head: nn.Module) -> list[float]:
        return [m.p for m in head.modules() if isinstance(m, nn.Dropout2d) and m.p > 0]

    assert rates(AttaNetHead((16, 32, 64), 5)) == [0.1, 0.1, 0.1]
    assert rates(AttaNetLightHead((16, 32, 32), 5)) == []


@both
def test_initialisation_reaches_classifiers_and_the_fusion_gate_only(make: Any, channels: Any, sizes: Any) -> None:
    head = make(channels, 64)
    for name, module in head.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            normal = name.endswith((".classifier", "fusion.gate"))
            expected = fan_in**-0.5 if normal else (3 * fan_in) ** -0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.06), name
            assert module.bias is None
