"""What a page lets in and out: this machine alone, no telemetry, no tunnel, no addresses fetched, no files but its own."""

import json
import os
import pathlib
import urllib.parse

import gradio as gr

from kgen.tools.demo import files, origin

# What the page itself asks for; everything else that Gradio would answer, such as proxies, streams and histories, is not there.
OPEN = (
    "assets/", "static/", "svelte/", "config", "theme.css", "favicon.ico", "robots.txt", "login", "logout",
    *(f"gradio_api/{name}" for name in (
        "info", "config", "user", "token", "app_id", "login_check", "login", "logout", "queue/", "upload", "upload_progress",
        "file=", "heartbeat/", "component_server", "cancel", "reset", "startup-events", "call/", "run/",
    )),
)  # fmt: skip
UPLOAD, LOGIN = b"multipart/form-data", b"application/x-www-form-urlencoded"
FORMS = {"gradio_api/upload": UPLOAD, "gradio_api/component_server": UPLOAD, "login": LOGIN}
BODY, WORDS = files.BYTES + 2**16, 2**20  # bytes of a form with files, and of all else
WAITING = 100  # of visitors' requests, at most
CSP = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'"
)
HEADERS = {
    b"content-security-policy": CSP.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
}
CSS = """
.kgen-pixels img { image-rendering: pixelated; }
.kgen-pixels .grid-wrap { max-height: none; overflow: visible; }
.kgen-pixels .grid-container { grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)) !important; }
.kgen-frame img { margin: 2.5rem auto 0.5rem; }
[data-testid="status-tracker"]:has(.error) { display: none !important; }  /* what was shown stays in sight; the message says why */
.kgen-text textarea { font-family: var(--font-mono); }
.kgen-files .label-clear-button { display: none; }
.kgen-head h1 { overflow-wrap: anywhere; }
"""
# Gradio's own greys of what explains a control are too pale on white.
READABLE = {
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
}


class Page(gr.Blocks):
    """A page that is safe by default; ``launch`` takes what ``gradio.Blocks.launch`` takes."""

    def __init__(self, **given):
        super().__init__(analytics_enabled=False, delete_cache=(600, files.KEPT), **given)

    def launch(self, **given):
        """Opens the page. Loopback alone, unless ``server_name`` says otherwise."""
        fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
        safe = {
            "server_name": "127.0.0.1",
            "share": False,
            "footer_links": [],
            "run_history": False,
            "enable_monitoring": False,
            "ssr_mode": False,
            "mcp_server": False,
            "pwa": False,
            "num_workers": 1,
            "max_file_size": files.BYTES,
            "show_error": False,
            "quiet": True,
            "theme": gr.themes.Default(font=fonts[0], font_mono=fonts[1]).set(**READABLE),
            "css": CSS,
        }
        os.environ.pop("GRADIO_ALLOWED_PATHS", None)  # read where none are given
        settings = {**safe, **given}
        guard = _middleware(origin.is_loopback(settings["server_name"]))
        app = {"middleware": [guard], "docs_url": None, "redoc_url": None, "openapi_url": None}
        self.queue(api_open=False, max_size=WAITING)  # nobody is served before their turn
        return super().launch(**{**settings, "allowed_paths": [], "app_kwargs": app})


def _middleware(alone):
    from starlette.middleware import Middleware

    return Middleware(Guard, alone=alone)


class Guard:
    """ASGI middleware: what is not the page's own business does not reach Gradio. ``alone``: only this machine reaches the page."""

    def __init__(self, app, alone):
        self.app, self.alone = app, alone

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                return await self.app(scope, receive, send)
            return None
        if origin.is_foreign(scope["headers"], self.alone):
            return await _answer(send, 403, "This page answers itself alone, not other sites.")
        path = scope["path"].lstrip("/")
        if path and not path.startswith(OPEN):
            return await _answer(send, 404, "There is nothing here.")
        if path.startswith("gradio_api/file=") and not is_own(path.removeprefix("gradio_api/file=")):
            return await _answer(send, 403, "This page gives its own files alone.")
        if scope["method"] == "POST":
            kind = _form(scope, path.rstrip("/"))
            most = BODY if kind == UPLOAD else WORDS
            body = await _body(receive, most)
            if body is None:
                return await _answer(send, 413, f"Expected at most {most // 2**20} MB.")
            why = None if kind else refused(body)
            if why:
                return await _answer(send, 403, why)
            receive = _again(body, receive)

        async def with_headers(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS.items()]}
            await send(message)

        return await self.app(scope, receive, with_headers)


def is_own(path):
    """Whether a path, however it is quoted, is a file of the page's own folder."""
    for _ in range(4):  # quoted more than once
        if "\0" in path or "://" in path or path.startswith("//"):
            return False
        plain = urllib.parse.unquote(path)
        if plain == path:
            break
        path = plain
    else:
        return False
    if ".." in pathlib.PurePath(path).parts:
        return False
    found = pathlib.Path(path).resolve()
    return pathlib.Path(path).is_absolute() and found.is_relative_to(files.folder()) and found.is_file()


def refused(body):
    """Why a request's JSON is refused, or None: it names a file that is not the page's own, or brings one within itself."""
    try:
        found = json.loads(body or b"null")
    except (ValueError, RecursionError):
        return "Expected JSON."
    stack = [found]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            path, url = value.get("path"), value.get("url")
            if isinstance(url, str) and url.strip().lower().startswith("data:"):
                return "Pictures are sent as files."
            if "path" in value and path is not None and not (isinstance(path, str) and is_own(path)):
                return "This page takes files that were sent to it alone."
            value = list(value.values())
        if isinstance(value, list):
            stack += value
    return None


def _form(scope, path):
    """The kind of a form, where one is taken, or None; all else is JSON, whatever it says of itself, or twice of itself."""
    kinds = [value.split(b";")[0].strip().lower() for name, value in scope["headers"] if name == b"content-type"]
    return kinds[0] if len(kinds) == 1 and kinds[0] == FORMS.get(path) else None


async def _body(receive, most):
    """The whole body, None where it is too large: what follows is not read."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body, receive):
    sent = False

    async def replay():
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


async def _answer(send, status, text):
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
