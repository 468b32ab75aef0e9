"""Models on the Hugging Face Hub: publish one with its card, and load one.

A model is three files: `model.safetensors`, which is complete in itself, `config.json` with the same description for
people and for the hub, and `README.md`, the model card.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from segattn.api import load_model
from segattn.datasets.catalog import SOURCES
from segattn.evaluation.protocol import Protocol
from segattn.files import write_file
from segattn.models.segmenter import Segmenter
from segattn.recipes.schema import Recipe
from segattn.weights.checkpoint import describe_model, save_model

WEIGHTS = "model.safetensors"


def from_pretrained(source: str | Path, *, revision: str | None = None) -> Segmenter:
    """A published model of ours, in evaluation mode.

    Args:
        source: `OWNER/NAME` on the hub, or a folder: a `Path`, or text that names one or starts with `.`, `/` or `~`.
        revision: a branch, tag or commit on the hub instead of its main branch.

    Raises:
        FileNotFoundError: no such folder, or no such model on the hub.
        ConnectionError: the hub can't be reached and the model is not in its cache.
        ValueError: it is no model of ours.
    """
    return load_model(find_model(source, revision=revision))[1]


def find_model(source: str | Path, *, revision: str | None = None) -> Path:
    """The local file of a published model, for `segattn.load_model`; arguments and errors as `from_pretrained`."""
    folder = _folder(source)
    if folder is not None:
        if not (folder / WEIGHTS).is_file():
            raise FileNotFoundError(f"{folder / WEIGHTS}: no such file; expected a folder that `push_to_hub` wrote")
        return folder / WEIGHTS
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(hf_hub_download(str(source), WEIGHTS, revision=revision))
    except HFValidationError:
        raise ValueError(f"{source}: neither a folder nor OWNER/NAME on the hub") from None
    except LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"{source}: the Hugging Face Hub can't be reached, and the model is not in its cache ({_first_line(error)})"
        ) from None
    except RepositoryNotFoundError:
        raise FileNotFoundError(
            f"{source}: no such model on the Hugging Face Hub, or a private one; `hf auth login` shows yours"
        ) from None
    except RevisionNotFoundError:
        raise FileNotFoundError(f"{source}: it has no revision {revision!r} on the Hugging Face Hub") from None
    except EntryNotFoundError:
        raise ValueError(f"{source}: it has no {WEIGHTS}; expected a repository that `push_to_hub` wrote") from None


def push_to_hub(
    model: Segmenter,
    recipe: Recipe,
    target: str | Path,
    *,
    licence: str,
    scores: Mapping[str, float | None] | None = None,
    protocol: Protocol | None = None,
    private: bool = False,
) -> str:
    """Publish a model with its recipe, classes, score and licence; returns where it is.

    Args:
        target: as `from_pretrained`'s source; a repository or folder that does not exist is made.
        licence: of the weights, as the hub writes it, e.g. "apache-2.0". The data set's terms may bind it.
        scores: in percent on the recipe's validation split, e.g. {"miou": 71.2}.
        protocol: what they were measured by; by default the recipe's `validation`, as during training.
        private: make a new repository private.

    Raises:
        ConnectionError: the hub can't be reached or refuses.
        ValueError: a module that `segattn.wrap` put in, which nobody's `from_pretrained` could build.
    """
    if model.foreign is not None:
        raise ValueError(
            f"{target}: a wrapped {model.foreign} is not published, as no recipe builds it; publish the module itself"
            " by its own library"
        )
    description = describe_model(recipe, model.classes, scores=scores, temperature=model.temperature)
    if scores is not None:
        description["protocol"] = (protocol or recipe.validation).describe()
    description["licence"] = licence
    folder = _folder(target)
    if folder is not None:
        _write(folder, model, recipe, description, str(target))
        return str(folder)
    with tempfile.TemporaryDirectory() as temporary:
        _write(Path(temporary), model, recipe, description, str(target))
        return _upload(Path(temporary), str(target), private)


def _folder(place: str | Path) -> Path | None:
    if isinstance(place, Path) or place.startswith((".", "/", "~")) or Path(place).is_dir():
        return Path(place).expanduser()
    return None


def _write(folder: Path, model: Segmenter, recipe: Recipe, description: dict[str, object], name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / WEIGHTS, model, description)
    (folder / WEIGHTS).with_suffix(".json").replace(folder / "config.json")
    text = json.dumps(description)  # the card sees what a reader of the file sees
    write_file(folder / "README.md", model_card(recipe, json.loads(text), name).encode())


def _upload(folder: Path, repository: str, private: bool) -> str:
    from huggingface_hub import HfApi

    client = HfApi()
    try:
        client.create_repo(repository, private=private, exist_ok=True)
        client.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a segattn model")
    except Exception as error:  # the client lets errors of several HTTP libraries through
        raise ConnectionError(
            f"{repository}: can't be published on {client.endpoint} ({_first_line(error)}); is the name OWNER/NAME, "
            "and did you log in with `hf auth login`?"
        ) from error
    return f"{client.endpoint}/{repository}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
- input: {input}, mean {mean} and deviation {std} of values in 0..1{order}
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
        input=_input(normalization),
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


def _input(normalization: Mapping[str, Any]) -> str:
    """In words, what the network takes, of a description's normalisation; older ones know RGB alone."""
    known = normalization.get("value_range")
    scale = "" if known is None else f" as they are stored ({known[0]:g} is 0 and {known[1]:g} is 1)"
    return f"{len(normalization['mean'])} bands{scale}" if scale or len(normalization["mean"]) != 3 else "RGB"
