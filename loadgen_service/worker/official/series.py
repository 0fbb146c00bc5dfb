"""What a series needs to be issued by the official LoadGen, and what it leaves: LoadGen's logs.

Decides how long LoadGen may take to end after its last sample. Reads its files, never their text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from loadgen_service.core.pacing.external_pacer import OfficialPacer
from loadgen_service.core.plan.plan import SampleCounts, SeriesPlan, SeriesSpec
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.settings.loadgen_mapping import network_sut_name, official_fields
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.sut.factory import descriptor_of
from loadgen_service.worker.official.loadgen_thread import OfficialTest
from loadgen_service.worker.official.loop import OfficialLoop
from loadgen_service.worker.uplink.sender import SealedFile

END_TIMEOUT_S: Final = 20.0
"""LoadGen sorts and writes after its last sample; it takes some seconds for ten million."""

LEAVE_TIMEOUT_S: Final = 2.0
"""After a stop LoadGen still follows its schedule: a short one may end, a long one is left."""

POLL_S: Final = 0.02
FILE_PIECE_BYTES: Final = 1 << 20
NO_WINDOW: Final = 1 << 62
NAME_MARGIN_S: Final = 5.0


def make_official_test(
    settings: Settings,
    counts: SampleCounts,
    specs: Sequence[SeriesSpec],
    loop: asyncio.AbstractEventLoop,
) -> OfficialTest:
    """The test call of a run: all its series but a warm-up. ``loop`` asks the SUTs' names."""

    def ask_name() -> str:
        asking = asyncio.run_coroutine_threadsafe(network_name(settings), loop)
        try:
            return asking.result(settings.connect_timeout_ms / 1000 + NAME_MARGIN_S)
        except Exception as error:  # LoadGen must get a name, whatever happened to the SUTs
            asking.cancel()
            return network_sut_name([f"no answer ({type(error).__name__}: {error})"])

    loaded = {spec.index: spec.loaded.tolist() for spec in specs if spec.kind != "warmup"}
    return OfficialTest(official_fields(settings), counts, loaded, ask_name)


async def network_name(settings: Settings) -> str:
    """The names that all SUTs give now, each once, over the network."""
    timeout_ns = settings.connect_timeout_ms * NS_PER_MS
    async with descriptor_of(settings).control(settings, timeout_ns) as control:
        answers = await control.describe()
    return network_sut_name(sut.name or sut.address for sut in answers.suts)


def make_official_loop(
    test: OfficialTest, settings: Settings, plan: SeriesPlan, **common: Any
) -> OfficialLoop:
    """The loop of one series."""
    pulled = SCENARIOS[plan.scenario].pulled
    return OfficialLoop(
        test=test,
        pacer=OfficialPacer(settings, plan),
        samples=plan.samples.data,
        window=settings.offline_window * max(1, len(settings.sut)) if pulled else NO_WINDOW,
        wants_data=plan.spec.kind == "accuracy" or settings.samples_responses,
        wants_tokens=settings.use_token_latencies,
        **common,
    )


async def closing_words(loop: OfficialLoop, series_index: int) -> list[SealedFile]:
    """The official log files in pieces, once LoadGen has ended; none where it has not in time."""
    limit_s = LEAVE_TIMEOUT_S if loop.is_cut else END_TIMEOUT_S
    clock = asyncio.get_running_loop().time
    deadline = clock() + limit_s
    while not loop.test.is_over and clock() < deadline:
        loop.take_over()
        await asyncio.sleep(POLL_S)
    files = loop.test.log_files()
    return await asyncio.to_thread(_pieces, files, series_index)


def _pieces(files: Sequence[Path], series_index: int) -> list[SealedFile]:
    made = []
    for path in files:
        content = path.read_bytes()
        for offset in range(0, len(content), FILE_PIECE_BYTES):
            piece = content[offset : offset + FILE_PIECE_BYTES]
            made.append(SealedFile(series_index, path.name, offset, piece))
    return made
