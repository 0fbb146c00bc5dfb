"""Flags of ``--help``: those that most runs need, grouped by who needs them.

``--help-all`` prints every flag by section of the settings.
"""

from __future__ import annotations

from typing import Final

FIRST_SCREEN: Final[dict[str, tuple[str, ...]]] = {
    "every run": (
        "--config",
        "--sut",
        "--model",
        "--scenario",
        "--target-qps",
        "--target-latency-ms",
        "--min-duration-ms",
        "--dataset",
        "--workers",
        "--out",
        "--http-port",
    ),
    "an endpoint": ("--concurrency", "--arrivals", "--connections", "--header", "--tls-ca"),
    "a language model": (
        "--prompt-tokens",
        "--output-tokens",
        "--use-token-latencies",
        "--ttft-latency-ms",
        "--tpot-latency-ms",
    ),
    "an MLPerf submission": ("--mode", "--mlperf-model", "--user-conf"),
    "a fleet": ("--service", "--token-file", "--service-tls-ca", "--fleet"),
    "an accelerator host": ("--shared-memory", "--sut-metrics"),
}
"""Title -> flags of a run."""
