"""Colours for data sets that publish none."""

from __future__ import annotations


def distinct_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """The first `count` (at most 256) colours of PASCAL VOC's rule, RGB 0..255: all different, the first is black.

    The bits of the index are dealt out to red, green and blue in turn, from the highest bit of a colour downwards.
    """
    assert count <= 256, "the rule repeats its colours after 256"
    return tuple(_colour(index) for index in range(count))


def _colour(index: int) -> tuple[int, int, int]:
    red, green, blue = (sum((index >> 3 * step + channel & 1) << 7 - step for step in range(3)) for channel in range(3))
    return red, green, blue
