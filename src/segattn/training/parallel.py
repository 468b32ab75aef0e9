"""Several processes: sharded parameters, and batch norms with joint statistics.

PyTorch's `fully_shard` does the work: the weights of a block of the backbone (`blocks.py` says what these are) are
gathered for the time of its forward or backward pass, all others for the time of the network's. For checkpoints
and scoring parts become whole tensors, and back.

PyTorch's own SyncBatchNorm refuses CPU tensors; what it does is small enough to state with two collective sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from segattn.processes import place
from segattn.training.blocks import backbone_blocks

_FULL = StateDictOptions(full_state_dict=True)


def shard(model: nn.Module, device: torch.device) -> None:
    """Leave in each process its part of every parameter; the first process's values count.

    `model.segment` is what may be called from then on. Buffers stay whole, and weights lose a channels-last order.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()
    for tensor in [*model.parameters(), *model.buffers()]:
        dist.broadcast(tensor.data, 0)
    mesh = init_device_mesh(device.type, (place().world,))
    for path in backbone_blocks(model, "training.parallel fsdp"):
        fully_shard(model.get_submodule(path), mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "segment")


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's state dict, of whole tensors also where it is sharded; all processes call this together."""
    return get_model_state_dict(model, options=_FULL)  # type: ignore[return-value]


def load_full_weights(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `full_weights` gave, which every process has, into a model that is sharded or not."""
    set_model_state_dict(model, dict(state), options=_FULL)


def full_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state dict, of whole tensors; all processes call this together.

    PyTorch's function for that takes an optimiser step without gradients first, which AdamW counts.
    """
    state = optimizer.state_dict()
    full = {index: {name: _full(value) for name, value in values.items()} for index, values in state["state"].items()}
    return {**state, "state": full}


def load_full_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load what `full_optimizer_state` gave: averages are sharded as the optimiser's parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parts = {
        index: {name: _part(value, parameters[index]) for name, value in values.items()}
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": parts})


def _full(value: Any) -> Any:
    return value.full_tensor().detach() if isinstance(value, DTensor) else value  # type: ignore[no-untyped-call]


def _part(value: Any, like: Tensor) -> Any:
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes; so is the gradient, as each process's loss depends on every other's input."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(x: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]
    return total


class ProcessBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics are those of all processes' images together."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.momentum is None or not dist.is_initialized():
            return super().forward(x)
        values = x.float()
        count = values.new_tensor(float(values.numel() // values.shape[1]))
        dist.all_reduce(count)
        mean = _sum_over_processes(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _sum_over_processes(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            if self.running_mean is not None and self.running_var is not None:
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        normal: Tensor = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
        return normal.to(x.dtype)


def synchronize_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` with every batch norm sharing its statistics over processes; tensors and their names stay the same.

    PyTorch's fused implementation where it runs (CUDA), the one above elsewhere.
    """
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = ProcessBatchNorm2d
    return model
