"""What to do where queries failed for being compressed, or for an answer that was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loadgen_service.core.facts.run import ErrorFacts
from loadgen_service.core.figures.series import SeriesFigures
from loadgen_service.core.settings import Settings

CODE_UNIMPLEMENTED: Final = 12
"""What a gRPC server says to a compression that it does not know (gRPC, "Compression")."""

CODE_INTERNAL: Final = 13
"""What we and grpcio say of an answer whose compression was not asked for (the same page)."""

UNSUPPORTED_BODY: Final = "HTTP 415"
"""What an HTTP server says to a coding that it does not know (RFC 9110 15.5.16)."""


def compression_advice(
    settings: Settings, figures: SeriesFigures, errors: Sequence[ErrorFacts]
) -> str:
    """The remedy where compression is, or may be, why queries failed; else ""."""
    if settings.accept_compression == "none" and _answers_are_compressed(errors):
        return "the SUT compresses its answers unasked: ask for it with --accept-compression gzip"
    if settings.request_compression != "none" and _requests_are_refused(figures, errors):
        return (
            "the SUT may take no compressed requests: try --request-compression none; queries are "
            "never retried"
        )
    return ""


def _answers_are_compressed(errors: Sequence[ErrorFacts]) -> bool:
    return any(
        error.code == CODE_INTERNAL and "compress" in error.message.lower() for error in errors
    )


def _requests_are_refused(figures: SeriesFigures, errors: Sequence[ErrorFacts]) -> bool:
    """Whether a SUT said that it takes no compressed request, or answered none at all.

    A server that does not know the header reads gzip as if it were the request, and says anything.
    """
    said = any(
        error.code == CODE_UNIMPLEMENTED or error.message.startswith(UNSUPPORTED_BODY)
        for error in errors
    )
    return said or (figures.samples.completed == 0 and figures.samples.failed > 0)
