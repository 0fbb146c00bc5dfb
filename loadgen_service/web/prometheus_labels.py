"""The label ``stream`` of metrics: there once a mixed run named its streams, and not before.

A service that never saw one keeps the series that its dashboards know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STREAM: Final = "stream"


@dataclass(frozen=True, slots=True)
class StreamLabel:
    """Label names and values with the stream last, where streams are told apart."""

    is_told: bool

    def names(self, *names: str) -> list[str]:
        """Names of labels."""
        return [*names, STREAM] if self.is_told else list(names)

    def values(self, *values_and_stream: str) -> list[str]:
        """Their values; the last one given is the stream's name, empty for a run by itself."""
        *values, stream = values_and_stream
        return [*values, stream] if self.is_told else values
