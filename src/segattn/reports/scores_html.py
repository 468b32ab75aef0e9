"""Scores as one HTML page without scripts or outside resources. `scores.py` decides what is shown."""

from __future__ import annotations

import math
from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes
from segattn.evaluation.metrics import ClassScore, Scores
from segattn.pictures import UNLABELLED, WRONG
from segattn.reports.highlights import Groups
from segattn.reports.style import STYLE

if TYPE_CHECKING:
    from segattn.reports.highlights import ImageResult


Colour = tuple[int, int, int]


Shares = NDArray[np.float64]


_RIGHT, _CONFUSED = (36, 87, 166), (214, 72, 40)


_NUMBERED = 30
"""Classes up to which the confusion matrix is a table of numbers; above it is a picture."""


_SCROLLED = 40
"""Classes from which the table of classes scrolls in a box."""


_PAIRS, _MORE_PAIRS = 10, 25


_CHIPS = 14
"""Classes at most that are named below an image."""


def page(scores: Scores, classes: Classes, groups: Groups[ImageResult], *, title: str, protocol: str) -> str:
    """The whole document.

    Args:
        classes: names and colours, in the order of the confusion matrix.
        groups: the images to show.
        protocol: "name: setting, setting, ..." as `Protocol.describe` says it.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{_head(scores, title, protocol)}
{_class_section(scores, classes)}
{_confusion_section(scores, classes)}
{_image_section(groups, classes)}
</main>
</body>
</html>
"""


def _head(scores: Scores, title: str, protocol: str) -> str:
    name, _, settings = protocol.partition(": ")
    words = "".join(f"<span>{escape(word)}</span>" for word in settings.split(", ") if word)
    pixels = int(scores.confusion.sum())
    tiles = [
        ("mIoU", "mean IoU over classes, %", scores.miou, " main"),
        ("mAcc", "mean accuracy over classes, %", scores.macc, ""),
        ("aAcc", "right pixels, %", scores.aacc, ""),
    ]
    shown = "".join(
        f'<div class="score{kind}" title="{what}"><span>{label}</span><b>{_number(value)}</b></div>'
        for label, what, value, kind in tiles
    )
    shown += f'<div class="score"><span>images</span><b>{len(scores.images):,}</b></div>'
    return (
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="quiet">{len(scores.class_names)} classes, {pixels:,} labelled pixels</p>\n'
        f'<div class="scores">{shown}</div>\n'
        f'<div class="protocol"><span class="name">{escape(name)}</span>{words}</div>'
    )


def _class_section(scores: Scores, classes: Classes) -> str:
    total = max(int(scores.confusion.sum()), 1)
    rows = "\n".join(
        _class_row(name, score, colour, total)
        for (name, score), colour in zip(scores.per_class.items(), classes.palette, strict=True)
    )
    box = "scroll tall" if len(classes) >= _SCROLLED else "scroll"
    return f"""<section>
<h2>Classes</h2>
<p class="quiet">IoU is the thick bar, accuracy (the share of a class's pixels that were found) the thin one.</p>
{_absent_note(scores)}<div class="{box}"><table class="classes">
<thead><tr><th>class</th><th class="bars"></th><th class="num">IoU</th><th class="num">accuracy</th>
<th class="num">of pixels</th></tr></thead>
<tbody>
{rows}
</tbody>
<tfoot><tr><td>mean</td><td class="bars"></td><td class="num">{_number(scores.miou)}</td>
<td class="num">{_number(scores.macc)}</td><td></td></tr></tfoot>
</table></div>
</section>"""


def _class_row(name: str, score: ClassScore, colour: Colour, total: int) -> str:
    head = f"<td>{_swatch(colour)}{escape(name)}</td>"
    if math.isnan(score.iou):
        return f'<tr class="none">{head}<td class="bars" colspan="4">absent: neither labelled nor predicted</td></tr>'
    bars = f'<div class="bar">{_fill(score.iou, colour)}</div>'
    if math.isnan(score.acc):
        accuracy = '<td class="num" title="predicted, but nowhere in the labels">not labelled</td>'
    else:
        bars += f'<div class="bar">{_fill(score.acc, colour)}</div>'
        accuracy = f'<td class="num">{_number(score.acc)}</td>'
    share = 100 * score.pixels / total
    return (
        f'<tr>{head}<td class="bars">{bars}</td><td class="num"><b>{_number(score.iou)}</b></td>{accuracy}'
        f'<td class="num" title="{score.pixels:,} pixels">{_small(share)} %</td></tr>'
    )


def _absent_note(scores: Scores) -> str:
    notes = []
    how = "are left out of" if scores.absent == "left out" else f"count as {scores.absent} in"
    if scores.absent_classes:
        names = ", ".join(escape(name) for name in scores.absent_classes)
        notes.append(f"Neither labelled nor predicted in any image: {names}. Such classes {how} the mean IoU.")
    unlabelled = [
        escape(name)
        for name, score in scores.per_class.items()
        if math.isnan(score.acc) and name not in scores.absent_classes
    ]
    if unlabelled:
        notes.append(
            f"Predicted but nowhere labelled, so with an IoU of 0 and without an accuracy: {', '.join(unlabelled)}."
        )
    return "".join(f'<p class="warn">{note}</p>\n' for note in notes)


def _confusion_section(scores: Scores, classes: Classes) -> str:
    labelled = scores.confusion.sum(1, keepdims=True)
    shares = scores.confusion / np.where(labelled, labelled, 1)
    note = "Each row is a true class: where its pixels went, in percent."
    if len(classes) <= _NUMBERED:
        body = (
            f'<div class="beside"><div class="scroll">{_matrix(scores, shares, classes)}</div>\n'
            f"<div>{_pairs(scores, shares, classes, _PAIRS)}</div></div>"
        )
    else:
        note += " Rows (truth, from the top) and columns (prediction, from the left) follow the table of classes."
        body = (
            f'<div class="beside"><img class="heat" alt="confusion matrix" src="{_heat_map(shares)}">\n'
            f"<div>{_pairs(scores, shares, classes, _MORE_PAIRS)}</div></div>"
        )
    return f'<section>\n<h2>Confusion</h2>\n<p class="quiet">{note}</p>\n{body}\n</section>'


def _matrix(scores: Scores, shares: Shares, classes: Classes) -> str:
    names = [escape(name) for name in classes.names]
    heads = "".join(f"<th><div>{name}</div></th>" for name in names)
    rows = []
    for truth, name in enumerate(names):
        cells = []
        for predicted, other in enumerate(names):
            pixels, share = int(scores.confusion[truth, predicted]), float(shares[truth, predicted])
            if not scores.confusion[truth].any():
                cells.append('<td class="none">&ndash;</td>')
            elif not pixels:
                cells.append("<td></td>")
            else:
                (red, green, blue), alpha = _heat(share, right=truth == predicted)
                dark = ' class="on"' if alpha > 0.5 else ""
                text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
                hint = f"{name} as {other}: {100 * share:.2f} %, {pixels:,} pixels"
                cells.append(
                    f'<td{dark} style="background-color:rgb({red} {green} {blue} / {alpha:.2f})" title="{hint}">'
                    f"{escape(text)}</td>"
                )
        rows.append(f"<tr><th>{name} {_swatch(classes.palette[truth])}</th>{''.join(cells)}</tr>")
    body = "\n".join(rows)
    return (
        f'<table class="confusion">\n<thead><tr><th>truth ↓&ensp;prediction →&ensp;</th>{heads}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def _heat_map(shares: Shares) -> str:
    """The matrix as a see-through PNG of the table's colours, a few pixels a cell."""
    count = len(shares)
    pixels = np.zeros((count, count, 4), np.uint8)
    for truth, predicted in np.argwhere(shares > 0):
        (red, green, blue), alpha = _heat(float(shares[truth, predicted]), right=bool(truth == predicted))
        pixels[truth, predicted] = blue, green, red, round(255 * alpha)
    cell = max(1, 640 // count)
    done, data = cv2.imencode(".png", np.kron(pixels, np.ones((cell, cell, 1), np.uint8)))
    assert done
    return _data_uri(data.tobytes(), "png")


def _heat(share: float, *, right: bool) -> tuple[Colour, float]:
    """Colour and opacity: mistakes are drawn stronger than their share, as even small ones matter."""
    return (_RIGHT, 0.08 + 0.87 * share) if right else (_CONFUSED, 0.04 + 0.91 * share**0.6)


def _pairs(scores: Scores, shares: Shares, classes: Classes, count: int) -> str:
    wrong = shares * (1 - np.eye(len(shares)))
    order = [divmod(int(place), len(wrong)) for place in np.argsort(-wrong, axis=None, kind="stable")[:count]]
    rows = "\n".join(
        f"<tr><td>{_named(truth, classes)}</td><td>{_named(predicted, classes)}</td>"
        f'<td class="num" title="{int(scores.confusion[truth, predicted]):,} pixels">'
        f"{_small(100 * wrong[truth, predicted])} %</td></tr>"
        for truth, predicted in order
        if wrong[truth, predicted] > 0
    )
    if not rows:
        return '<p class="quiet">No pixel was confused.</p>'
    heads = '<th>most confused</th><th>taken for</th><th class="num">of its pixels</th>'
    return f'<table class="pairs">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>'


def _image_section(groups: Groups[ImageResult], classes: Classes) -> str:
    titles = (("Best", groups.best), ("Middle", groups.middle), ("Worst", groups.worst))
    body = "\n".join(
        f"<h3>{title}</h3>\n" + "\n".join(_image(result, classes) for result in results)
        for title, results in titles
        if results
    )
    if not body:
        return ""
    return f"""<section>
<h2>Images</h2>
<p class="quiet">Ordered by their own mIoU, over the classes in an image's labels or prediction; the middle ones lie
around the median.</p>
<div class="key"><span>{_swatch(WRONG)}wrong</span><span>{_swatch((235, 235, 235))}right</span>
<span>{_swatch(UNLABELLED)}not labelled, not scored</span></div>
{body}
</section>"""


def _image(result: ImageResult, classes: Classes) -> str:
    name = escape(result.score.name)
    width, height = result.size
    views = "\n".join(
        f'<figure><img width="{width}" height="{height}" loading="lazy" alt="{view} of {name}" '
        f'src="{_data_uri(data, "jpeg")}"><figcaption>{view}</figcaption></figure>'
        for view, data in result.pictures.items()
    )
    chips = "".join(f"<span>{_named(index, classes)} {iou:.0f}</span>" for index, iou in result.classes[:_CHIPS])
    if len(result.classes) > _CHIPS:
        chips += f"<span>and {len(result.classes) - _CHIPS} more</span>"
    return (
        f'<article class="image"><header><b>{name}</b>'
        f'<span class="quiet">mIoU {_number(result.score.miou)}</span>'
        f'<span class="quiet">aAcc {_number(result.score.aacc)}</span></header>\n'
        f'<div class="views">\n{views}\n</div>\n<div class="key" title="IoU in this image">{chips}</div></article>'
    )


def _named(index: int, classes: Classes) -> str:
    return f"{_swatch(classes.palette[index])}{escape(classes.names[index])}"


def _swatch(colour: Colour) -> str:
    return f'<i class="swatch" style="background-color:{_css(colour)}"></i>'


def _fill(percent: float, colour: Colour) -> str:
    return f'<i style="width:{percent:.2f}%;background-color:{_css(colour)}"></i>'


def _css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _number(value: float) -> str:
    return "\u2013" if math.isnan(value) else f"{value:.2f}"


def _small(percent: float) -> str:
    """With the digits that a small share needs."""
    return f"{percent:.1f}" if percent >= 0.1 else f"{percent:.1g}"


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode('ascii')}"
