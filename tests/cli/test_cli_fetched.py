"""Results that cannot be downloaded are not gone: the user is told where they lie."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loadgen_service.cli.run_watcher import Ended
from loadgen_service.cli.verbs.run import fetched
from loadgen_service.errors import RunError, UserError

ENDED = Ended("abc", 0, "/service/results/x", "{}")


class Client:
    """Refuses the download, or allows it."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def fetch(self, run_id: str, folder: Path) -> None:
        if self._error:
            raise self._error


def test_a_token_that_ends_in_a_run_leaves_the_results_at_the_service() -> None:
    client: Any = Client(UserError("token a: ended at 2020; ask the operator for the new one"))
    with pytest.raises(RunError) as told:
        asyncio.run(fetched(client, ENDED, "here"))
    assert "lie at the service in /service/results/x" in str(told.value)
    assert "token a: ended at 2020" in str(told.value)


def test_downloaded_results_are_named_where_they_are() -> None:
    client: Any = Client(None)
    assert asyncio.run(fetched(client, ENDED, "here")).directory == "here"
