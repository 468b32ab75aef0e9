"""What the events of the page do, without a browser: upload in, values for the page out."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segattn.contracts import cut
from segattn.explaining.view import View
from segattn.pictures import write_image
from segattn.serve.content import Choice, asked, labelled, looked_at
from segattn.serve.limits import Limits, read_upload
from segattn.serve.shelf import Shelf
from segattn.serve.worker import SupersededError, Worker
from segattn.synthetic.write import draw_street

_SAMPLE = (480, 640)
_VISITORS = 1000


class Held(NamedTuple):
    """A visitor's image: the folder of its files, which may be gone, the file in it, and the visitor's name for it."""

    folder: Path
    file: Path
    name: str


@dataclass
class Visitor:
    """A browser's page.

    Attributes:
        held: its image.
        labels, pixel: the number of the last request for labels, and about a pixel.
    """

    held: Held | None = None
    labels: int = 0
    pixel: int = 0


class Desk:
    """Takes images and answers questions about them.

    `label` and `ask` give values for the page and never raise: what is wrong is said in them, as "error". Each value
    has a "serial" of its own, so that the page sees that an answer is new, even if it says the same. Of a visitor's
    requests for labels only the last is answered, and so it is with those about a pixel, which new labels supersede
    too; the others give None.

    Args:
        folder: where uploads and results lie.
    """

    def __init__(self, choices: Sequence[Choice], limits: Limits, folder: Path) -> None:
        self.choices = {choice.name: choice for choice in choices}
        self.limits = limits
        self.uploads = folder.resolve()
        self.shelf = Shelf(self.uploads / "shelf")
        self.worker = Worker(limits.queue, limits.timeout)
        self._numbers = count(1)
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()

    def take(self, visitor: str, path: object, name: object) -> None:
        """Take an upload from where Gradio put it; it is the visitor's image from now on.

        Raises:
            ValueError: the path is none of an upload: it comes from the browser, which may send any.
        """
        try:
            file = Path(str(path)).resolve()
            of_ours = file.is_relative_to(self.uploads) and not file.is_relative_to(self.shelf.folder)
        except (OSError, ValueError):  # links in a circle, a null byte
            of_ours = False
        if not of_ours or not file.is_file():
            raise ValueError("the file did not arrive; choose it again")
        entry = self.shelf.add()
        held = Held(entry, file.rename(entry / "upload"), cut(Path(str(name)).name) or "image")
        self._visitor(visitor).held = held

    def draw_sample(self, visitor: str) -> None:
        """Draw a street, another one each time; it is the visitor's image from now on."""
        number = next(self._numbers)
        entry = self.shelf.add()
        write_image(entry / "upload.png", draw_street(np.random.default_rng(number), _SAMPLE)[0])
        self._visitor(visitor).held = Held(entry, entry / "upload.png", f"street-{number}.png")

    def label(self, visitor: str, names: Sequence[str]) -> dict[str, Any] | None:
        """What `content.labelled` says of the visitor's image; nothing, {}, without one."""
        page = self._visitor(visitor)
        held = page.held
        if held is None:
            return {}
        page.labels = page.pixel = number = next(self._numbers)

        def work() -> dict[str, Any]:
            choices = self._chosen(names)
            photo = read_upload(self._kept(held), held.name, self.limits)
            return labelled(choices, photo, self._fresh(held, "labels"))

        said = self._said(work, (visitor, "labels"))
        return said if page.labels == number else None

    def ask(self, visitor: str, names: Sequence[str], at: object) -> Iterator[dict[str, Any] | None]:
        """What `content.asked` says of a pixel [y, x]: first its scores, then with figures."""
        page = self._visitor(visitor)
        held = page.held
        page.pixel = number = next(self._numbers)
        choices: list[Choice] = []
        views: list[View] = []

        def scores() -> dict[str, Any]:
            if held is None:
                raise ValueError("choose an image first")
            pixel = _pixel(at)
            choices.extend(self._chosen(names))
            photo = read_upload(self._kept(held), held.name, self.limits)
            views.extend(looked_at(choices, photo, pixel))
            return asked(choices, views, None)

        def figures() -> dict[str, Any]:
            assert held is not None
            self._kept(held)
            return asked(choices, views, self._fresh(held, "pixel"))

        for work in (scores, figures):
            said = self._said(work, (visitor, "pixel"))
            if page.pixel != number:
                yield None
                return
            yield said
            if said is None or "error" in said:
                return

    def refused(self, words: str) -> dict[str, Any]:
        """The answer that something is wrong."""
        return {"serial": next(self._numbers), "error": words}

    def close(self) -> None:
        """Start nothing more."""
        self.worker.close()

    def _visitor(self, key: str) -> Visitor:
        """The visitor of that key; who came first is forgotten where there are many."""
        visitor = self._visitors.setdefault(key, Visitor())
        self._visitors.move_to_end(key)
        while len(self._visitors) > _VISITORS:
            self._visitors.popitem(last=False)
        return visitor

    def _kept(self, held: Held) -> Path:
        if not held.file.is_file():
            raise ValueError(f"{held.name}: is not kept any longer; choose it again")
        return held.file

    def _fresh(self, held: Held, kind: str) -> Path:
        """An empty folder for results, in the place of the last one of its kind."""
        for old in held.folder.glob(f"{kind}-*"):
            shutil.rmtree(old, ignore_errors=True)
        folder = held.folder / f"{kind}-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def _chosen(self, names: Sequence[str]) -> list[Choice]:
        choices = [choice for name, choice in self.choices.items() if name in names]
        if not choices:
            raise ValueError("choose a model")
        return choices

    def _said(self, work: Callable[[], dict[str, Any]], key: tuple[str, str]) -> dict[str, Any] | None:
        try:
            return {"serial": next(self._numbers), **self.worker.run(work, key)}
        except SupersededError:
            return None
        except Exception as error:
            words = _in_words(error)
            if words is None:
                traceback.print_exception(error, file=sys.stderr)
                words = "something went wrong that should not; the terminal of `segattn app` says what"
            return self.refused(words)


def _in_words(error: Exception) -> str | None:
    """What visitors are told of an error, or None if it is one of ours."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
        return "there is not enough memory for this image here; a smaller one needs less"
    return str(error) if isinstance(error, ValueError) else None


def _pixel(at: object) -> tuple[int, int]:
    """(y, x) from what a browser sent."""
    if isinstance(at, list) and len(at) == 2 and all(type(value) is int for value in at):
        return at[0], at[1]
    raise ValueError("a pixel is two whole numbers, y and x")
