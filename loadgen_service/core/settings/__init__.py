"""One frozen model of all that a user may set; flags, YAML, environment and schema come from it."""

from loadgen_service.core.settings.model import Settings

__all__ = ["Settings"]
