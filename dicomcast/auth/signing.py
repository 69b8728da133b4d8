"""What we sign to prove who we are (`private_key_jwt`, RFC 7523 §3; SMART Backend Services), by PyJWT and cryptography.

Both are the extra `oauth2`: this module is imported only where a key is set.
"""

from __future__ import annotations

import base64
import re
import time
from uuid import uuid4

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dicomcast.errors import ConfigError
from dicomcast.tls import read_pem

__all__ = ["signed"]

# SMART allows five minutes; nobody needs them.
_LIFETIME = 240
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def signed(
    setting: str, *, client: str, audience: str, key_file: str, certificate_file: str | None, kid: str | None, rsa: str
) -> str:
    """An assertion for the token endpoint `audience`, signed with the key; `rsa` is the algorithm of an RSA key.

    A certificate is told by its thumbprints, which is how Entra ID finds it; a key by its `kid`.

    Raises:
        ConfigError: the key or the certificate cannot be used; `setting` is named.
    """
    try:
        content = read_pem(key_file)
        key = _key(content)
        certificate = _certificate(read_pem(certificate_file) if certificate_file else content, key)
    except ValueError as error:
        problem = str(error)
    else:
        now = int(time.time())
        claims = {"iss": client, "sub": client, "aud": audience, "iat": now, "exp": now + _LIFETIME, "jti": uuid4().hex}
        algorithm = rsa if isinstance(key, RSAPrivateKey) else _CURVES[key.curve.name]
        return jwt.encode(claims, key, algorithm, headers=_named(kid, certificate))
    raise ConfigError(f"{setting}: {problem}")  # out here, so that it has no context that knows the key


def _key(content: bytes) -> RSAPrivateKey | EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise ValueError("the private key has a passphrase; write it without one (openssl pkey)") from None
    except Exception:  # cryptography has several, one of them of its own
        raise ValueError("there is no private key in it that can be used; export it anew as PEM") from None
    if isinstance(key, RSAPrivateKey) or (isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES):
        return key
    raise ValueError("the private key is of a kind that servers do not take: make one of RSA, or of P-256 or P-384")


def _certificate(content: bytes, key: RSAPrivateKey | EllipticCurvePrivateKey) -> x509.Certificate | None:
    """The first certificate, which has to be that of the key."""
    found = _CERTIFICATE.search(content)
    if found is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(found[0])
    except ValueError:
        raise ValueError("the certificate is damaged; export it anew") from None
    if certificate.public_key() != key.public_key():
        raise ValueError("the private key does not belong to the certificate, which has to be the first one there")
    return certificate


def _named(kid: str | None, certificate: x509.Certificate | None) -> dict[str, str]:
    """The headers by which a server finds the key."""
    names = {"kid": kid} if kid else {}
    if certificate is not None:
        # RFC 7515 §4.1.7: a name, which proves nothing.
        for name, kind in (("x5t", SHA1()), ("x5t#S256", SHA256())):
            names[name] = base64.urlsafe_b64encode(certificate.fingerprint(kind)).rstrip(b"=").decode()
    return names
