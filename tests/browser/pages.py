"""Small pages, good ones and bad ones, to try the harness on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.live_server import eventually
from tests.servers import free_port

#: As strict as a policy can be.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/style.css"><script src="/script.js" defer></script></head>
<body><main><h1>A page</h1>{}</main></body></html>"""
_STYLE = """
:root { color-scheme: light dark; }
body { font-family: sans-serif; color: #222; background: #fff; }
.pale { color: #aaa; background: #fff; }
.dim { color: #ddd; }
.deep { color: #222; }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #111; } }
"""
_SCRIPT = 'document.querySelector("h1").dataset.enhanced = "yes";'

BODIES = {
    "clean": (
        '<form method="post" action="/refuses"><label>Name <input name="name"></label>'
        "<button>Save</button></form><p><a href='/clean'>Again</a></p>"
    ),
    "inline-script": "<script>document.title = 'changed';</script>",
    "inline-style": '<p style="color: red">Red</p>',
    "pale": '<p class="pale">Hardly to be read</p>',
    "dim-on-light": '<p class="dim">To be read in the dark alone</p>',
    "dim-in-dark": '<p class="deep">To be read in the light alone</p>',
    "no-label": '<input name="name">',
    "console-error": '<script src="/error.js"></script>',
    "exception": '<script src="/exception.js"></script>',
    # Another port of this machine is another origin, and nobody listens on this one.
    "foreign": '<img alt="" src="http://127.0.0.1:1/dot.png">',
    "missing-script": '<script src="/nowhere.js"></script>',
    "calls-what-fails": '<script src="/calls.js"></script>',
}
_SCRIPTS = {
    "script": _SCRIPT,
    "error": 'console.error("that went wrong");',
    "exception": 'throw new Error("nobody caught it");',
    "calls": 'const call = new XMLHttpRequest(); call.open("GET", "/broken", false); call.send();',
}


async def _body(request: Request) -> Response:
    body = BODIES.get(request.path_params["name"])
    if body is None:
        return PlainTextResponse("no such page", 404)
    return HTMLResponse(_PAGE.format(body), headers={"content-security-policy": POLICY})


async def _script(request: Request) -> Response:
    text = _SCRIPTS.get(request.path_params["name"])
    if text is None:
        return PlainTextResponse("no such script", 404)
    return Response(text, media_type="text/javascript")


async def _style(_request: Request) -> Response:
    return Response(_STYLE, media_type="text/css")


async def _refuses(_request: Request) -> Response:
    page = _PAGE.format("<p>That name is taken.</p>")
    return HTMLResponse(page, 422, headers={"content-security-policy": POLICY})


async def _broken(_request: Request) -> Response:
    return HTMLResponse(_PAGE.format("<p>Something broke.</p>"), 503)


@contextmanager
def running_pages() -> Iterator[str]:
    """Serves them from a thread; gives the address without a slash at the end."""
    app = Starlette(
        routes=[
            Route("/style.css", _style),
            Route("/refuses", _refuses, methods=["POST"]),
            Route("/broken", _broken),
            Route("/{name}.js", _script),
            Route("/{name}", _body),
        ]
    )
    port = free_port()
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started, 20)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
