"""The official LoadGen on a thread of its own: one test call, whose callbacks cross to the loop.

The package is used unmodified, with this network path as its QDL. Each of its series waits in the
callback that loads samples until the coordinator starts it. Decides no pace, and caches, joins or
changes nothing on the way.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from loadgen_service.core.plan.plan import SampleCounts
from loadgen_service.core.settings.loadgen_mapping import OfficialValue
from loadgen_service.errors import RunError, UserError

THREAD_NAME: Final = "official-loadgen"
LOG_PREFIX: Final = "mlperf_log_"
LOG_FILES: Final = ("mlperf_log_summary.txt", "mlperf_log_detail.txt", "mlperf_log_accuracy.json")
GATE_POLL_S: Final = 0.5

Handed = tuple[int, Sequence[Any] | None]
"""(instant of the callback in monotonic ns, its QuerySamples); None: LoadGen's flush."""


def official_package() -> ModuleType:
    """The package ``mlperf_loadgen``. Raises UserError naming the remedy."""
    try:
        return importlib.import_module("mlperf_loadgen")
    except ImportError:
        raise UserError(
            "engine: mlcommons needs the official LoadGen on the worker's host; "
            "pip install 'loadgen-service[mlperf]', or use --engine native"
        ) from None


def is_left_behind() -> bool:
    """Whether a test that was given up still runs in this process, which then cannot run another.

    LoadGen follows its schedule to the end whatever becomes of it, and can only be left.
    """
    return any(thread.name == THREAD_NAME for thread in threading.enumerate())


class OfficialTest:
    """One StartTest call. ``loaded_sets``: what each series must load, in order of the series.

    ``ask_name`` is called on LoadGen's thread and may take its time. ``fd`` becomes readable when
    ``handed`` has something new; ``acknowledge`` makes it unreadable again.
    """

    def __init__(
        self,
        fields: Mapping[str, OfficialValue],
        counts: SampleCounts,
        loaded_sets: Mapping[int, Sequence[int]],
        ask_name: Callable[[], str],
    ) -> None:
        self._package = official_package()
        self._fields = dict(fields)
        self._counts = counts
        self._loaded_sets = loaded_sets
        self._order = deque(sorted(loaded_sets))
        self._ask_name = ask_name
        self._gate = threading.Condition()
        self._waits_for: int | None = None
        self._open: set[int] = set()
        self._error = ""
        self._signalled = False
        self._is_abandoned = False
        self.handed: deque[Handed] = deque()
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._folder = Path(tempfile.mkdtemp(prefix="loadgen-official-"))
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    # ------------------------------------------------------------ the loop's side
    def await_load(self, series_index: int, timeout_s: float) -> None:
        """Return once LoadGen asks for the samples of this series; begins the test if need be.

        Blocking. Raises RunError where it asks for others, or for none in time.
        """
        if self._thread.ident is None:
            if is_left_behind():
                raise RunError(
                    "engine: this worker still holds an interrupted official test; restart it"
                )
            self._thread.start()
        deadline = time.monotonic() + timeout_s
        with self._gate:
            while self._waits_for != series_index and not self._error and self._thread.is_alive():
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise RunError("engine: the official LoadGen did not load its samples in time")
                self._gate.wait(min(left_s, GATE_POLL_S))
            if self._error or self._waits_for != series_index:
                raise RunError(f"engine: {self._error or 'the official LoadGen ended early'}")

    def let_go(self, series_index: int) -> None:
        """The samples are loaded: LoadGen may make its queries and start its clock."""
        with self._gate:
            self._open.add(series_index)
            self._gate.notify_all()

    def acknowledge(self) -> None:
        """``handed`` is about to be read: what comes from now on signals again."""
        self._signalled = False
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return  # the signal was taken with an earlier one

    def complete(
        self,
        ids: Sequence[int],
        data_of: Callable[[int], bytes] | None = None,
        token_counts: Sequence[int] = (),
    ) -> None:
        """Tell LoadGen that these samples are answered; it reads its clock at once.

        ``data_of`` is asked for the answers of those samples only that LoadGen logs, after that.
        """
        made = self._package.QuerySampleResponse
        if token_counts:
            responses = [made(i, 0, 0, n) for i, n in zip(ids, token_counts, strict=True)]
        else:
            responses = [made(i, 0, 0) for i in ids]
        self._tell(self._package.QuerySamplesComplete, responses, data_of)

    def first_token(self, sample_id: int, data: bytes) -> None:
        """Tell LoadGen that the first piece of an answer came."""
        buffer = ctypes.create_string_buffer(data, max(1, len(data)))
        response = self._package.QuerySampleResponse(sample_id, ctypes.addressof(buffer), len(data))
        self._package.FirstTokenComplete([response])

    def _tell(
        self,
        call: Callable[..., None],
        responses: Sequence[Any],
        data_of: Callable[[int], bytes] | None,
    ) -> None:
        if data_of is None:
            call(responses)
            return
        buffers = []

        def fill(response: Any) -> None:
            data = data_of(response.id)
            buffer = ctypes.create_string_buffer(data, max(1, len(data)))
            buffers.append(buffer)  # LoadGen copies it before the call returns
            response.data, response.size = ctypes.addressof(buffer), len(data)

        call(responses, fill)

    def abandon(self) -> None:
        """Answer at once, empty, whatever LoadGen still issues; it ends when its list does."""
        self._is_abandoned = True
        with self._gate:
            self._gate.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether the test call has returned, so that the log files are whole."""
        return not self._thread.is_alive()

    @property
    def error(self) -> str:
        """Why the test went wrong, one line; empty if it did not."""
        return self._error

    def log_files(self) -> list[Path]:
        """The official log files, once the test is over; none where it failed."""
        if not self.is_over or self._error:
            return []
        found = [self._folder / name for name in LOG_FILES]
        return [path for path in found if path.is_file() and path.stat().st_size]

    def close(self) -> None:
        """Give the folder back, and the descriptor if nobody will signal any more."""
        self.abandon()
        if self.is_over:
            os.close(self.fd)
        shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------ LoadGen's thread
    def _run(self) -> None:
        package = self._package
        try:
            sut = package.ConstructQDL(self._issue, self._flush, self._name)
            qsl = package.ConstructQSL(
                self._counts.total, self._counts.performance, self._load, self._unload
            )
            package.StartTestWithLogSettings(
                sut, qsl, self._test_settings(), self._log_settings(), ""
            )
            package.DestroyQSL(qsl)
            package.DestroyQDL(sut)
        except Exception as error:  # it must reach the user as a line, not as silence
            self._error = self._error or f"{type(error).__name__}: {error}"
        with self._gate:
            self._gate.notify_all()

    def _test_settings(self) -> Any:
        package = self._package
        settings = package.TestSettings()
        for name, value in self._fields.items():
            if name == "scenario":
                value = getattr(package.TestScenario, str(value))
            elif name == "mode":
                value = getattr(package.TestMode, str(value))
            setattr(settings, name, value)
        return settings

    def _log_settings(self) -> Any:
        output = self._package.LogOutputSettings()
        output.outdir, output.prefix, output.suffix = str(self._folder), LOG_PREFIX, ""
        output.copy_summary_to_stdout = output.copy_detail_to_stdout = False
        settings = self._package.LogSettings()
        settings.log_output = output
        settings.enable_trace = False  # gigabytes, and no valid JSON
        return settings

    def _name(self) -> str:
        return self._ask_name()

    def _load(self, samples: Sequence[int]) -> None:
        """Wait for the coordinator, which has the SUTs load the same samples meanwhile."""
        index = self._order.popleft() if self._order else -1
        wanted = self._loaded_sets.get(index)
        with self._gate:
            if wanted is None or list(samples) != list(wanted):
                self._error = (
                    "the installed official LoadGen loads other samples than version 6.0.17; "
                    "pip install mlcommons-loadgen==6.0.17"
                )
                self._is_abandoned = True
            self._waits_for = index
            self._gate.notify_all()
            while index not in self._open and not self._is_abandoned:
                self._gate.wait(GATE_POLL_S)

    def _unload(self, samples: Sequence[int]) -> None:
        """The coordinator has the SUTs unload after the last record."""

    def _issue(self, samples: Sequence[Any]) -> None:
        now_ns = time.monotonic_ns()
        if self._is_abandoned:
            self.complete([sample.id for sample in samples])
            return
        self._hand_over(now_ns, samples)

    def _flush(self) -> None:
        self._hand_over(time.monotonic_ns(), None)

    def _hand_over(self, now_ns: int, samples: Sequence[Any] | None) -> None:
        self.handed.append((now_ns, samples))
        if not self._signalled:  # one wake-up for all that comes before the loop looks
            self._signalled = True
            os.eventfd_write(self.fd, 1)
