"""Where the server may listen, and with which certificates.

Nothing listens beyond loopback without TLS or an explicit ``--insecure``.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final

from sut_server.errors import UsageError
from sut_server.options import ServeOptions, TlsFiles


def bind_address(options: ServeOptions) -> str:
    """The numeric address of ``--host``, if the server may listen there; UsageError if not."""
    try:
        found = socket.getaddrinfo(options.host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        text = f"--host {options.host!r}: not an address of this machine ({error})"
        raise UsageError(text) from error
    address = str(found[0][4][0])
    is_loopback = ipaddress.ip_address(address.partition("%")[0]).is_loopback
    if not is_loopback and options.tls is None and not options.insecure:
        raise UsageError(
            f"--host {options.host}: beyond loopback the server wants --tls-cert and --tls-key, "
            "or an explicit --insecure"
        )
    return address


RELOAD_INTERVAL_S: Final = 1.0
"""How often the certificate's files are looked at."""


class CertificateWatch:
    """Gives new connections the certificate that lies in its files now.

    Files that cannot be used leave what holds; ``tell`` is told once a change. A changed
    ``--tls-client-ca`` needs a restart: a context forgets no authority.
    """

    def __init__(
        self, context: ssl.SSLContext, files: TlsFiles, tell: Callable[[str], None]
    ) -> None:
        self._context = context
        self._files = files
        self._tell = tell
        self._seen = self._state()

    def look(self) -> None:
        """Take the files in if they changed."""
        state = self._state()
        if state is None or state == self._seen:
            return
        self._seen = state
        files = self._files
        try:
            tls_context(files)  # a pair that does not fit would leave the context half new
            self._context.load_cert_chain(files.certificate, files.key)
        except (UsageError, OSError) as error:
            self._tell(f"{error}; the certificate from before holds")

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(RELOAD_INTERVAL_S)
            self.look()

    def _state(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            found = [os.stat(path) for path in (self._files.certificate, self._files.key)]
        except OSError:
            return None
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """A server context for HTTP/2; with ``client_ca`` it asks callers for certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        names = f"--tls-cert {files.certificate}, --tls-key {files.key}"
        if files.client_ca is not None:
            names += f", --tls-client-ca {files.client_ca}"
        raise UsageError(f"{names}: cannot be used: {error}") from error
    return context
