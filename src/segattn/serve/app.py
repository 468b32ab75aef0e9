"""The page: Gradio carries files and events; what is seen is drawn by the scripts in `static`."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from segattn.serve.content import Choice
from segattn.serve.desk import Desk
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

    forgotten = (300, 900)  # seconds: how often uploads that nobody asked about are removed, and from which age
    with gr.Blocks(title="segattn", analytics_enabled=False, fill_width=True, delete_cache=forgotten) as page:
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

        def pick(chosen: list[str], event: gr.EventData, request: gr.Request) -> Any:
            try:
                desk.take(visitor(request), event._data.get("path"), event._data.get("name"))
            except ValueError as error:
                return desk.refused(str(error)), {}
            return choose(chosen, request)

        def sample(chosen: list[str], request: gr.Request) -> Any:
            desk.draw_sample(visitor(request))
            return choose(chosen, request)

        def choose(chosen: list[str], request: gr.Request) -> Any:
            said = desk.label(visitor(request), chosen)
            return (gr.skip(), gr.skip()) if said is None else (said, {})

        def ask(chosen: list[str], event: gr.EventData, request: gr.Request) -> Iterator[Any]:
            for said in desk.ask(visitor(request), chosen, event._data.get("at")):
                yield gr.skip() if said is None else said

        def visitor(request: gr.Request) -> str:
            return str(request.session_hash)

        # the desk has a queue of its own, in which all events wait together, and answers a visitor's last ones
        settings: dict[str, Any] = {
            "concurrency_limit": None,
            "api_visibility": "private",
            "trigger_mode": "multiple",
        }
        labels = {**settings, "show_progress_on": viewer}
        picker.pick(pick, [models], [viewer, pixel], **labels)
        picker.sample(sample, [models], [viewer, pixel], **labels)
        models.change(choose, [models], [viewer, pixel], **labels)
        viewer.ask(ask, [models], [pixel], **settings)

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
