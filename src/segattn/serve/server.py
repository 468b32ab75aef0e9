"""The page on a port of this machine, until it is told to end."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from segattn.serve.content import Choice
from segattn.serve.limits import Limits

Messages = Callable[..., Awaitable[Any]]

POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)
"""What the browser may load: from this address alone, whatever a library of the page would fetch."""


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that waits for visitors; port 0 is any free one.

    Raises:
        OSError: the port is taken, or the address is none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except socket.gaierror:
        raise OSError(f"--host {host}: is no address of this machine; localhost is the usual one") from None
    try:
        if os.name != "nt":  # there it would let two programs have one port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"--port {port}: is taken on {host}; give another, or 0 for any free one") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise OSError(f"--host {host}: is no address of this machine; localhost is the usual one") from None
        if error.errno == errno.EACCES:
            raise OSError(f"--port {port}: may not be taken by you; give one above 1023, or 0 for any") from None
        raise
    return opened


def address_of(opened: socket.socket, host: str) -> str:
    """What to type into a browser."""
    shown = "localhost" if host in ("", "0.0.0.0", "::") else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{opened.getsockname()[1]}"


def serve(choices: Sequence[Choice], limits: Limits, host: str, port: int, say: Callable[[str], None]) -> None:
    """Show the page until SIGINT or SIGTERM; what visitors sent is removed then.

    Args:
        say: is given the address when visitors can come.

    Raises:
        ImportError: gradio is not installed.
        OSError: as `listening_socket`.
    """
    opened = listening_socket(host, port)
    folder = Path(tempfile.mkdtemp(prefix="segattn-app-"))
    try:
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # where uploads go
        import uvicorn

        from segattn.serve.app import make_app

        application = within(make_app(choices, limits, folder))
        config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=1)

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                say(address_of(opened, host))

        server = Server(config)
        # pages that are still open then are cut off, of which uvicorn would give a traceback each
        logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
        server.run(sockets=[opened])
    finally:
        opened.close()
        shutil.rmtree(folder, ignore_errors=True)


def within(application: Messages) -> Messages:
    """The ASGI application, with `POLICY` and its like on all that it answers."""
    headers = [
        (b"content-security-policy", POLICY.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    ]

    async def wrapped(scope: MutableMapping[str, Any], receive: Messages, send: Messages) -> None:
        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *headers]}
            await send(message)

        await application(scope, receive, answer if scope["type"] == "http" else send)

    return wrapped
