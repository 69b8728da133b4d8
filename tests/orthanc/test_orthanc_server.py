"""What the other tests here rest on: an Orthanc that others do not reach, and whose content outlives it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.made_files import ct
from tests.servers.orthanc import Orthanc, self_signed


def test_listens_on_the_loopback_alone(start_orthanc: Callable[..., Orthanc]) -> None:
    """Every address of 127.0.0.0/8 is this machine's, but only one is listened on."""
    server = start_orthanc(dicomweb=False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=5)


@pytest.mark.parametrize("end", [Orthanc.kill, Orthanc.stop])
def test_content_and_port_outlive_the_process(
    start_orthanc: Callable[..., Orthanc], end: Callable[[Orthanc], None]
) -> None:
    """However it ended."""
    server = start_orthanc()
    id, url = server.store(ct("2.25.1", "2.25.1.1", "2.25.1.1.1")), server.url
    answer = server.stow([ct("2.25.1", "2.25.1.1", "2.25.1.1.2"), ct("2.25.2", "2.25.2.1", "2.25.2.1.1")])
    assert len(answer["00081199"]["Value"]) == 2
    end(server)
    server.start()
    assert server.url == url and server.ask("GET", "/statistics")["CountInstances"] == 3
    assert server.lookup("2.25.1.1.1") == [id]
    server.delete("instance", id)
    assert server.lookup("2.25.1.1.1") == []


def test_refuses_who_has_no_password(start_orthanc: Callable[..., Orthanc], tmp_path: Path) -> None:
    """And speaks TLS with the certificate that it was given."""
    certificate = self_signed(tmp_path)
    server = start_orthanc(dicomweb=False, user=("worker", "secret"), certificate=certificate)
    assert server.url.startswith("https://") and server.ask("GET", "/system")["Version"]
    trusting = ssl.create_default_context(cafile=str(certificate))
    assert httpx.get(f"{server.url}/system", verify=trusting, trust_env=False).status_code == 401
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/system", trust_env=False)
