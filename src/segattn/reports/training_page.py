"""A run as one page to look at: its curves, and how the predictions for a few images came to be."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from segattn.reports.page import printable, write_html
from segattn.training.samples import steps_with_images


def write_page(run_folder: str | Path) -> Path:
    """Write `training.html` beside the curves that `draw_curves` left in a run's folder.

    The page refers to the images there, so the folder is to be moved as a whole. A slider goes through the
    validations; without scripts the last one is shown.

    Raises:
        OSError: the folder can't be written to.
    """
    folder = Path(run_folder)
    validations = [
        (step, {printable(file.stem): quote(os.fsencode(file.relative_to(folder).as_posix())) for file in files})
        for step, files in steps_with_images(folder).items()
        if files
    ]
    return write_html(
        folder / "training.html",
        "training",
        title=folder.resolve().name,
        validations=validations,
        names=sorted({name for _, files in validations for name in files}),
    )
