"""Parameters and operations of a network, counted operator by operator from shapes alone.

Operators are counted where they reach torch's dispatcher, so convolutions, linear layers and batched products are seen
whatever module or function they come from. Three things need more than that:

- `F.scaled_dot_product_attention` becomes one of many operators, some of which torch's own `FlopCounterMode` takes for
  nothing (on CPU, all of them). It is caught as the function that it is: two products, and the scaling of the queries.
- `segattn.position_attention` is one operator of ours with the cost of two products.
- Some modules reach a result on another way than the papers' code, whose way is what published figures count. These
  have a method `paper_operations` of the same arguments as their `forward` (a head's: its features), which gives the
  operations of the papers' code beyond, or in place of, what is seen to run, by kind. With `counts_products` false
  their own products, not those of the modules inside them, pool, resize and make masks, and are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import segattn.attention.dual  # noqa: F401 - defines the operator segattn::position_attention
from segattn.contracts import nearest
from segattn.layers import resize
from segattn.models.segmenter import Segmenter
from segattn.models.shapes import stand_in

_MACS = {"convolution": 1, "linear": 1, "matrix_product": 1}

CONVENTIONS: dict[str, dict[str, int]] = {
    "macs": _MACS,
    "torchprofile": {
        **_MACS,
        "product": 1,
        "batch_norm": 1,
        "layer_norm": 1,
        "group_norm": 1,
        "adaptive_pool": 1,
        "bilinear": 4,
    },
    "agent_script": {
        "convolution": 1,
        "convolution_bias": 1,
        "linear": 1,
        "batch_norm": 2,
        "group_norm": 2,
        "layer_norm": 1,
        "relu": 1,
        "adaptive_pool_input": 1,
        "script_attention": 1,
    },
}
"""The weight of each kind of operation (`Operations`) in each convention.

- macs: multiply-accumulates of convolutions, linear layers and matrix products, those of attention included.
- torchprofile: as the tool of that name: macs, one per output element of elementwise products, norms and adaptive
  pooling, four of bilinear resizing. VAN's tables, under the name of FLOPs.
- agent_script: as the authors of Agent Attention counted: module by module, with norms, biases of convolutions, ReLU
  and pooling, and an analytic term for attention. Means something for Agent-Swin and Agent-PVT only.
"""


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network.

    Attributes:
        parameters: all of them, also of parts that only training runs.
        parameters_without_auxiliary: those that the main logits depend on.
        trainable: those that want a gradient.
        parts: parameters of the backbone, the head and, where there is one, the auxiliary head, by name.
        macs: of one image, in `convention`.
        convention: a name of `CONVENTIONS`.
        size: height and width of the image.
    """

    parameters: int
    parameters_without_auxiliary: int
    trainable: int
    parts: tuple[tuple[str, int], ...]
    macs: int
    convention: str
    size: tuple[int, int]

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count:,}" for name, count in self.parts)
        without = ""
        if self.parameters_without_auxiliary != self.parameters:
            without = f", {self.parameters_without_auxiliary:,} without what only training runs"
        height, width = self.size
        return (
            f"{self.parameters:,} parameters ({parts}{without}), "
            f"{self.macs / 1e9:.3f} GMACs at {height}x{width} ({self.convention})"
        )


def complexity(model: Segmenter, size: tuple[int, int], convention: str = "macs") -> Complexity:
    """Count parameters, and the operations of one image of `size` (height, width), in a convention.

    Nothing is computed: it takes seconds at any size, on the CPU, wherever the model is.

    Raises:
        ValueError: an unknown convention; the nearest are offered.
    """
    return complexities(model, size, (convention,))[0]


def complexities(model: Segmenter, size: tuple[int, int], conventions: tuple[str, ...]) -> list[Complexity]:
    """`complexity` in several conventions, from one count."""
    for convention in conventions:
        if convention not in CONVENTIONS:
            raise ValueError(
                f"unknown counting convention {convention!r}: expected one of {', '.join(CONVENTIONS)}."
                + nearest(convention, CONVENTIONS)
            )
    operations, used = count_operations(model, size)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    parts = {"backbone": model.backbone, "head": model.head, "auxiliary head": model.auxiliary_head}
    return [
        Complexity(
            parameters=sum(sizes.values()),
            parameters_without_auxiliary=sum(sizes[name] for name in used),
            trainable=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            parts=tuple(
                (name, sum(p.numel() for p in part.parameters()))
                for name, part in parts.items()
                if isinstance(part, nn.Module)
            ),
            macs=sum(weight * operations[kind] for kind, weight in CONVENTIONS[convention].items()),
            convention=convention,
            size=size,
        )
        for convention in conventions
    ]


Operations = Counter[str]
"""Numbers of operations, by kind.

convolution, linear, matrix_product: multiply-accumulates. convolution_bias, product (elementwise), batch_norm,
layer_norm, group_norm, adaptive_pool, bilinear, relu: output elements. adaptive_pool_input: input elements.
script_attention: the term of Agent Attention's own script, 4 h w a C for agents and 2 h w M^2 C for windows.
"""


def count_operations(model: Segmenter, size: tuple[int, int]) -> tuple[Operations, frozenset[str]]:
    """The operations of one image in evaluation, from the normalised image to logits at its size.

    Works in seconds for any size and any device of the model, which is left untouched. Parts that only training runs
    do not run.

    Args:
        size: height and width of the image.

    Returns:
        The operations, and the names of the parameters that took part.
    """
    with stand_in(model) as shadow:
        used_by_id = {id(parameter): name for name, parameter in shadow.named_parameters()}
        image = torch.empty(1, model.in_channels, *size, dtype=model.mean.dtype)
        counter = _Counter(used_by_id)
        with counter.watching(shadow), counter, _AttentionCounter(counter):
            features = shadow.backbone(image)
            with counter.inside(shadow.head, features):
                logits = shadow.head.main(features)
            resize(logits, size, align_corners=shadow.align_corners)
    return counter.operations, frozenset(counter.used)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, parameters: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Operations = Counter()
        self.used: set[str] = set()
        self._parameters = parameters
        self._modules: list[object] = [None]

    @contextmanager
    def watching(self, model: nn.Module) -> Generator[None]:
        handles = []
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(lambda module, _: self._modules.append(module)))
            handles.append(module.register_forward_hook(lambda module, inputs, _: self._leave(module, inputs)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def inside(self, module: object, *inputs: Any) -> Generator[None]:
        """For a call that is not a module's `forward`."""
        self._modules.append(module)
        yield
        self._leave(module, inputs)

    def _leave(self, module: object, inputs: tuple[Any, ...]) -> None:
        self._modules.pop()
        in_the_paper: Callable[..., dict[str, int]] | None = getattr(module, "paper_operations", None)
        if in_the_paper is not None:
            self.operations.update(in_the_paper(*inputs))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for argument in args:
            if isinstance(argument, Tensor) and id(argument) in self._parameters:
                self.used.add(self._parameters[id(argument)])
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is not None:
            module = self._modules[-1]
            own_products = getattr(module, "counts_products", True)
            for kind, count in formula(args, out).items():
                if not own_products and kind in ("matrix_product", "product"):
                    continue
                linear = kind == "matrix_product" and isinstance(module, nn.Linear)
                self.operations["linear" if linear else kind] += count
        return out


class _AttentionCounter(TorchFunctionMode):
    """Counts scaled dot-product attention in place of computing it."""

    def __init__(self, counter: _Counter) -> None:
        super().__init__()
        self._operations = counter.operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        q, k, v = given["query"], given["key"], given["value"]
        self._operations["matrix_product"] += q.numel() * k.shape[-2] + q.shape[:-1].numel() * k.shape[-2] * v.shape[-1]
        self._operations["product"] += q.numel()
        return q.new_empty(*q.shape[:-1], v.shape[-1])


def _convolution(args: Any, out: Tensor) -> dict[str, int]:
    x, weight, bias, transposed = args[0], args[1], args[2], args[6]
    positions = x if transposed else out
    counts = {"convolution": positions.numel() * prod(weight.shape[1:])}
    return counts if bias is None else {**counts, "convolution_bias": out.numel()}


def _product(first: int) -> Callable[[Any, Tensor], dict[str, int]]:
    """Of matrices (..., n, m) and (..., m, k), the first being argument number `first`."""
    return lambda args, out: {"matrix_product": out.numel() * args[first].shape[-1]}


def _position_attention(args: Any, out: Tensor) -> dict[str, int]:
    q, _, v = args
    return {"matrix_product": (q.numel() + v.numel()) * v.shape[-1]}


def _elements(kind: str) -> Callable[[Any, Any], dict[str, int]]:
    return lambda args, out: {kind: (out[0] if isinstance(out, tuple) else out).numel()}


def _adaptive_pool(args: Any, out: Tensor) -> dict[str, int]:
    return {"adaptive_pool": out.numel(), "adaptive_pool_input": args[0].numel()}


_aten = torch.ops.aten

_FORMULAS: dict[Any, Callable[[Any, Any], dict[str, int]]] = {
    _aten.convolution: _convolution,
    _aten.mm: _product(0),
    _aten.mv: _product(0),
    _aten.bmm: _product(0),
    _aten.addmm: _product(1),
    _aten.baddbmm: _product(1),
    torch.ops.segattn.position_attention: _position_attention,
    _aten.mul: _elements("product"),
    _aten.mul_: _elements("product"),
    _aten.native_batch_norm: _elements("batch_norm"),
    _aten._native_batch_norm_legit: _elements("batch_norm"),
    _aten._native_batch_norm_legit_no_training: _elements("batch_norm"),
    _aten.native_layer_norm: _elements("layer_norm"),
    _aten.native_group_norm: _elements("group_norm"),
    _aten._adaptive_avg_pool2d: _adaptive_pool,
    _aten.upsample_bilinear2d: _elements("bilinear"),
    _aten.relu: _elements("relu"),
    _aten.relu_: _elements("relu"),
}
