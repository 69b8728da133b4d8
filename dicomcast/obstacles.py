"""Why a peer cannot be talked to, in the words of who has to mend it, with the setting in brackets.

What OpenSSL says is read, and told by words of ours: its errors are numbered alike everywhere, but worded anew.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

from dicomcast.tls import Files

__all__ = ["obstacle", "refused_at", "supposed", "told_by_proxy"]

# OpenSSL's x509_vfy.h: X509_V_ERR_…
_SELF_SIGNED = (18,)
_UNKNOWN = (2, 19, 20, 21)
_OTHER_NAME = (62, 64)
_OUT_OF_DATE = (9, 10)

# Alerts of the server (RFC 8446 §6) by which it refuses our certificate, or that we have none.
_REFUSED = re.compile(
    r"alert ((no|bad|unsupported|unknown) certificate|certificate (required|revoked|expired|unknown)"
    r"|unknown ca|access denied)"
)
_OLD = re.compile(r"alert protocol version|unsupported protocol|no protocols available")
_NO_TLS = re.compile(r"wrong version number|record layer failure|packet length too long|unknown protocol|http request")

# What proxies and servers say, with 400, where a connection has no TLS, or TLS no client certificate that they know.
_WANTS_TLS = re.compile(rb"plain HTTP|HTTP request to an HTTPS|requires TLS", re.IGNORECASE)
_WANTS_CERTIFICATE = re.compile(rb"No required SSL certificate|SSL certificate error", re.IGNORECASE)


def obstacle(error: BaseException, settings: str, files: Files) -> str:
    """Why no connection came about, told from what httpx hides below its own error; `settings` is such as `FHIR__`."""
    what, setting = _obstacle(error, files)
    return f"{what} ({_setting(settings, setting)})"


def _obstacle(error: BaseException, files: Files) -> tuple[str, str]:
    """The obstacle, and the setting by which it may be got out of the way."""
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return "its name is not known to DNS", "URL"
            case ssl.SSLCertVerificationError():
                return _distrust(cause, files)
            case ssl.SSLEOFError() if files.certificate is None:
                return "it hangs up during the TLS handshake; does it want a client certificate, or no TLS?", "URL"
            case ssl.SSLEOFError():
                return "it hangs up during the TLS handshake; does it accept our client certificate?", "TLS__CERT_FILE"
            case ssl.SSLError():
                return _misunderstanding(cause, files)
            case ConnectionRefusedError():
                return "nobody listens on that port", "URL"
            case TimeoutError() if not cause.strerror:
                return "nothing answers there in time; does a firewall drop what is sent?", "URL"
            case OSError() if cause.strerror:
                return cause.strerror, "URL"
    return type(error).__name__, "URL"


def _distrust(error: ssl.SSLCertVerificationError, files: Files) -> tuple[str, str]:
    """Why its certificate is not accepted."""
    match getattr(error, "verify_code", 0):
        case code if code in _OTHER_NAME:
            return "its TLS certificate is for other names; use one of them, or have this one added to it", "URL"
        case code if code in _OUT_OF_DATE:
            said = "its TLS certificate, or one that signed it, has expired or is not valid yet"
            return f"{said}; have it renewed, if the clock is right here", "URL"
        case code if code in _SELF_SIGNED and files.ca is None:
            return "its TLS certificate is self-signed; if it is the right one, name a file that has it", "TLS__CA_FILE"
        case code if code in _SELF_SIGNED:
            return "its TLS certificate is self-signed, and not in the file that is named", "TLS__CA_FILE"
        case code if code in _UNKNOWN and files.ca is None:
            return "its TLS certificate is of a CA that is not known here; name a file that has it", "TLS__CA_FILE"
        case code if code in _UNKNOWN:
            return "its TLS certificate is of no CA in the file that is named", "TLS__CA_FILE"
        case _:
            return f"its TLS certificate is not accepted here ({getattr(error, 'verify_message', '?')})", "URL"


def _misunderstanding(error: ssl.SSLError, files: Files) -> tuple[str, str]:
    """Why the handshake failed, its certificate aside."""
    said = _openssl(str(error))
    refused = _REFUSED.search(said)
    if refused and files.certificate is None:
        return "it wants a client certificate", "TLS__CERT_FILE"
    if refused:
        return f"it refuses our client certificate ({refused[1]})", "TLS__CERT_FILE"
    if _NO_TLS.search(said):
        return "it does not speak TLS there; is it http, or another port?", "URL"
    if _OLD.search(said):
        return "it speaks no TLS that is safe: 1.2 or newer is needed", "URL"
    if "alert handshake failure" in said and files.certificate is None:
        return "it refuses the TLS handshake; does it want a client certificate?", "TLS__CERT_FILE"
    return f"the TLS handshake fails ({getattr(error, 'reason', None) or type(error).__name__})", "URL"


def _openssl(text: str) -> str:
    return text.lower().replace("_", " ")


def refused_at(error: BaseException) -> bool:
    """Whether the server refused our side of the handshake, so that it did not read what was sent after it.

    In TLS 1.3 the client is through with the handshake before the server has seen its certificate.
    """
    return any(isinstance(cause, ssl.SSLError) and _REFUSED.search(_openssl(str(cause))) for cause in _causes(error))


def supposed(settings: str, url: str, files: Files) -> str:
    """What is likely where a peer that never answered hangs up: servers that give no reason when TLS is amiss."""
    if url.lower().startswith("http:"):
        return f"; is it https? ({_setting(settings, 'URL')})"
    wanted = "accept our client certificate" if files.certificate else "want a client certificate"
    return f"; does it {wanted}? ({_setting(settings, 'TLS__CERT_FILE')})"


def told_by_proxy(content: bytes, settings: str) -> str:
    """What a page that comes with 400 says about TLS, "" if it says nothing about it."""
    if _WANTS_TLS.search(content):
        return f"; it wants https ({_setting(settings, 'URL')})"
    if _WANTS_CERTIFICATE.search(content):
        return f"; it wants a client certificate that it knows ({_setting(settings, 'TLS__CERT_FILE')})"
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what is behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _setting(settings: str, name: str) -> str:
    return f"DICOMCAST_{settings}{name}"
