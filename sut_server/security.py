"""Where the server may listen, and with which certificates.

Nothing listens beyond loopback without TLS or an explicit ``--insecure``.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl

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
