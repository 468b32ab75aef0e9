"""The model of segattn predict, and the record of what its results come from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import (
    EXPORTED,
    check_engine,
    check_fold,
    find_protocol,
    open_exported_model,
    open_model,
    ready,
)

if TYPE_CHECKING:
    import torch

    from segattn.evaluation.protocol import Protocol
    from segattn.exporting.exported import ExportedModel
    from segattn.models.segmenter import Segmenter
    from segattn.recipes.schema import Recipe


def opened_model(
    arguments: argparse.Namespace, overrides: dict[str, str], device: torch.device | None
) -> tuple[Recipe, Protocol, Segmenter | ExportedModel]:
    """The model, and how it looks at images; an exported file has no device.

    Raises:
        ValueError: the protocol takes PyTorch, which is not installed; or as `open_model` and `find_protocol`.
    """
    from segattn.exporting.exported import for_protocol

    model: Segmenter | ExportedModel
    if device is not None:
        recipe, network = open_model(arguments.model, arguments.weights, overrides)
        model = ready(network, arguments).to(device)
        return recipe, find_protocol(recipe, arguments.protocol or "whole", overrides), model
    recipe, file = open_exported_model(arguments.model, arguments.weights, overrides)
    check_engine(arguments)
    check_fold(arguments)
    protocol = find_protocol(recipe, arguments.protocol or "whole", overrides)
    for_protocol(file, protocol)  # to refuse early
    return recipe, protocol, file


def made_by(
    arguments: argparse.Namespace, model: Segmenter | ExportedModel, protocol: Protocol, about: str
) -> dict[str, Any]:
    """What results come from: others are not taken for finished."""
    return {
        "model": about,
        "weights": _weights(arguments, model),
        "protocol": protocol.describe(),
        "size": arguments.size,
        "engine": arguments.engine,
        "confidence": arguments.confidence,
        "max_memory": arguments.max_memory,
        "tint_all": arguments.tint_all,
    }


def _weights(arguments: argparse.Namespace, model: Segmenter | ExportedModel) -> str:
    """The checksum of an exported file, and of other models that of what they compute with."""
    from segattn.exporting.exported import ExportedModel

    if isinstance(model, ExportedModel) or arguments.model.endswith(EXPORTED):
        from segattn.files import checksum

        return checksum(Path(arguments.model))
    from segattn.exporting.engine_file import network_digest

    return network_digest(model)
