"""TLS of the service from its PEM files, read again when they change; no port is opened here.

New connections get the new certificate; those that are open keep theirs. Files that cannot be
used leave what holds, and stderr says so once a change.
"""

from __future__ import annotations

import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import SettingsError

State = tuple[tuple[int, int, int], ...]

RELOAD_INTERVAL_S: Final = 1.0
"""How often the HTTP ports look at the files; the gRPC port looks at every connection."""


@dataclass(slots=True)
class CertificateFiles:
    """The files that ``settings`` names, and how they were when they were last read."""

    settings: ServeSettings
    _seen: State = ()

    def __post_init__(self) -> None:
        self._seen = self._state()

    def take_change(self) -> bool:
        """Whether the files changed since this was last asked. A missing file is no change."""
        state = self._state()
        if not state or state == self._seen:
            return False
        self._seen = state
        return True

    def _state(self) -> State:
        settings = self.settings
        names = [n for n in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if n]
        try:
            found = [Path(name).stat() for name in names]
        except OSError:
            return ()
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """What grpc wants of them. Raises SettingsError naming the file."""
        settings = self.settings
        key, cert = _read_pem("tls_key", settings.tls_key), _read_pem("tls_cert", settings.tls_cert)
        _require_pair(settings)
        client_ca = settings.tls_client_ca
        ca = _read_pem("tls_client_ca", client_ca) if client_ca else None
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=ca)

    def changed_configuration(self) -> grpc.ServerCertificateConfiguration | None:
        """For grpc, at each connection: None as long as nothing changed that can be used."""
        if not self.take_change():
            return None
        try:
            return self.configuration()
        except SettingsError as error:
            tell_kept(error)
            return None


def server_credentials(settings: ServeSettings) -> grpc.ServerCredentials | None:
    """TLS of the gRPC port; None where it has none. Raises SettingsError for bad files."""
    if not settings.tls_cert:
        return None
    files = CertificateFiles(settings)
    return grpc.dynamic_ssl_server_credentials(
        files.configuration(),
        files.changed_configuration,  # type: ignore[arg-type]  # None is "as before"
        require_client_authentication=bool(settings.tls_client_ca),
    )


def tell_kept(error: Exception) -> None:
    """Say that changed files are not used."""
    print(f"loadgen serve: {error}; the certificate from before holds", file=sys.stderr)


def _require_pair(settings: ServeSettings) -> None:
    # grpc ends the process over a key that is not the certificate's; ssl says it
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca:
            context.load_verify_locations(settings.tls_client_ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"tls_cert {settings.tls_cert}, tls_key {settings.tls_key}: cannot be used "
            f"together: {getattr(error, 'reason', '') or error}"
        ) from None


def _read_pem(field: str, path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{field} {path}: {error.strerror}") from None
    if b"-----BEGIN" not in content:
        raise SettingsError(f"{field} {path}: not a PEM file")
    return content
