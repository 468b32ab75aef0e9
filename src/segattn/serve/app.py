"""The page: Gradio carries files and events; what is seen is drawn by the scripts in `static`."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from segattn.serve.content import Choice
from segattn.serve.desk import Desk, Held
from segattn.serve.limits import Limits

# No `from __future__ import annotations` here: Gradio looks at the annotations of its handlers, which name what is
# imported inside a function.

_STATIC = Path(__file__).with_name("static")
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
_MONOSPACED = ("ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace")


def make_app(choices: Sequence[Choice], limits: Limits, folder: Path) -> Any:
    """The page as an ASGI application.

    Args:
        folder: for what visitors send and get; Gradio's temporary folder (GRADIO_TEMP_DIR) is the same one.

    Raises:
        ImportError: gradio is not installed.
    """
    import fastapi
    import gradio as gr

    desk = Desk(choices, limits, folder)

    @asynccontextmanager
    async def closing(_: Any) -> AsyncIterator[None]:
        yield
        desk.close()

    names = list(desk.choices)

    with gr.Blocks(title="segattn", analytics_enabled=False, fill_width=True) as page:
        held_state = gr.State(None)
        gr.HTML(_text("head.html"), apply_default_css=False, elem_id="head")
        picker = gr.HTML(
            html_template=_text("picker.html"),
            js_on_load=_text("picker.js"),
            apply_default_css=False,
            elem_id="picker",
            megabytes=limits.megabytes,
            most_bytes=limits.most_bytes,
            megapixels=limits.megapixels,
        )
        models = gr.CheckboxGroup(
            names,
            value=names[:1],
            label="Models: one, or several side by side",
            elem_id="models",
            visible=len(names) > 1,
        )
        viewer = gr.HTML(
            html_template=_text("viewer.html"), js_on_load=_text("viewer.js"), apply_default_css=False, elem_id="viewer"
        )
        pixel = gr.HTML(
            html_template=_text("pixel.html"), js_on_load=_text("pixel.js"), apply_default_css=False, elem_id="pixel"
        )

        def pick(chosen: list[str], event: gr.EventData) -> tuple[dict[str, Any], dict[str, Any], Held | None]:
            try:
                held = desk.take(event._data.get("path"), event._data.get("name"))
            except ValueError as error:
                return desk.refused(str(error)), {}, None
            return desk.label(held, chosen), {}, held

        def sample(chosen: list[str]) -> tuple[dict[str, Any], dict[str, Any], Held]:
            held = desk.draw_sample()
            return desk.label(held, chosen), {}, held

        def choose(chosen: list[str], held: Held | None) -> tuple[dict[str, Any], dict[str, Any]]:
            return ({} if held is None else desk.label(held, chosen)), {}

        def ask(chosen: list[str], held: Held | None, event: gr.EventData) -> Iterator[dict[str, Any]]:
            yield from desk.ask(held, chosen, event._data.get("at"))

        # the desk has a queue of its own, in which all events wait together
        settings: dict[str, Any] = {"concurrency_limit": None, "api_visibility": "private"}
        latest = {**settings, "trigger_mode": "always_last"}
        labels = {**latest, "show_progress_on": viewer}
        picker.pick(pick, [models], [viewer, pixel, held_state], **labels)
        picker.sample(sample, [models], [viewer, pixel, held_state], **labels)
        models.change(choose, [models, held_state], [viewer, pixel], **labels)
        viewer.ask(ask, [models, held_state], [pixel], **latest)

    return gr.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None, lifespan=closing),
        page,
        "/",
        theme=gr.themes.Default(primary_hue="blue", font=_FONTS, font_mono=_MONOSPACED),
        css=_text("page.css"),
        footer_links=[],
        run_history=False,
        max_file_size=limits.most_bytes,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
    )


def _text(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
