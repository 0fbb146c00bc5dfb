"""The way to a SUT's socket: straight, or through an HTTP proxy by CONNECT (RFC 9110 9.3.6).

A proxy's failures are told as the proxy's. The head of its answer is peeked at and taken alone,
since a gRPC server speaks first: what lies behind it is the SUT's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, TypeVar

from loadgen_service.errors import SutError
from loadgen_service.sut.net.addresses import SutAddress
from loadgen_service.sut.net.proxy_env import Proxy

HEAD_BYTES_MAX: Final = 16 << 10
_END: Final = b"\r\n\r\n"
_Made = TypeVar("_Made", bound=asyncio.Protocol)


async def connect(
    make: Callable[[], _Made],
    endpoint: tuple[str, int],
    tls: ssl.SSLContext | None,
    server_name: str | None,
    tunnel: tuple[Proxy, SutAddress] | None = None,
) -> _Made:
    """A connected protocol. ``tunnel``: the proxy to ask, and for whom.

    Raises what ``create_connection`` raises, and ``SutError`` for a proxy that refuses.
    """
    loop = asyncio.get_running_loop()
    name = server_name if tls else None
    if tunnel is None:
        host, port = endpoint
        _, made = await loop.create_connection(make, host, port, ssl=tls, server_hostname=name)
        return made
    opened = await open_tunnel(*tunnel)
    try:
        _, made = await loop.create_connection(make, sock=opened, ssl=tls, server_hostname=name)
    except BaseException:
        opened.close()
        raise
    return made


async def open_tunnel(proxy: Proxy, address: SutAddress) -> socket.socket:
    """A socket whose other end is the SUT, by the proxy's word. Raises ``SutError``."""
    opened = await _reach(proxy, address)
    try:
        lines = [f"CONNECT {address.authority} HTTP/1.1", f"Host: {address.authority}"]
        lines += [f"{name}: {value}" for name, value in proxy.headers]
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(opened, "".join(f"{line}\r\n" for line in (*lines, "")).encode())
        head = await _read_head(opened)
        fault = tunnel_fault(head)
    except OSError as error:
        opened.close()
        raise SutError(
            f"sut: {proxy} broke off while it was asked for {address} "
            f"({error.strerror or type(error).__name__}); ask its operator"
        ) from None
    except BaseException:
        opened.close()
        raise
    if fault:
        opened.close()
        raise SutError(f"sut: {proxy} gives no way to {address}: {fault}")
    return opened


async def _reach(proxy: Proxy, address: SutAddress) -> socket.socket:
    """Connected to the proxy, at the first of its addresses that answers."""
    loop = asyncio.get_running_loop()
    fault: OSError = OSError("it has no address")
    try:
        found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except OSError as error:
        found, fault = [], error
    for family, kind, number, _, at in found:
        opened = socket.socket(family, kind, number)
        opened.setblocking(False)
        try:
            await loop.sock_connect(opened, at)
        except OSError as error:
            opened.close()
            fault = error
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    reason = (fault.strerror or str(fault)).lower()
    raise SutError(
        f"sut: cannot reach {proxy} on the way to {address}: {reason}; is it running? If "
        f"{address.host} needs none, name it in no_proxy"
    )


async def _read_head(opened: socket.socket) -> bytes:
    """The answer's head, and not a byte behind it; what came of it if the proxy closed."""
    head = b""
    while not head.endswith(_END) and len(head) < HEAD_BYTES_MAX:
        await _readable(opened)
        seen = opened.recv(HEAD_BYTES_MAX, socket.MSG_PEEK)
        if not seen:
            break
        # The end may have begun in what was taken before.
        end = (head[-3:] + seen).find(_END)
        taken = len(seen) if end < 0 else end + len(_END) - len(head[-3:])
        head += opened.recv(taken)
    return head


async def _readable(opened: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    came = loop.create_future()

    def wake() -> None:
        if not came.done():
            came.set_result(None)

    loop.add_reader(opened.fileno(), wake)
    try:
        await came
    finally:
        loop.remove_reader(opened.fileno())


def tunnel_fault(head: bytes) -> str:
    """What an answer to CONNECT says against it, with the remedy; empty where it agrees."""
    line = head.partition(b"\r\n")[0].decode("latin-1")
    words = line.split(" ", 2)
    if not head.endswith(_END) or not line.startswith("HTTP/1.") or len(words) < 2:
        return "it does not answer CONNECT as an HTTP proxy does; is it one?"
    status = words[1]
    if status.isdigit() and 200 <= int(status) < 300:
        return ""
    said = "HTTP " + " ".join(words[1:]).strip()
    if status == "407":
        return f"{said}; put user:password@ before its host in the variable"
    if status in ("502", "503", "504"):
        return f"{said}; it cannot reach the SUT: is that running, and is --sut right?"
    return f"{said}; ask its operator, or name the SUT in no_proxy if it needs no proxy"
