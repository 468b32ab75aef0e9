"""Attention-based semantic segmentation: AttaNet, DANet, ACFNet, VAN and Agent Attention on today's PyTorch.

    import segattn

    model = segattn.create_model("attanet_lite0_camvid", weights="default")
    result = segattn.predict(model, "photo.jpg")
    result.save("predictions")

The public API is what `__all__` names. It is imported on first use, so that `import segattn` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segattn.api import create_model, load_model
    from segattn.contracts import Classes, Sample
    from segattn.datasets.catalog import open_dataset
    from segattn.datasets.folder import FolderDataset
    from segattn.datasets.mapped import as_dataset
    from segattn.evaluation.evaluate import evaluate
    from segattn.evaluation.metrics import Scores
    from segattn.evaluation.protocol import Protocol, protocol
    from segattn.explaining.explain import explain
    from segattn.exporting.export import export
    from segattn.hub import from_pretrained, push_to_hub
    from segattn.models.build import build
    from segattn.models.segmenter import Segmenter
    from segattn.models.wrapped import wrap
    from segattn.normalization import Normalization
    from segattn.predicting.predict import predict
    from segattn.predicting.prediction import Prediction
    from segattn.predicting.raster.label import predict_raster
    from segattn.predicting.video.label import predict_video
    from segattn.recipes.catalog import list_recipes, recipe
    from segattn.recipes.schema import Recipe
    from segattn.runs import train
    from segattn.training.loader import collate
    from segattn.training.loggers import Logger
    from segattn.weights.load import load_backbone, load_weights

__version__ = "0.1.0"

_HOMES = {
    "build": "models.build",
    "create_model": "api",
    "load_model": "api",
    "open_dataset": "datasets.catalog",
    "FolderDataset": "datasets.folder",
    "as_dataset": "datasets.mapped",
    "Sample": "contracts",
    "collate": "training.loader",
    "Logger": "training.loggers",
    "Prediction": "predicting.prediction",
    "predict": "predicting.predict",
    "predict_video": "predicting.video.label",
    "predict_raster": "predicting.raster.label",
    "explain": "explaining.explain",
    "evaluate": "evaluation.evaluate",
    "export": "exporting.export",
    "Scores": "evaluation.metrics",
    "Protocol": "evaluation.protocol",
    "protocol": "evaluation.protocol",
    "Segmenter": "models.segmenter",
    "wrap": "models.wrapped",
    "Classes": "contracts",
    "Normalization": "normalization",
    "list_recipes": "recipes.catalog",
    "recipe": "recipes.catalog",
    "Recipe": "recipes.schema",
    "train": "runs",
    "load_weights": "weights.load",
    "load_backbone": "weights.load",
    "from_pretrained": "hub",
    "push_to_hub": "hub",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'segattn' has no attribute {name!r}")
    value = getattr(import_module(f"segattn.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
