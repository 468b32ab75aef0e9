"""matplotlib's figures as SVG images that follow a page's light or dark colours."""

from __future__ import annotations

import io
import re
from typing import Any

from segattn.reports.page import data_uri

INK, QUIET, GRID = "#1f2430", "#667085", "#e4e7ec"
SERIES = ("#2457a6", "#c8553d", "#2f855a", "#8a63b8", "#b7791f", "#0e7490", "#a63d6f", "#5b6b7f")
"""The colours of text, of what matters less, of lines behind the data, and of the data; on white."""

_DARK = {
    INK: "#e8ebf1",
    QUIET: "#98a2b3",
    GRID: "#2c3340",
    **dict(
        zip(
            SERIES,
            ("#7aa7f0", "#ef8f7a", "#5cbd8b", "#b795e0", "#e0a54a", "#4cb3cf", "#dd7fa9", "#9fb0c4"),
            strict=True,
        )
    ),
}
"""What stands for each where the page is dark."""


def svg_source(figure: Any, *, dpi: int = 100) -> str:
    """A figure as what an `img` takes for its source: without a background, text as outlines.

    Args:
        dpi: of the images in the figure.
    """
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "segattn", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", dpi=dpi, transparent=True, metadata={"Date": None})
    return data_uri(_themed(text.getvalue()).encode(), "svg+xml")


def _themed(svg: str) -> str:
    names = {light: f"--c{number}" for number, light in enumerate(_DARK)}
    body = re.sub(r"<\?xml.*?<svg", "<svg", svg, count=1, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    for light, name in names.items():
        body = body.replace(f": {light}", f": var({name})")
    light_rules = "; ".join(f"{name}: {light}" for light, name in names.items())
    dark_rules = "; ".join(f"{names[light]}: {dark}" for light, dark in _DARK.items())
    rules = f":root {{ {light_rules} }} @media (prefers-color-scheme: dark) {{ :root {{ {dark_rules} }} }}"
    return body.replace("<defs>", f"<style>{rules}</style><defs>", 1)
