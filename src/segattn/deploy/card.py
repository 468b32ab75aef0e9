"""The model card: what a published model's page says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from segattn.recipes.schema import Recipe
from segattn.recipes.sources import SOURCES

_TITLES = {"miou": "mean IoU", "macc": "mean class accuracy", "aacc": "pixel accuracy"}

_CARD = """\
# {name}

{what}

```python
import segattn

model = segattn.from_pretrained("{name}")
segattn.predict(model, "photo.jpg").save("predictions")
```

## Scores

{scores}

{limits}## Classes

{classes}

## How it was made

- recipe: `{recipe}` (`segattn show {recipe}`; the one that was used is in `config.json`)
- data: {data}, trained on `{train_split}`
- input: RGB, mean {mean} and deviation {std} of values in 0..1{order}
- segattn {version}
{deviations}
## Licence

The weights: {licence}. The data set's own terms hold beside it.
"""


def model_card(recipe: Recipe, description: Mapping[str, Any], name: str) -> str:
    """The README of a published model, with the front matter that the Hugging Face Hub reads.

    Args:
        description: as in the model's file, with `licence` and, where there are scores, `protocol`.
        name: of the repository or folder.
    """
    scores = {key: value for key, value in (description["scores"] or {}).items() if value is not None}
    normalization, paper = description["normalization"], recipe.paper
    front: dict[str, Any] = {
        "license": description["licence"],
        "library_name": "segattn",
        "pipeline_tag": "image-segmentation",
        "tags": ["segattn", "semantic-segmentation"],
    }
    if scores:
        front["model-index"] = [{"name": name.rsplit("/", 1)[-1], "results": [_result(recipe, scores)]}]
    what = f"A semantic segmentation network of segattn: `{recipe.name}`"
    if paper is not None:
        what += f", after [{paper.title}](https://arxiv.org/abs/{paper.arxiv}) ({paper.venue})"
    source = SOURCES.get(recipe.data.dataset)
    deviations = "".join(f"- {text}\n" for text in recipe.deviations)
    card = _CARD.format(
        name=name,
        what=f"{what}.",
        scores=_scores(recipe, scores, description.get("protocol")),
        limits=f"## What it does not know\n\n{source.limits}.\n\n" if source is not None and source.limits else "",
        classes=", ".join(description["classes"]["names"]),
        recipe=recipe.name,
        data=recipe.data.dataset,
        train_split=recipe.data.train_split,
        mean=tuple(round(value, 4) for value in normalization["mean"]),
        std=tuple(round(value, 4) for value in normalization["std"]),
        order=", handed on as blue, green, red" if normalization["bgr"] else "",
        version=description["version"],
        deviations=deviations,
        licence=description["licence"],
    )
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n{card}"


def _scores(recipe: Recipe, scores: Mapping[str, float], protocol: str | None) -> str:
    if not scores:
        return "None were given."
    rows = "\n".join(f"| {_TITLES.get(key, key)} | {value:.2f} % |" for key, value in scores.items())
    return (
        f"On {recipe.data.dataset} `{recipe.data.val_split}`, by the protocol {protocol}.\n\n"
        f"| score | value |\n|---|---|\n{rows}"
    )


def _result(recipe: Recipe, scores: Mapping[str, float]) -> dict[str, Any]:
    return {
        "task": {"type": "image-segmentation", "name": "Semantic segmentation"},
        "dataset": {"type": recipe.data.dataset, "name": recipe.data.dataset, "split": recipe.data.val_split},
        "metrics": [
            {"type": key, "name": _TITLES.get(key, key), "value": round(value, 2)} for key, value in scores.items()
        ],
    }
