"""segattn's recipes for `torch.hub`.

    import torch

    torch.hub.list("OWNER/segattn")
    model = torch.hub.load("OWNER/segattn", "attanet_light_camvid", weights="default")

Each entry is a recipe's name, and takes `num_classes=` and `weights=` as `segattn.create_model` does.
"""

# torch.hub takes every name without an underscore for an entry.
import sys as _sys
from collections.abc import Callable as _Callable
from pathlib import Path as _Path
from typing import Any as _Any

dependencies = ["torch", "numpy", "cv2", "PIL", "safetensors", "yaml", "rich", "filelock"]

_sys.path.append(str(_Path(__file__).parent / "src"))  # last: an installed segattn goes first

import segattn as _segattn  # noqa: E402


def _entry(recipe: str) -> _Callable[..., _Any]:
    def load(num_classes: int | None = None, weights: str | None = None) -> _Any:
        return _segattn.create_model(recipe, num_classes=num_classes, weights=weights)

    load.__doc__ = f"The network of the recipe {recipe}: see segattn.create_model."
    return load


globals().update({_name: _entry(_name) for _name in _segattn.list_recipes()})
