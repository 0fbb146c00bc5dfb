"""loadgen from Python: start a run and await its report, or open a finished run directory.

Works inside a running event loop, as notebooks have one. Imports what is heavy when it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadgen_service.core.settings import Settings
from loadgen_service.core.summary.run import Summary
from loadgen_service.errors import RunError, SettingsError, UserError

__all__ = ["Report", "Settings", "open_run", "run"]

if TYPE_CHECKING:
    from loadgen_service.cli.run_watcher import Ended
    from loadgen_service.cli.service_client import ServiceClient


@dataclass(frozen=True, slots=True)
class Report:
    """A finished run. ``settings``: what was asked for; ``summary``: summary.json as a model."""

    directory: Path
    settings: dict[str, object]
    summary: Summary

    @property
    def valid(self) -> bool | None:
        """The verdict; None where nothing was judged."""
        return self.summary.valid

    def records(self, columns: list[str] | None = None) -> Any:
        """records.parquet as an Arrow table, one row a sample; all columns, or those named.

        Raises UserError naming the file.
        """
        import pyarrow.parquet as pq

        path = self.directory / "records.parquet"
        try:
            return pq.read_table(
                path, columns=columns, memory_map=True, page_checksum_verification=True
            )
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: {error}") from None

    def _repr_html_(self) -> str:
        """What a notebook shows: the report in words."""
        from html import escape

        from loadgen_service.report.text import render

        return f"<pre>{escape(render(self.summary))}</pre>"


def open_run(directory: str | Path) -> Report:
    """A finished run directory. Raises UserError naming what is missing."""
    from loadgen_service.cli.verbs.report import read_summary
    from loadgen_service.plain_yaml import load_yaml

    folder = Path(directory).expanduser()
    summary = read_summary(folder)
    path = folder / "settings.yaml"
    try:
        settings = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: missing or damaged; name the directory of a finished run")
    return Report(folder, settings, summary)


async def run(settings: Settings, results: str | Path = "results") -> Report:
    """Run to the end, with local workers, and give the report, whatever the verdict.

    Cancelled, it asks the run to drain and ends its workers. Raises SettingsError or UserError for
    a mistake in ``settings``, RunError where the run could not finish.
    """
    from loadgen_service.cli.local_service import local_service

    if not settings.sut or not settings.model:
        raise SettingsError("sut, model: name both, such as sut=['grpc://HOST:8001']")
    said: list[str] = []
    async with local_service(settings.workers, str(results), said.append) as client:
        ended = await _to_end(client, settings)
    if not ended.summary_json:
        error = UserError if ended.exit_code == 2 else RunError
        raise error(ended.error or "; ".join(said) or "the run gave no result")
    return open_run(ended.directory)


async def _to_end(client: ServiceClient, settings: Settings) -> Ended:
    from loadgen_service.cli.run_watcher import ending

    started = await client.start(settings.model_dump_json())
    last = None
    try:
        async for status in client.watch(started.run_id):
            last = status
    except asyncio.CancelledError:
        with contextlib.suppress(RunError, UserError):
            await client.stop(started.run_id)
        raise
    if last is None:
        raise RunError(f"run {started.run_id}: the service said nothing about it")
    return ending(last)
