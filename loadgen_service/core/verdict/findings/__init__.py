"""What a verdict is made of: one finding a condition, each with what was measured and required."""

from loadgen_service.core.verdict.findings.finding import Finding

__all__ = ["Finding"]
