"""Blocks that are computed twice: the same bits as without, and fewer bytes kept between the passes."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from segattn.losses.terms import CrossEntropy
from segattn.models.acfnet import ACFNet
from segattn.models.agent import AgentPVTSemanticFPN
from segattn.models.attanet import AttaNet
from segattn.models.compose import Pair
from segattn.models.danet import DANet
from segattn.models.networks import Network
from segattn.models.van import VANLightHam
from segattn.training import activation_checkpoint as recompute
from segattn.training.activation_checkpoint import recompute_blocks
from segattn.training.parallel import ProcessBatchNorm2d
from segattn.training.step import TrainingStep

NETWORKS: dict[str, tuple[Network, float]] = {
    "attanet_light": (AttaNet(backbone="light"), 0.8),
    "resnet18": (AttaNet(backbone="resnet18"), 0.7),
    "df2": (AttaNet(backbone="df2"), 0.65),
    "resnet50_os8": (DANet(backbone="resnet50"), 0.6),
    "ecanet101_os8": (ACFNet(backbone="ecanet101"), 0.5),
    "van_tiny": (VANLightHam(size="tiny", ham_channels=256), 0.4),
    "swin_t": (Pair(backbone="swin_t", head="semantic_fpn"), 0.3),
    "agent_swin_t": (Pair(backbone="agent_swin_t", head="semantic_fpn"), 0.2),
    "pvt_t": (Pair(backbone="pvt_t", head="semantic_fpn"), 0.4),
    "agent_pvt_t": (AgentPVTSemanticFPN(size="t"), 0.2),
}
"""Each backbone family in a whole network, and the part of the bytes that is kept at most."""
QUICK = {"attanet_light", "resnet18", "df2", "van_tiny", "swin_t", "agent_swin_t", "pvt_t", "agent_pvt_t"}


class Pass(NamedTuple):
    loss: Tensor
    gradients: dict[str, Tensor | None]
    state: dict[str, Tensor]
    kept: int
    draw: Tensor
    """The random number that comes after it."""


def forward_and_backward(model: nn.Module, precision: Any = "float32") -> Pass:
    step = TrainingStep(model.train(), (CrossEntropy(),), precision=precision, channels_last=False)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 5, (2, 64, 96), generator=generator)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    torch.manual_seed(3)  # of dropped paths, dropped channels, bases
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        for module in model.modules():  # what enters a block is kept by other means than those that the hook sees
            if isinstance(module, recompute._Recomputed):
                module.register_forward_pre_hook(lambda _, inputs: (keep(inputs[0]),))
        loss = step(images, labels)["total"]
    size = sum(storage.nbytes() for storage in kept.values())
    kept.clear()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return Pass(loss.detach(), gradients, model.state_dict(), size, torch.rand(1))


def assert_same(a: Pass, b: Pass) -> None:
    assert torch.equal(a.loss, b.loss)
    assert torch.equal(a.draw, b.draw)
    assert list(a.state) == list(b.state)
    for name, value in a.state.items():
        assert torch.equal(value, b.state[name]), name
    for name, gradient in a.gradients.items():
        other = b.gradients[name]
        assert gradient is other or (gradient is not None and other is not None and torch.equal(gradient, other)), name


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Sums in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pair(network: Network) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    plain = network.build(5)
    twice = copy.deepcopy(plain)
    recompute_blocks(twice)
    return plain, twice


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NETWORKS]
)
def test_the_same_bits_from_fewer_bytes(name: str) -> None:
    """Loss, every gradient, every running statistic, and the random numbers that follow."""
    network, share = NETWORKS[name]
    plain, twice = (forward_and_backward(model) for model in pair(network))
    assert_same(plain, twice)
    assert twice.kept < share * plain.kept
    moved = [name for name, value in twice.state.items() if name.endswith("num_batches_tracked") and value != 1]
    assert moved == []


def test_the_same_bits_in_low_precision() -> None:
    plain, twice = (forward_and_backward(model, "bf16") for model in pair(VANLightHam(size="tiny", ham_channels=256)))
    assert_same(plain, twice)
    assert twice.kept < 0.5 * plain.kept


def test_paths_are_dropped_at_all() -> None:
    """Otherwise nothing above would tell of random states."""
    model = AgentPVTSemanticFPN(size="t", drop_path=0.5).build(5)
    recompute_blocks(model)
    torch.manual_seed(0)
    x = torch.rand(2, 3, 64, 64)
    assert not torch.equal(model.segment(x).logits, model.segment(x).logits)


def test_a_second_backward_pass_and_frozen_norms() -> None:
    plain, twice = pair(AttaNet(backbone="light"))
    x = torch.rand(2, 3, 32, 32)
    for model in (plain, twice):
        model.get_submodule("backbone.s3_1.norm").eval()
        loss = model.segment(x).logits.square().mean()
        for _ in range(2):
            loss.backward(retain_graph=True)
    for (name, a), b in zip(plain.named_parameters(), twice.parameters(), strict=True):
        assert (a.grad is None and b.grad is None) or torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(plain.named_buffers(), twice.buffers(), strict=True):
        assert torch.equal(a, b), name
    assert twice.get_buffer("backbone.s3_1.norm.num_batches_tracked") == 0


def test_norms_over_processes_count_once() -> None:
    model = AttaNet(backbone="light").build(5)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = ProcessBatchNorm2d
    recompute_blocks(model)
    model.segment(torch.rand(2, 3, 32, 32)).logits.sum().backward()
    assert model.get_buffer("backbone.s1_1.norm.num_batches_tracked") == 1


def test_evaluation_and_copies_are_as_ever() -> None:
    plain, twice = pair(AttaNet(backbone="resnet18"))
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(plain.eval()(images), copy.deepcopy(twice).eval()(images))
    assert type(twice.backbone.layer1[0]) is type(twice.backbone.layer4[1])
    assert isinstance(twice.backbone.layer1[0], type(plain.backbone.layer1[0]))
    assert list(twice.state_dict()) == list(plain.state_dict())


def test_random_states_of_devices_that_torch_does_not_look_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that draws numbers but is never "initialized", as MPS: here the CPU takes its part."""

    class Device:
        state = 5

        def get_rng_state(self) -> Tensor:
            return torch.tensor(self.state)

        def set_rng_state(self, state: Tensor) -> None:
            self.state = int(state)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 3, 1)
            self.drawn: list[int] = []

        def forward(self, x: Tensor) -> Tensor:
            self.drawn.append(device.state)
            device.state += 1
            return self.conv1(x)

    device = Device()
    monkeypatch.setattr(torch, "get_device_module", lambda _: device)
    backbone = nn.Sequential(Block(), Block())
    backbone.blocks = ("0", "1")  # type: ignore[assignment]
    recompute_blocks(nn.ModuleDict({"backbone": backbone}))
    backbone(torch.rand(1, 3, 4, 4)).sum().backward()
    first, second = backbone
    assert first.drawn == [5, 5]
    assert second.drawn == [6, 6]
    assert device.state == 7


def test_a_model_without_known_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="no backbone whose blocks are known"):
        recompute_blocks(nn.ModuleDict({"backbone": nn.Sequential(nn.Conv2d(3, 3, 1))}))
