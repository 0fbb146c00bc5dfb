"""The LoadGen service that a command's runs happen in: one that serves, or one in this process."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen_service.cli.ray_fleet import ray_fleet
from loadgen_service.core.settings import Settings
from loadgen_service.errors import SettingsError, UserError

if TYPE_CHECKING:
    from loadgen_service.cli.local_service import LocalPorts
    from loadgen_service.cli.service_client import ServiceClient

TOKEN_VARIABLE: Final = "LOADGEN_TOKEN"


@asynccontextmanager
async def open_service(
    given: argparse.Namespace, settings: Settings, say: Callable[[str], None]
) -> AsyncIterator[ServiceClient]:
    """The service that ``given`` names, else one in this process with workers here or on the
    cluster that it names.
    """
    if not given.service:
        from loadgen_service.cli.local_service import local_service

        ports, fleet = local_ports(given), ray_fleet(given, settings.lease_timeout_ms)
        async with local_service(settings.workers, given.results, say, ports, fleet) as client:
            yield client
        return
    from loadgen_service.cli.service_client import ClientTls, open_client

    token = read_token(given.token_file)
    tls = ClientTls(given.service_tls_ca, given.service_tls_cert, given.service_tls_key)
    client = open_client(given.service, token, tls, given.insecure)
    try:
        yield client
    finally:
        await client.close()


def read_token(path: str) -> str:
    """The token in a file, else in the environment, else none. Raises UserError."""
    if not path:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    try:
        token = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"token_file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"token_file {path}: not text; write the one token there") from None
    if len(token.split()) != 1 or not token.isascii():
        # the service's own file, with names and rights, is no user's
        raise UserError(f"token_file {path}: write one token there, and nothing else")
    return token


def local_ports(given: argparse.Namespace) -> LocalPorts:
    """What a service in this process opens. Raises SettingsError for flags that do not fit."""
    from loadgen_service.cli.local_service import LocalPorts

    for flag in ("http_port", "metrics_port"):
        port = getattr(given, flag)
        if port is not None and not 0 <= port <= 65535:
            raise SettingsError(f"{flag} {port}: give a port from 0 to 65535")
        if port is not None and given.service:
            raise SettingsError(f"{flag}: the run happens at --service; give it to `loadgen serve`")
    linger_ms = max(0, given.metrics_linger_ms) if given.metrics_port is not None else 0
    return LocalPorts(given.http_port, given.metrics_port, linger_ms / 1000)
