"""Why a SUT cannot be spoken to: what its port says, and the address that would be right.

Asked once, after a control call failed, on a thread. Each answer is a clause of an error line; an
empty one means that the port told nothing beyond the failure itself.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from loadgen_service.sut.net.addresses import SutAddress

LONGEST_LOOK_S: Final = 2.0
_HOST_MISMATCHES: Final = frozenset({62, 64})
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
NAMES_SHOWN: Final = 4
_READ_BYTES: Final = 64
_LIST_BYTES_MAX: Final = 1 << 20
_SETTINGS_FRAME: Final = 4

MakeContext = Callable[[], ssl.SSLContext]


def trouble_at(
    address: SutAddress, make_context: MakeContext, server_name: str, timeout_s: float
) -> str:
    """What is wrong between ``address`` and its port, with the remedy; empty where nothing shows.

    ``make_context``: the TLS context of the run, made only where it is used.
    """
    timeout_s = min(timeout_s, LONGEST_LOOK_S)
    try:
        if address.tls:
            return _trouble_of_tls(address, make_context, server_name, timeout_s)
        return _trouble_of_plain(address, timeout_s)
    except TimeoutError:
        return ""
    except OSError as error:
        return (error.strerror or str(error)).lower()


def certificate_trouble(
    error: ssl.SSLError, address: SutAddress, context: ssl.SSLContext, name: str, timeout_s: float
) -> str:
    """What a failed TLS handshake says of the server's certificate, or of its having none.

    ``name`` is what the certificate was compared with.
    """
    if not isinstance(error, ssl.SSLCertVerificationError):
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return f"it speaks no TLS; write {_with(address, tls=False)}"
        return f"TLS failed ({(error.reason or str(error)).lower().replace('_', ' ')})"
    if error.verify_code in _HOST_MISMATCHES:
        names = _names_of_certificate(address, context, timeout_s)
        return (
            f"its certificate names {', '.join(names) or 'nothing'}, not {name}; write such a name "
            "in --sut, or give --tls-server-name"
        )
    return f"its certificate is not trusted ({error.verify_message}); see --tls-ca"


def _trouble_of_tls(
    address: SutAddress, make_context: MakeContext, server_name: str, timeout_s: float
) -> str:
    context, name = make_context(), server_name or address.host
    try:
        with _opened(address, timeout_s) as plain, _wrapped(context, plain, name) as tls:
            if address.protocol.multiplexed and tls.selected_alpn_protocol() != "h2":
                return "it speaks TLS but no HTTP/2 (ALPN h2), so no gRPC; is the port right?"
            return ""
    except ssl.SSLError as error:
        return certificate_trouble(error, address, context, name, timeout_s)


def _trouble_of_plain(address: SutAddress, timeout_s: float) -> str:
    with _opened(address, timeout_s) as plain:
        request = f"GET / HTTP/1.1\r\nHost: {address.authority}\r\nConnection: close\r\n\r\n"
        said = b""
        with contextlib.suppress(ConnectionError):
            plain.sendall(request.encode())
            said = plain.recv(_READ_BYTES)
    if said.startswith((b"\x15\x03", b"\x16\x03")) or (not said and _takes_tls(address, timeout_s)):
        return f"it speaks TLS; write {_with(address, tls=True)}"
    if said.startswith(b"HTTP/1.") and address.protocol.multiplexed:
        return f"it speaks HTTP/1.1 and no gRPC; write {_address_over_http(address, timeout_s)}"
    if _is_http2(said) and not address.protocol.multiplexed:
        return f"it speaks HTTP/2 alone, as gRPC servers do; write grpc://{address.authority}"
    return ""


def _takes_tls(address: SutAddress, timeout_s: float) -> bool:
    """Whether a TLS handshake, with any certificate, comes through."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with _opened(address, timeout_s) as plain, _wrapped(context, plain, address.host):
            return True
    except OSError:
        return False


def _is_http2(said: bytes) -> bool:
    """Whether a server's first bytes are HTTP/2's SETTINGS frame, on stream 0."""
    return len(said) >= 9 and said[3] == _SETTINGS_FRAME and not any(said[5:9])


def openai_address(address: SutAddress, timeout_s: float) -> str:
    """The OpenAI-style address of an HTTP server that lists models at /v1; empty: it lists none."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    try:
        connection.request("GET", "/v1/models")
        response = connection.getresponse()
        said = json.loads(response.read(_LIST_BYTES_MAX)) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return ""
    finally:
        connection.close()
    is_list = isinstance(said, dict) and isinstance(said.get("data"), list)
    return f"openai://{address.authority}/v1" if is_list else ""


def _address_over_http(address: SutAddress, timeout_s: float) -> str:
    found = openai_address(address, timeout_s)
    if found:
        return found
    host = address.authority
    return f"http://{host} for KServe v2 over REST, openai://{host}/v1 for an OpenAI-style server"


def _with(address: SutAddress, *, tls: bool) -> str:
    return str(replace(address, tls=tls))


def _opened(address: SutAddress, timeout_s: float) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=timeout_s)


def _wrapped(context: ssl.SSLContext, plain: socket.socket, name: str) -> ssl.SSLSocket:
    return context.wrap_socket(plain, server_hostname=name)


def _names_of_certificate(
    address: SutAddress, context: ssl.SSLContext, timeout_s: float
) -> list[str]:
    """Names and addresses of a trusted certificate, a few; none where it cannot be had."""
    context.check_hostname = False
    said: Mapping[str, Any] = {}
    with (
        contextlib.suppress(OSError),
        _opened(address, timeout_s) as plain,
        _wrapped(context, plain, address.host) as tls,
    ):
        said = tls.getpeercert() or {}
    names = [str(value[1]) for value in said.get("subjectAltName", ())]
    rest = len(names) - NAMES_SHOWN
    return names if rest <= 0 else [*names[:NAMES_SHOWN], f"{rest} more"]
