"""mixed.json, report.txt and report.html of a mixed run, from its streams' summaries.

The streams' own directories were written before; here they are joined, also after the service
died. Blocking: call it from a thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadgen_service.checksums import require_unchanged
from loadgen_service.core.run_state import RunState
from loadgen_service.core.summary.mixed import (
    MIXED_FILE,
    MixedSummary,
    StreamSummary,
    build_mixed,
    mixed_to_json,
)
from loadgen_service.core.summary.run import Summary, summary_from_json
from loadgen_service.errors import RunError
from loadgen_service.service.storage.journal import Entry, entries_of, read_journal
from loadgen_service.service.storage.run_directory import STREAMS_FOLDER, RunDirectory


def write_mixed(
    directory: RunDirectory, run_id: str, streams: Sequence[StreamSummary]
) -> MixedSummary:
    """Write the files of all streams together, mixed.json last. Raises RunError naming the file."""
    from loadgen_service.report.html.mixed_page import render_mixed_html, render_mixed_text

    mixed = build_mixed(run_id, streams, ())
    directory.write_text("report.txt", render_mixed_text(mixed))
    directory.write_text("report.html", render_mixed_html(mixed))
    directory.write_summary(MIXED_FILE, mixed_to_json(mixed))
    return mixed


def recover_mixed(directory: RunDirectory) -> None:
    """Join what was recovered of the streams. Raises RunError where none of them has results."""
    entry = entries_of(read_journal(directory.path), "mixed")[0]
    streams = [_left_behind(directory, i, one) for i, one in enumerate(entry["streams"])]
    if not any(one.summary for one in streams):
        raise RunError("no stream had started its load")
    write_mixed(directory, entry["run_id"], streams)


def _left_behind(directory: RunDirectory, index: int, entry: Entry) -> StreamSummary:
    place = f"{STREAMS_FOLDER}/{entry['name']}"
    path = directory.path / place / "summary.json"
    summary: Summary | None = None
    if path.is_file():
        require_unchanged(path.parent)
        summary = summary_from_json(path.read_text(encoding="utf-8"))
    is_done = summary is not None and summary.state == RunState.DONE.name
    valid = summary.valid if summary and is_done else None
    return StreamSummary(
        stream_index=index,
        name=entry["name"],
        run_id=entry["run_id"],
        directory=place,
        state=summary.state if summary else RunState.INTERRUPTED.name,
        worker_count=entry["worker_count"],
        exit_code={True: 0, False: 1, None: 3}[valid],
        error="" if summary else "the service died before it had started its load",
        summary=summary,
    )
