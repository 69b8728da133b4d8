"""Whether a server can be reached at all: its name, its port, its certificate, each told by itself."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dicomcast.errors import Unreachable
from dicomcast.http import tls_context
from dicomcast.obstacles import obstacle
from dicomcast.tls import Files

__all__ = ["reach"]

_PATIENCE = 10.0


async def reach(peer: str, url: str, files: Files) -> str:
    """Connect to a peer and hang up; what comes back says what was found on the way.

    Raises:
        Unreachable: no connection comes about; it says why, and names the setting.
    """
    address = urlsplit(url)
    host, secure = address.hostname or "", address.scheme == "https"
    port = address.port or (443 if secure else 80)
    if address.scheme in getproxies() and not proxy_bypass(host):
        return f"{host} is asked through the proxy that the environment names"
    try:
        async with asyncio.timeout(_PATIENCE):
            context = tls_context(files) if secure else None
            # The name first: asyncio's own error would be of the last address that was tried.
            await asyncio.get_running_loop().getaddrinfo(host, port)
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError) as error:
        why = obstacle(error, f"{peer.upper()}__", files)
        raise Unreachable(f"{peer} at {url} cannot be reached: {why}", peer=peer) from None
    try:
        there = f"{host} answers at {writer.get_extra_info('peername')[0]}, port {port}"
        return f"{there}, {_tls(writer)}" if secure else f"{there}, without TLS"
    finally:
        writer.transport.abort()


def _tls(writer: asyncio.StreamWriter) -> str:
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    until = (connection.getpeercert() or {}).get("notAfter", "?")
    return f"{connection.version()}, a certificate that is trusted until {until}"
