"""Which part of a network the time goes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from segattn.layers import resize
from segattn.models.segmenter import Segmenter

_NO_FORWARD = nn.Module.forward


class Watch(TorchFunctionMode):
    """Stamps the time wherever one part of a network hands over to another.

    Parts: "normalisation"; the backbone's own children that are more than a single layer, by name; each kind of module
    of `segattn.attention`, wherever it stands; "resizing", wherever it happens; and what is left of backbone and head.
    They don't overlap: time belongs to the innermost part that is running.

    Args:
        stamp: the time now, in any form.
        between: seconds from one stamp to another.
    """

    def __init__(self, model: Segmenter, stamp: Callable[[], Any], between: Callable[[Any, Any], float]) -> None:
        super().__init__()
        self._model = model
        self._stamp = stamp
        self._between = between
        self._open: list[str] = ["rest"]
        self._marks: list[tuple[str, Any]] = []

    def seconds(self, images: Tensor) -> dict[str, float]:
        """Seconds of each part in one pass over the images, from pixels to logits at their size."""
        model, handles = self._model, list(self._hooks())
        try:
            with self:
                x = self._inside("normalisation", model.normalize, images)
                features = self._inside("backbone, the rest", model.backbone, x)
                logits = self._inside("head, the rest", model.head.main, features)
                resize(logits, images.shape[-2:], align_corners=model.align_corners)
        finally:
            for handle in handles:
                handle.remove()
        self._marks.append(("end", self._stamp()))
        seconds: dict[str, float] = {}
        for (part, start), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            if part != "rest":
                seconds[part] = seconds.get(part, 0.0) + self._between(start, end)
        return seconds

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.interpolate:
            return self._inside("resizing", func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _inside(self, part: str, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._enter(part)
        out = run(*args, **kwargs)
        self._leave()
        return out

    def _enter(self, part: str) -> None:
        self._open.append(part)
        self._marks.append((part, self._stamp()))

    def _leave(self) -> None:
        self._open.pop()
        self._marks.append((self._open[-1], self._stamp()))

    def _hooks(self) -> Iterator[RemovableHandle]:
        for part, module in watched_modules(self._model):
            yield module.register_forward_pre_hook(lambda *_, part=part: self._enter(part))  # type: ignore[misc]
            yield module.register_forward_hook(lambda *_: self._leave())


def watched_modules(model: Segmenter) -> list[tuple[str, nn.Module]]:
    """The modules that are parts of their own, with the part's name."""
    assert isinstance(model.backbone, nn.Module)
    found = [(f"backbone {name}", stage) for name, stage in _stages(model.backbone)]
    inside: set[nn.Module] = set()
    for module in model.modules():
        idea = next((kind for kind in type(module).__mro__ if kind.__module__.startswith("segattn.attention.")), None)
        if idea is not None and module not in inside:
            found.append((f"attention {idea.__name__}", module))
            inside.update(module.modules())
    return found


def _stages(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if type(child).forward is _NO_FORWARD:  # a list of modules, which nobody calls
            yield from ((f"{name}.{inner}", stage) for inner, stage in _stages(child))
        elif any(True for _ in child.children()):
            yield name, child
