from __future__ import annotations

import pytest
import torch

from segattn.backbones.light import AttaNetLight


@pytest.mark.parametrize("size", [(128, 160), (97, 129), (65, 97)])
def test_maps_have_the_declared_channels_and_strides(size: tuple[int, int]) -> None:
    net = AttaNetLight().eval()
    with torch.no_grad():
        maps = net(torch.randn(1, 3, *size))
    for found, channels, stride in zip(maps, net.channels, net.strides, strict=True):
        assert found.shape == (1, channels, *((n - 1) // stride + 1 for n in size))


def test_the_second_map_is_the_layer_before_the_last() -> None:
    net = AttaNetLight().eval()
    with torch.no_grad():
        _, before_last, last = net(torch.randn(1, 3, 64, 64))
        assert torch.equal(net.s3_3(before_last), last)


def test_every_parameter_gets_a_gradient() -> None:
    net = AttaNetLight()
    net(torch.randn(2, 3, 65, 49))[-1].square().mean().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert dead == []


def test_convolutions_keep_the_frameworks_initialisation() -> None:
    weight = AttaNetLight().s3_3.conv.weight
    assert weight.std().item() == pytest.approx((3 * weight[0].numel()) ** -0.5, rel=0.02)


def test_a_batch_equals_its_images_one_by_one() -> None:
    net, x = AttaNetLight().eval(), torch.randn(2, 3, 65, 49)
    with torch.no_grad():
        together, alone = net(x)[-1], torch.cat([net(x[i : i + 1])[-1] for i in range(2)])
    assert torch.allclose(together, alone, atol=1e-6)
