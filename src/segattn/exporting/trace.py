"""From a model to a `torch.export` program with normalisation inside and dimensions left open."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from segattn.attention.hamburger import draws_anew
from segattn.contracts import cut
from segattn.exporting.report import InputKind, Interface, OutputKind
from segattn.models.segmenter import Segmenter

_EXAMPLE = (2, 96, 160)
"""Batch, height and width that a program is traced at where they are left open; 0 and 1 would become constants."""

SIDES = ("batch", "height", "width")
LARGEST_SIDE = 1 << 15


class Exported(nn.Module):
    """A model with its output turned into what the file is to give."""

    def __init__(self, model: Segmenter, output: OutputKind) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        if self.output == "logits":
            return logits
        if self.output == "softmax":
            return torch.softmax(logits, dim=1)
        return logits.argmax(1).to(torch.uint8)


def exportable(model: Segmenter) -> Segmenter:
    """The model, or a copy on the CPU where it is elsewhere.

    Raises:
        ValueError: it is in training mode or not in float32, or its answers can't be written down.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before exporting it")
    types = {tensor.dtype for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()}
    if types != {torch.float32}:
        found = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in types))
        raise ValueError(f"the model's weights are {found}; call model.float() before exporting it")
    if draws_anew(model):
        raise ValueError(
            "the model draws the bases of its Hamburger anew at every call, so no file can give its answers; "
            "build it with fixed ones (--network.bases_in_eval fixed)"
        )
    on_cpu = all(tensor.device.type == "cpu" for tensor in (*model.parameters(), *model.buffers()))
    return model if on_cpu else copy.deepcopy(model).cpu()


def trace(
    model: Segmenter, *, input: InputKind, output: OutputKind, batch: int | None, height: int | None, width: int | None
) -> tuple[ExportedProgram, Interface]:
    """The program of a model in evaluation mode, and what goes in and out.

    Raises:
        ValueError: the network does not take images of the given size.
    """
    from torch._dynamo.exc import UserError  # slow to import

    given = (batch, height, width)
    shape = [example if side is None else side for side, example in zip(given, _EXAMPLE, strict=True)]
    images = torch.full((shape[0], model.in_channels, *shape[1:]), 0.5)
    if input == "uint8":
        images = (images * 255).to(torch.uint8)
    dynamic = {axis: Dim.DYNAMIC for axis, side in zip((0, 2, 3), given, strict=True) if side is None}
    with torch.no_grad(), quiet():
        model(images[:1])  # sizes that the network refuses are named by it, not by the exporter
        try:
            program = torch.export.export(Exported(model, output), (images,), dynamic_shapes=(dynamic,), strict=False)
        except UserError as error:
            open_sides = ", ".join(name for name, side in zip(SIDES, given, strict=True) if side is None)
            raise ValueError(
                f"no one file of this network takes any {open_sides}; give them ({cut(str(error))})"
            ) from None
    smallest = (height or _lower_bound(program, 2), width or _lower_bound(program, 3))
    return program, Interface(
        input=input,
        output=output,
        batch=batch,
        height=height,
        width=width,
        smallest=smallest,
        channels=model.in_channels,
        value_range=model.normalization.value_range,
    )


def _lower_bound(program: ExportedProgram, axis: int) -> int:
    """The smallest side for which the program holds: below it, a size of 1 somewhere inside would broadcast."""
    node = next(node for node in program.graph.nodes if node.op == "placeholder" and node.name == "images")
    symbol = node.meta["val"].shape[axis].node.expr
    return int(program.range_constraints[symbol].lower)


@contextmanager
def quiet() -> Iterator[None]:
    """A block in which the exporters' remarks about themselves are not printed; errors still are."""
    names = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
