"""Network and augmentation of a recipe for images of other bands than red, green and blue of 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from segattn.contracts import cut
from segattn.models.networks import Network
from segattn.normalization import BandFacts
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import override
from segattn.transforms.compose import RGB_ONLY

_RANGE = "network.normalization.value_range"
_SHOWN = 6


def fit_bands(
    recipe: Recipe, bands: BandFacts | None, given: Mapping[str, str]
) -> tuple[Recipe, list[tuple[str, str, str]]]:
    """The recipe with a network for these bands, and without what is made for RGB.

    Args:
        bands: None for RGB of 8 bits, for which the recipe stays as it is.
        given: fields that somebody set, by path, as for `fit_recipe`.

    Returns:
        The recipe, and of each change the field, its value, and why.

    Raises:
        ValueError: the network takes RGB only, or it is not known which values are 0 and 1.
    """
    if bands is None:
        return recipe, []
    network = recipe.network
    if "in_channels" not in {field.name for field in fields(network)}:
        raise ValueError(f"network {type(network).__name__}: takes RGB images only, and dataset.yaml names bands")
    stated = override(recipe, {_RANGE: given[_RANGE]}).network.normalization.value_range if _RANGE in given else None
    normalization = bands.normalization(stated)
    channels = len(bands.numbers)
    kept = tuple(transform for transform in recipe.augmentation if not isinstance(transform, RGB_ONLY))
    left = [type(transform).__name__ for transform in recipe.augmentation if isinstance(transform, RGB_ONLY)]
    low, high = normalization.value_range or (0, 1)
    rows = [
        ("network.in_channels", str(channels), f"dataset.yaml: bands {cut(', '.join(map(str, bands.numbers)))}"),
        (_RANGE, f"[{low:g}, {high:g}]", "given" if stated else f"what {bands.kinds[0]} holds"),
        (
            "network.normalization.mean",
            _listed(normalization.mean),
            f"and std {_listed(normalization.std)}, of {bands.images} training images",
        ),
    ]
    if left:
        rows.append(("augmentation", f"without {', '.join(left)}", "made for RGB of 8 bits"))
    changed = replace(network, in_channels=channels, normalization=normalization)
    return replace(recipe, network=changed, augmentation=kept), rows


def require_bands_augmentation(recipe: Recipe) -> None:
    """That the augmentation can be applied to the images of the recipe's network.

    Raises:
        ValueError: they are taken as they are stored, and a transform is made for RGB of 8 bits.
    """
    if not recipe.network.normalization.stored:
        return
    for index, transform in enumerate(recipe.augmentation):
        if isinstance(transform, RGB_ONLY):
            raise ValueError(
                f"augmentation.{index} {type(transform).__name__}: made for RGB of 8 bits, and the network takes "
                f"{len(recipe.network.normalization.mean)} bands as they are stored; leave it out of the recipe"
            )


def same_but_for_bands(known: Network, wanted: Network) -> bool:
    """Whether two networks are the same but for the images that they take, for which weights can be inflated."""
    if type(known) is not type(wanted) or "in_channels" not in {field.name for field in fields(known)}:
        return known == wanted
    return known == replace(wanted, in_channels=known.in_channels, normalization=known.normalization)


def _listed(values: tuple[float, ...]) -> str:
    more = f", ... {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return f"[{', '.join(f'{value:.3g}' for value in values[:_SHOWN])}{more}]"
