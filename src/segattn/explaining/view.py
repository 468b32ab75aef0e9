"""What `segattn.explain` gives: arrays by name, figures of them, and one page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes
from segattn.explaining.drawing import draw
from segattn.explaining.page import render
from segattn.explaining.panels import Array, Panel, Pixel, Target
from segattn.explaining.sheet import draw_sheet
from segattn.files import write_file
from segattn.reports.origin import Origin


@dataclass(frozen=True, eq=False)
class View:
    """What a network looked at for one pixel of an image.

    Attributes:
        name: of the files.
        title: of the page.
        image: (H, W, 3) uint8, RGB.
        target: the asked pixel and the image's size.
        labels: (H, W) uint8 training ids, as `segattn.predict` gives them.
        classes: what the ids stand for.
        origin: protocol, device and the rest of what the page's head says.
        seen: (height, width) of the network's input.
        arrays: by name; see `segattn.explain`.
        panels: what is drawn, each with its unit and what it means.
    """

    name: str
    title: str
    image: NDArray[np.uint8] = field(repr=False)
    target: Target
    labels: NDArray[np.uint8] = field(repr=False)
    classes: Classes = field(repr=False)
    origin: Origin = field(repr=False)
    seen: tuple[int, int]
    arrays: dict[str, Array] = field(repr=False)
    panels: list[Panel] = field(repr=False)

    @property
    def protocol(self) -> str:
        """How the image was brought to the network, in words."""
        return self.origin.protocol or ""

    @property
    def at(self) -> Pixel:
        """The asked pixel, (y, x)."""
        return self.target.y, self.target.x

    @property
    def label(self) -> str:
        """The name of the class that the asked pixel was given."""
        return self.classes.names[int(self.labels[self.at])]

    def page(self) -> str:
        """The text of one HTML page that needs nothing else; a click on its image changes the pixel."""
        return render(self)

    def sheet(self, names: Sequence[str]) -> bytes:
        """One JPEG with the image, its labels and the panels of these names, 1 to 6 of `panels`, two a row.

        Raises:
            ValueError: none, too many, or a panel that the view has not (with those that it has).
        """
        return draw_sheet(self, names)

    def save(self, folder: str | Path) -> list[Path]:
        """Write NAME_explain.html, NAME_explain.npz with all arrays, and NAME_PANEL.png for each panel.

        Returns:
            The files, in that order; each is written whole or not at all.

        Raises:
            OSError: the folder can't be written to.
        """
        folder = Path(folder)
        packed = io.BytesIO()
        arrays: dict[str, Any] = self.arrays
        np.savez_compressed(packed, **arrays)  # NumPy 2.0 would take allow_pickle for an array's name
        files = {f"{self.name}_explain.html": self.page().encode(), f"{self.name}_explain.npz": packed.getvalue()}
        for panel in self.panels:
            files[f"{self.name}_{panel.name}.png"] = draw(panel, self.image, self.target)
        for name, data in files.items():
            write_file(folder / name, data)
        return [folder / name for name in files]
