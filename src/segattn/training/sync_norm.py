"""Batch norm with statistics over all processes, on any device.

PyTorch's own SyncBatchNorm refuses CPU tensors; what it does is small enough to state with two collective sums.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


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
