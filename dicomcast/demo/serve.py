"""A loopback server for an ASGI application, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def serve(app: ASGIApp, port: int = 0, **tls: Any) -> Iterator[str]:
    """Serve on 127.0.0.1 (port 0: any free one) while the context lasts; yields "http://127.0.0.1:PORT".

    `tls` are uvicorn's settings of that, `ssl_certfile` and what goes with it: then it is https.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="asyncio",
                access_log=False,
                log_config=None,  # the process has its own
                log_level="warning",
                timeout_graceful_shutdown=1,
                **tls,
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the server stopped before it had started")
                time.sleep(0.005)
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=5)
