"""The trained network whose answers a student learns (arXiv 1503.02531), and what must fit between the two."""

from __future__ import annotations

import hashlib
from typing import cast

import torch
from torch import Tensor, nn

from segattn.contracts import Classes, SegmentationDataset, SegmentationModel, class_difference
from segattn.layers import channels_last, resize
from segattn.losses.terms import Distillation
from segattn.recipes.schema import Recipe


class Teacher:
    """Logits of a trained network for the crops that the student sees, in evaluation mode and without gradients.

    It is no `nn.Module`: neither data parallelism nor a checkpoint of the student has to do with its weights.

    Args:
        model: an `nn.Module` that is a `SegmentationModel`, moved to the device and put into evaluation mode in place.
        dtype: of its convolutions and matrix products, as for the student. Logits are resized in float32.
    """

    def __init__(self, model: nn.Module, *, device: torch.device, dtype: torch.dtype, plain_memory: bool) -> None:
        self._model = model.to(device).eval().requires_grad_(False)
        self._dtype = dtype
        self._memory_format = torch.contiguous_format if plain_memory else torch.channels_last
        if not plain_memory:
            channels_last(self._model)

    def __call__(self, images: Tensor) -> Tensor:
        """RGB (B, 3, H, W) uint8 -> main logits (B, K, H, W) float32, resized as the teacher's own say."""
        model = cast(SegmentationModel, self._model)
        with torch.no_grad():
            x = model.normalize(images).contiguous(memory_format=self._memory_format)
            with torch.autocast(images.device.type, self._dtype, enabled=self._dtype != torch.float32):
                logits = model.logits(x)
            logits = logits.float().contiguous()
            return resize(logits, images.shape[-2:], align_corners=model.align_corners)


def require_teacher(recipe: Recipe, teacher: nn.Module | None, classes: Classes) -> None:
    """That there is a teacher if and only if a loss term listens to it, and that it speaks of the data's classes.

    Raises:
        ValueError: naming the recipe's key, or what differs.
    """
    terms = [index for index, term in enumerate(recipe.losses) if isinstance(term, Distillation)]
    name = recipe.training.teacher
    if teacher is None and name is not None:
        raise ValueError(f"training.teacher {name}: the recipe names a teacher but `train` was given none (teacher=)")
    if teacher is None:
        if terms:
            raise ValueError(
                f"losses.{terms[0]}: a Distillation term learns from a teacher; set training.teacher to a trained"
                " model's .safetensors or to the name of a recipe whose weights ship, or remove the term"
            )
        return
    owner = "the teacher" if name is None else f"training.teacher {name}"
    if not terms:
        raise ValueError(
            f"{owner}: no loss term learns from it; add {{kind: Distillation}} to losses, or set training.teacher null"
        )
    own = getattr(teacher, "classes", None)
    difference = class_difference(own, classes, "the data set") if isinstance(own, Classes) else None
    if difference is not None:
        raise ValueError(f"{owner}: {difference}; take a teacher of the same classes in the same order")


def require_unlabelled(recipe: Recipe, unlabelled: SegmentationDataset | None) -> None:
    """That there are images without labels if and only if they have a share of the batches and a term that they teach.

    Raises:
        ValueError: naming the recipe's key.
    """
    data = recipe.data
    if unlabelled is None and not data.unlabelled_share:
        return
    if unlabelled is None:
        raise ValueError(
            f"data.unlabelled_share {data.unlabelled_share:g}: there are no images for it; set data.unlabelled to a"
            " folder of images, or the share to 0"
        )
    owner = "the unlabelled images" if data.unlabelled is None else f"data.unlabelled {data.unlabelled}"
    if not data.unlabelled_share:
        raise ValueError(
            f"{owner}: data.unlabelled_share 0 takes none of them; set it to their part of every batch, such as 0.25"
        )
    if not any(isinstance(term, Distillation) for term in recipe.losses):
        raise ValueError(
            f"{owner}: no loss term learns from images without labels; add {{kind: Distillation}} to losses and set"
            " training.teacher"
        )


def checksum(model: nn.Module) -> str:
    """Of a model's weights (sha256, in hexadecimal digits), by which a continued run knows its teacher again."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
