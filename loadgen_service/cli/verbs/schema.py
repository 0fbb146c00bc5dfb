"""``loadgen schema``: the JSON schema that editors and other programs check settings against."""

from __future__ import annotations

import json
from collections.abc import Sequence

from loadgen_service.cli.flags import OneLineParser


def main(argv: Sequence[str]) -> int:
    """Print the schema of the settings, of summary.json or of mixed.json."""
    parser = OneLineParser(prog="loadgen schema", allow_abbrev=False)
    parser.add_argument(
        "--of", choices=("settings", "summary", "mixed"), default="settings", help="which document"
    )
    document = parser.parse_strictly(argv).of
    print(json.dumps(schema_of(document), indent=2, sort_keys=True))
    return 0


def schema_of(document: str) -> dict[str, object]:
    """JSON schema of ``settings``, ``summary`` or ``mixed``."""
    if document == "mixed":
        from loadgen_service.core.summary.mixed import MixedSummary

        return MixedSummary.model_json_schema()
    if document == "summary":
        from loadgen_service.core.summary.run import Summary

        return Summary.model_json_schema()
    from loadgen_service.core.settings import Settings

    return Settings.model_json_schema()
