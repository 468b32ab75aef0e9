"""A run as one page to look at: its curves, and how the predictions for a few pictures came to be."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from urllib.parse import quote

from segattn.files import write_file
from segattn.reports.style import STYLE
from segattn.training.samples import steps_with_pictures

_STYLE = """
main { max-width: 1680px; }
.curves { display: block; width: 100%; height: auto; border-radius: 4px; background: #fff; }
.steps { position: sticky; top: 0; z-index: 1; display: flex; gap: 16px; align-items: center; padding: 8px 0;
  background: var(--card); }
.steps input { flex: 1; accent-color: var(--accent); }
.steps output { min-width: 9em; font-variant-numeric: tabular-nums; }
.sample { padding: 14px 0 4px; border-top: 1px solid var(--line); }
.sample img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
"""


_SCRIPT = """
const shown = JSON.parse(document.getElementById("shown").textContent);
const slider = document.querySelector(".steps input"), label = document.querySelector(".steps output");
slider.oninput = () => {
  const [step, files] = shown[slider.value];
  label.textContent = "step " + step.toLocaleString("en");
  document.querySelectorAll(".sample").forEach((figure) => {
    const file = files[figure.dataset.name];
    figure.hidden = !file;
    if (file) figure.querySelector("img").src = file;
  });
};
"""


def write_page(run_folder: str | Path) -> Path:
    """Write `training.html` beside the curves that `draw_curves` left in a run's folder.

    The page refers to the pictures there, so the folder is to be moved as a whole. A slider goes through the
    validations; without scripts the last one is shown.

    Raises:
        OSError: the folder can't be written to.
    """
    folder = Path(run_folder)
    steps = {step: files for step, files in steps_with_pictures(folder).items() if files}
    name = escape(folder.resolve().name)
    text = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}</title>
<style>{STYLE}{_STYLE}</style>
</head>
<body>
<main>
<h1>{name}</h1>
<section><img class="curves" src="curves.svg" alt="loss, score, learning rate and speed over the steps"></section>
{_samples(folder, steps) if steps else ""}
</main>
</body>
</html>
"""
    write_file(folder / "training.html", text.encode())
    return folder / "training.html"


def _samples(folder: Path, steps: dict[int, list[Path]]) -> str:
    shown = [
        (step, {file.stem: quote(file.relative_to(folder).as_posix()) for file in files})
        for step, files in steps.items()
    ]
    last, pictures = shown[-1]
    names = sorted({name for _, files in shown for name in files})
    figures = "".join(
        f'<figure class="sample" data-name="{escape(name)}"{"" if name in pictures else " hidden"}>'
        f'<img src="{escape(pictures.get(name, ""))}" alt="">'
        f"<figcaption>{escape(name)}</figcaption></figure>\n"
        for name in names
    )
    data = json.dumps(shown).replace("<", "\\u003c")
    return f"""<section>
<h2>Predictions for validation pictures</h2>
<div class="steps"><input type="range" aria-label="validation" min="0" max="{len(shown) - 1}" value="{len(shown) - 1}">
<output>step {last:,}</output></div>
{figures}<script type="application/json" id="shown">{data}</script>
<script>{_SCRIPT}</script>
</section>"""
