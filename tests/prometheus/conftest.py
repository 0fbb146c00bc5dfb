"""The run that the tests of this folder look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_process import program
from scraped_run import Scraped, scraped_run


@pytest.fixture(scope="session")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    program("prometheus")
    with scraped_run(tmp_path_factory.mktemp("prometheus")) as made:
        yield made
