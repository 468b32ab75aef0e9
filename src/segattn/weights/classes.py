"""Tensors of a network that have a row for each class, and their order by the classes' names."""

from __future__ import annotations

from functools import cache

from segattn.contracts import Classes, Description, cut, require_same_classes
from segattn.models.segmenter import Segmenter
from segattn.weights.match import network_shapes

_SHOWN = 3


@cache
def class_tensors(network: Description, num_classes: int) -> tuple[str, ...]:
    """The names of the tensors whose first dimension counts the classes: those that one class more makes larger.

    Raises:
        ValueError: the network names a part that does not exist.
    """
    own, larger = (network_shapes(network, count) for count in (num_classes, num_classes + 1))
    names = tuple(name for name, tensor in own.items() if tensor.shape != larger[name].shape)
    assert all(own[name].shape == (num_classes, *larger[name].shape[1:]) for name in names)
    return names


def fit_classes(model: Segmenter, classes: Classes, owner: object, *, by_name: bool) -> str | None:
    """That a model is for the classes of a data set; with `by_name`, after its outputs were put in their order.

    A model whose outputs are put in another order gives the same scores as before, each at the place of its class.

    Args:
        owner: the model's file, or another name for it, for the error.

    Returns:
        In words, what was moved; None if nothing was.

    Raises:
        ValueError: the classes differ, or, with `by_name`, more than in their order; or no description of ours built
            a model whose outputs are to be moved.
    """
    same_names = sorted(model.classes.names) == sorted(classes.names)
    if not by_name or not same_names or model.classes.names == classes.names:
        require_same_classes(owner, model.classes, classes)
        return None
    if model.network is None:
        raise ValueError(f"{owner}: was put together by hand, so which of its tensors belong to classes is not known")
    order = [model.classes.names.index(name) for name in classes.names]
    state = model.state_dict()
    names = class_tensors(model.network, len(classes))
    model.load_state_dict({**state, **{name: state[name][order] for name in names}})
    model.classes = classes
    pairs = enumerate(zip(classes.names, order, strict=True))
    moved = [f"{cut(name)} from {before} to {after}" for after, (name, before) in pairs if after != before]
    more = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
    return f"outputs put in the data set's order of classes: {', '.join(moved[:_SHOWN])}{more}"
