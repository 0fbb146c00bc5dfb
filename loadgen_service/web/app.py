"""The routes of the HTTP port: each decodes, calls, encodes. Decides nothing about runs.

``/metrics`` for Prometheus; everything else is the live page and what it asks for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from loadgen_service.core.printable import printable
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.errors import LoadgenError, UserError
from loadgen_service.plain_yaml import YamlTrouble, load_yaml
from loadgen_service.service.coordinator import Coordinator
from loadgen_service.version import __version__
from loadgen_service.web.access import COOKIE, Access, session_in
from loadgen_service.web.live_events import Pulse, event_stream
from loadgen_service.web.prometheus import exposition
from loadgen_service.web.run_json import PAGE_FILES, detail

BODY_BYTES_MAX: Final = 1 << 20
"""Settings of a run take a few kB."""

BODY_S: Final = 10.0

YAML_CHARACTERS_MAX: Final = 32 << 10
"""Read on the loop that serves everybody: milliseconds, a quarter of a second without libyaml."""

WATCHERS_MAX: Final = 32
"""Pages that may follow at the same time."""

PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

# a report is a page of its own: it may run its plots, and may not call this service as us
REPORT_HEADERS: Final = {
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}

ASSETS: Final = {
    "live.js": ("loadgen_service.web", "text/javascript; charset=utf-8"),
    "plots.js": ("loadgen_service.web", "text/javascript; charset=utf-8"),
    "live.css": ("loadgen_service.web", "text/css; charset=utf-8"),
    "uPlot.iife.min.js": ("loadgen_service.report", "text/javascript; charset=utf-8"),
    "colours.css": ("loadgen_service.report", "text/css; charset=utf-8"),
    "uPlot.min.css": ("loadgen_service.report", "text/css; charset=utf-8"),
}


@dataclass(slots=True)
class Page:
    """What the routes share. ``may_start``: whether runs can be started from the page."""

    coordinator: Coordinator
    registry: CollectorRegistry
    access: Access
    pulse: Pulse
    may_start: bool
    is_secure: bool
    scrapes: int = 0
    scraped: asyncio.Event = field(default_factory=asyncio.Event)

    async def metrics(self, request: Request) -> Response:
        """One scrape."""
        body = exposition(self.registry)
        self.scrapes += 1
        self.scraped.set()
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    async def index(self, request: Request) -> Response:
        """The page."""
        text = _asset("loadgen_service.web", "index.html")
        return Response(text, media_type="text/html", headers=PAGE_HEADERS)

    async def asset(self, request: Request) -> Response:
        """A script or a style; the same for everybody."""
        name = request.path_params["name"]
        if name not in ASSETS:
            return _error(404, f"no file {name} here")
        package, kind = ASSETS[name]
        headers = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
        return Response(_asset(package, name), media_type=kind, headers=headers)

    async def about(self, request: Request) -> Response:
        """What the page must know before it shows anything."""
        may_start = self.may_start and self.access.may(
            "run", request.headers, session_in(request.headers.get("cookie", ""))
        )
        return JSONResponse(
            {"version": __version__, "may_start": may_start, "scenarios": list(SCENARIOS)}
        )

    async def login(self, request: Request) -> Response:
        """Trade the token for a session that lasts as long as this process."""
        body = await _json(request)
        session = self.access.open_session(str(body.get("token", "")))
        if not session:
            return _error(401, "not this service's token")
        response = JSONResponse({"ok": True})
        response.set_cookie(
            COOKIE, session, httponly=True, samesite="strict", secure=self.is_secure
        )
        return response

    async def events(self, request: Request) -> Response:
        """The list and one run, once a second, until the reader leaves or the service ends."""
        if self.pulse.watchers >= WATCHERS_MAX:
            return _error(503, f"{WATCHERS_MAX} pages follow already; close one")
        wanted = request.query_params.get("run", "")
        stream: AsyncIterator[str] = event_stream(self.coordinator, self.pulse, wanted)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def run(self, request: Request) -> Response:
        """One run, now."""
        return JSONResponse(detail(self.coordinator.run(request.path_params["run_id"])))

    async def start(self, request: Request) -> Response:
        """Queue a run. Body: ``{"settings": {...}, "yaml": "more settings"}``."""
        if not self.may_start:
            raise UserError("this page belongs to one run; start others with `loadgen serve`")
        run = self.coordinator.start_run(json.dumps(_settings(await _json(request))))
        return JSONResponse({"run_id": run.run_id}, status_code=201)

    async def stop(self, request: Request) -> Response:
        """Ask a run to drain and stop; asked again, it gives up what is out."""
        run = self.coordinator.stop_run(request.path_params["run_id"])
        return JSONResponse({"state": run.state.name.lower()})

    async def file(self, request: Request) -> Response:
        """A file of a run that is over."""
        run, name = self.coordinator.run(request.path_params["run_id"]), request.path_params["name"]
        path = run.directory.path / name
        if name not in PAGE_FILES or not run.is_over or not path.is_file():
            return _error(404, f"run {run.run_id} has no {name} here")
        headers = REPORT_HEADERS if name == "report.html" else {"X-Content-Type-Options": "nosniff"}
        return FileResponse(path, media_type=PAGE_FILES[name], headers=headers)


async def healthy(request: Request) -> Response:
    """For probes: says only that the process answers."""
    return Response("ok\n", media_type="text/plain")


def metrics_app(page: Page) -> Starlette:
    """/metrics alone."""
    return _app([Route("/metrics", page.metrics), Route("/healthz", healthy)])


def page_app(page: Page) -> Starlette:
    """/metrics and the live page."""
    run = "/api/runs/{run_id}"
    return _app(
        [
            Route("/", page.index),
            Route("/assets/{name}", page.asset),
            Route("/metrics", page.metrics),
            Route("/healthz", healthy),
            Route("/login", page.login, methods=["POST"]),
            Route("/api/about", page.about),
            Route("/api/events", page.events),
            Route("/api/runs", page.start, methods=["POST"]),
            Route(run, page.run),
            Route(f"{run}/stop", page.stop, methods=["POST"]),
            Route("/runs/{run_id}/{name}", page.file),
        ]
    )


def _app(routes: list[Route]) -> Starlette:
    return Starlette(routes=routes, exception_handlers={LoadgenError: _loadgen_error})


async def _loadgen_error(request: Request, error: Exception) -> Response:
    return _error(400 if isinstance(error, UserError) else 409, str(error))


def _error(status_code: int, text: str) -> Response:
    return JSONResponse({"error": printable(text)}, status_code=status_code)


def _asset(package: str, name: str) -> bytes:
    return files(package).joinpath("assets", name).read_bytes()


async def _json(request: Request) -> dict[str, object]:
    """The body as an object. Raises UserError for anything else."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise UserError(f"body: larger than {BODY_BYTES_MAX} bytes")
    except TimeoutError:
        raise UserError(f"body: not whole after {BODY_S:g} s") from None
    try:
        value = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise UserError("body: not JSON") from None
    if not isinstance(value, dict):
        raise UserError("body: not a JSON object")
    return value


def _settings(body: dict[str, object]) -> dict[str, object]:
    """The settings of the form's fields over those of its YAML box."""
    text = str(body.get("yaml", "") or "")
    if len(text) > YAML_CHARACTERS_MAX:
        raise UserError(f"more settings: longer than {YAML_CHARACTERS_MAX} characters")
    try:
        more = load_yaml(text) or {}
    except YamlTrouble as error:
        raise UserError(f"more settings: {error}") from None
    fields = body.get("settings", {})
    if not isinstance(more, dict) or not isinstance(fields, dict):
        raise UserError("settings: give names and values, such as target_qps: 100")
    return {**more, **fields}
