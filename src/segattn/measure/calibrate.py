"""Fit a temperature while a split is scored, and write the model with it."""

from __future__ import annotations

from pathlib import Path

from segattn.api import open_split
from segattn.contracts import Sample, SegmentationDataset
from segattn.datasets.base import images_of_both
from segattn.evaluation.protocol import Protocol, meaning_of
from segattn.evaluation.score_map import ScoreMap
from segattn.evaluation.temperature import PixelSample, PixelSampler, fit_temperature
from segattn.files import require_unread
from segattn.processes import gathered
from segattn.recipes.schema import Recipe
from segattn.weights.checkpoint import require_description, save_calibrated


class Fitting:
    """The fit of one temperature: made before the scoring, fed by it, finished after it.

    Args:
        source: the model's file.
        output: the file to write, which is another.
        trained_split: of the recipe's data, which the model was trained on.
        split: the name of `dataset`.
        protocol: by which it is scored.

    Raises:
        ValueError: the model's file is none of ours, or is the output; the protocol gives no logits; or the
            split has images that the model was trained on.
    """

    def __init__(
        self,
        source: Path,
        output: Path,
        *,
        recipe: Recipe,
        trained_split: str,
        split: str,
        dataset: SegmentationDataset,
        protocol: Protocol,
    ) -> None:
        require_description(source)
        require_unread([output], [source])
        if meaning_of(protocol) != "logits":
            raise ValueError(
                f"a temperature is of logits, which the protocol {protocol.describe().partition(':')[0]} does not give;"
                " take one of a single view, or one that averages logits, such as whole or slide_512"
            )
        _require_unseen(recipe, trained_split, split, dataset)
        self.source, self.output, self.protocol = source, output, protocol
        self.data, self.images = f"{recipe.data.dataset} {split}", len(dataset)
        self._sampler = PixelSampler(self.images, len(dataset.classes))
        self._sample: PixelSample | None = None

    def take(self, index: int, sample: Sample, scored: ScoreMap) -> None:
        """Draw pixels of one image: `on_scores` of `evaluate`."""
        self._sampler.add(index, sample, scored)

    def gather(self) -> None:
        """Put the processes' pixels together; every process calls this."""
        self._sample = PixelSample.join(gathered(self._sampler.sample()))

    def finish(self, temperature: float) -> str:
        """Fit, write the file, and say so in some lines.

        Args:
            temperature: that the model had so far.

        Raises:
            ValueError: the pixels give none.
            OSError: the file can't be written.
        """
        assert self._sample is not None
        fitted = fit_temperature(self._sample)
        before, after = self._sample.calibration(temperature), self._sample.calibration(fitted)
        pixels = len(self._sample.truth)
        how = {
            "data": self.data,
            "protocol": self.protocol.describe(),
            "images": self.images,
            "pixels": pixels,
            "ece_before": before.ece,
            "ece_after": after.ece,
            "nll_before": before.nll,
            "nll_after": after.nll,
        }
        self.output.parent.mkdir(parents=True, exist_ok=True)
        save_calibrated(self.source, self.output, fitted, how)
        return (
            f"temperature {fitted:.4g}, fitted on {pixels:,} pixels of {self.data}, at most {self._sampler.pixels:,} of"
            " an image, drawn by a fixed seed\n"
            f"  of these pixels: ECE {before.ece:.2f} before and {after.ece:.2f} after, "
            f"NLL {before.nll:.4f} before and {after.nll:.4f} after\n"
            f"{self.output}: the model with this temperature"
        )


def _require_unseen(recipe: Recipe, trained: str, split: str, dataset: SegmentationDataset) -> None:
    try:
        seen = images_of_both(dataset, open_split(recipe, trained))
    except (ValueError, OSError):  # that split is not here
        return
    if seen:
        raise ValueError(
            f"no temperature can be fitted on {split}: {len(seen)} of its {len(dataset)} images ({seen[0].name}, ...)"
            f" are in {trained}, on which the model was trained, and of those it is right too often; take another split"
        )
