"""Listens: the live page's port and the metrics' port beside a service, in its process.

The bind rule, the certificate and the token are those of the gRPC port (docs/how-to/security.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import SettingsError, UserError
from loadgen_service.service.auth.certificates import (
    RELOAD_INTERVAL_S,
    CertificateFiles,
    tell_kept,
)
from loadgen_service.service.auth.policy import require_safe_bind
from loadgen_service.service.auth.token_book import TokenBook
from loadgen_service.service.server import Service
from loadgen_service.web.access import Access, Refused, session_in
from loadgen_service.web.app import Page, metrics_app, page_app
from loadgen_service.web.live_events import Pulse
from loadgen_service.web.prometheus import make_registry
from loadgen_service.web.uvicorn_timeouts import CONNECTIONS_MAX, HEAD_BYTES_MAX, TimeoutProtocol

START_S: Final = 10.0
CLOSE_S: Final = 2
BACKLOG: Final = 64


class _Listener(uvicorn.Server):
    """Leaves signals alone: the command has its own handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Guard:
    """Answers what ``access`` refuses, and passes on the rest."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        refused = self._access.refusal(
            scope["method"], scope["path"], headers, session_in(headers.get("cookie", ""))
        )
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await _refuse(refused, send)


async def _refuse(refused: Refused, send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if refused.status_code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    start = {"type": "http.response.start", "status": refused.status_code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": f"{refused.reason}\n".encode()})


@dataclass(slots=True)
class WebServer:
    """The HTTP ports of one service. Empty addresses: no such port."""

    page_url: str
    metrics_url: str
    _page: Page
    _tasks: list[asyncio.Task[None]]
    _listeners: list[_Listener] = field(default_factory=list)
    _watching: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """Where the ports are, for people."""
        shown = (("live page on", self.page_url), ("metrics on", self.metrics_url))
        return [f"{what} {url}" for what, url in shown if url]

    async def wait_for_scrape(self, limit_s: float) -> bool:
        """Return once somebody scraped after this call, or False after ``limit_s``."""
        self._page.scraped.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._page.scraped.wait(), limit_s)
            return True
        return False

    async def stop(self) -> None:
        """Send readers home and close the ports. May be called twice."""
        self._page.pulse.close()
        for listener in self._listeners:
            listener.should_exit = True
        beating, *_ = self._tasks
        for endless in (beating, *self._watching):
            endless.cancel()
        await asyncio.gather(*self._tasks, *self._watching, return_exceptions=True)


async def serve_web(
    service: Service, settings: ServeSettings, *, embedded: bool = False
) -> WebServer:
    """Open the ports that ``settings`` name.

    ``embedded``: in ``loadgen run``, on loopback: no token, and no starting of further runs.
    Raises SettingsError for an unsafe bind or bad files, UserError where a port is taken.
    """
    tokens = TokenBook() if embedded else service.tokens
    require_safe_bind(settings, bool(tokens))
    pulse = Pulse(service.coordinator)
    page = Page(
        coordinator=service.coordinator,
        registry=make_registry(service.coordinator),
        access=Access(tokens, settings.host),
        pulse=pulse,
        may_start=not embedded,
        is_secure=bool(settings.tls_cert),
    )
    web = WebServer("", "", page, [asyncio.create_task(pulse.run())])
    try:
        await _open_ports(web, page, settings)
    except BaseException:
        await web.stop()
        raise
    return web


async def _open_ports(web: WebServer, page: Page, settings: ServeSettings) -> None:
    scheme = "https" if settings.tls_cert else "http"
    if settings.http_port is not None:
        address = await _listen(web, page_app(page), settings, settings.http_port, "--http-port")
        web.page_url = f"{scheme}://{address}/"
        web.metrics_url = f"{scheme}://{address}/metrics"
    if settings.metrics_port is not None:
        address = await _listen(
            web, metrics_app(page), settings, settings.metrics_port, "--metrics-port"
        )
        web.metrics_url = f"{scheme}://{address}/metrics"


async def _listen(
    web: WebServer, app: ASGIApp, settings: ServeSettings, port: int, flag: str
) -> str:
    listener = _Listener(_config(Guard(app, web._page.access), settings))
    bound = _bind(settings.host, port, flag)
    task = asyncio.create_task(listener.serve([bound]))
    web._listeners.append(listener)
    web._tasks.append(task)
    if settings.tls_cert:
        web._watching.append(asyncio.create_task(_keep_certificate(listener.config, settings)))
    await _until(lambda: listener.started or task.done(), "the HTTP port did not open")
    if task.done():
        await task
        raise UserError(f"{flag} {port}: cannot listen on {settings.host}")
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{bound.getsockname()[1]}"


async def _keep_certificate(config: uvicorn.Config, settings: ServeSettings) -> None:
    """Give new connections the certificate that lies in the files now."""
    files, context = CertificateFiles(settings), config.ssl
    assert context is not None
    while True:
        await asyncio.sleep(RELOAD_INTERVAL_S)
        if files.take_change():
            try:
                files.configuration()  # a pair that does not fit would leave the context half new
                context.load_cert_chain(settings.tls_cert, settings.tls_key)
            except (SettingsError, OSError) as error:
                tell_kept(error)


async def _until(is_met: Callable[[], bool], cause: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_S
    while not is_met():
        if loop.time() > deadline:
            raise UserError(f"{cause} within {START_S:g} s; is this machine overloaded?")
        await asyncio.sleep(0.01)


def _config(app: ASGIApp, settings: ServeSettings) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=TimeoutProtocol,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        limit_concurrency=CONNECTIONS_MAX,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=CLOSE_S,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
        ssl_ca_certs=settings.tls_client_ca or None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"tls_cert, tls_key: {error.strerror or error}") from None
    return config


def _bind(host: str, port: int, flag: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UserError(
            f"{flag} {port}: cannot listen on {host}: {error.strerror}; name another"
        ) from None
    bound.setblocking(False)
    return bound
