"""A script served over the network: sut-server in front, its callbacks in the thread of StartTest.

A LoadGen elsewhere decides what is asked and when; the script's test settings are not used. Samples
come by number, or with the tensors that the operator named.
"""

from __future__ import annotations

import asyncio
import queue
import shlex
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

import uvloop

from loadgen_service.binding.answers import Answer
from loadgen_service.binding.choice import Choice
from loadgen_service.binding.handles import ScriptQsl, ScriptSut
from loadgen_service.binding.script_engine import INDEX_INPUT, OUTPUT, ScriptEngine
from loadgen_service.binding.values import QuerySample
from loadgen_service.core.settings.loadgen_mapping import BY_INDEX_PLATFORM
from loadgen_service.errors import UserError
from sut_server.errors import UsageError
from sut_server.models.spec import ModelSpec, checked_specs
from sut_server.models.tensors import TensorSpec
from sut_server.options import parse_options
from sut_server.server import Server, start

WITH_DATA: Final = "mlperf_binding"
WAIT_S: Final = 0.2
READY_TIMEOUT_S: Final = 30.0
END_TIMEOUT_S: Final = 30.0


Work = QuerySample | Callable[[], None]
"""What waits for the script's thread: a sample, or something to call."""


def served_spec(model: str, inputs: str, *, streamed: bool) -> ModelSpec:
    """The model's tensors: one answer of so many bytes for one sample. Raises UserError."""
    tensors: tuple[TensorSpec, ...] = (TensorSpec(INDEX_INPUT, "INT64", (1,)),)
    if inputs:
        triples = [part.split(":") for part in inputs.split(";")]
        try:
            tensors = checked_specs(
                "LOADGEN_BINDING_INPUTS",
                [(name, kind, shape.split(",")) for name, kind, shape in triples],
            )
        except (UsageError, ValueError) as error:
            raise UserError(
                f"LOADGEN_BINDING_INPUTS: {inputs!r}: write NAME:DATATYPE:DIM,DIM;... ({error})"
            ) from None
    return ModelSpec(
        name=model,
        platform=WITH_DATA if inputs else BY_INDEX_PLATFORM,
        inputs=tensors,
        outputs=(TensorSpec(OUTPUT, "UINT8", (-1,)),),
        is_decoupled=streamed,
    )


class ServedScript:
    """Serves one script until ``stop`` or a signal. ``run`` blocks the thread of StartTest."""

    def __init__(self, choice: Choice, sut: ScriptSut, qsl: ScriptQsl, streamed: bool) -> None:
        self._choice = choice
        self._sut = sut
        self._qsl = qsl
        self._spec = served_spec(choice.model, choice.inputs, streamed=streamed)
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._loaded: set[int] = set()
        self._stopped = threading.Event()
        self._ready: Future[Server] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._engine: ScriptEngine | None = None

    # ------------------------------------------------------------ the script's thread
    def run(self) -> None:
        """Serve; the script's callbacks are called here. Raises UserError if it cannot begin."""
        thread = threading.Thread(target=self._serve, name="binding-server", daemon=True)
        with _Signals(self.stop):
            thread.start()
            try:
                server = self._ready.result(READY_TIMEOUT_S)
            except UsageError as error:
                raise UserError(f"LOADGEN_BINDING_FLAGS: {error}") from None
            self._say_ready(server)
            try:
                self._call_back()
            finally:
                self.stop()
                assert self._loop is not None
                assert self._ending is not None
                self._loop.call_soon_threadsafe(self._ending.set)
                thread.join(END_TIMEOUT_S)

    def _say_ready(self, server: Server) -> None:
        counts = ""
        if not self._choice.inputs:
            counts = (
                f" --total-sample-count {self._qsl.total_sample_count} "
                f"--performance-sample-count {self._qsl.performance_sample_count}"
            )
        print(
            f"loadgen binding: {self._spec.name} ready on {server.address}; measure it with: "
            f"loadgen run --sut grpc://{server.address} --model {self._spec.name}{counts}",
            flush=True,
        )

    def _call_back(self) -> None:
        while not self._stopped.is_set():
            try:
                item: Work | None = self._work.get(timeout=WAIT_S)
            except queue.Empty:
                continue
            while item is not None:
                item = self._call_one(item)

    def _call_one(self, item: Work) -> Work | None:
        """Call the script for ``item`` and the samples right behind it; what came after them."""
        if not isinstance(item, QuerySample):
            item()
            return None
        samples, after = [item], None
        while len(samples) < self._choice.max_samples:
            try:
                following = self._work.get_nowait()
            except queue.Empty:
                break
            if not isinstance(following, QuerySample):
                after = following
                break
            samples.append(following)
        self._load_missing(samples)
        self._sut.issue(samples)
        return after

    def _load_missing(self, samples: Sequence[QuerySample]) -> None:
        """A client that told nothing before (KServe v2 has no load) is served all the same."""
        missing = {s.index for s in samples if s.index >= 0} - self._loaded
        if missing:
            self._qsl.load(sorted(missing))
            self._loaded |= missing

    def stop(self) -> None:
        """End ``run``; from any thread, and from a signal."""
        self._stopped.set()

    # ------------------------------------------------------------ the server's side
    def issue(self, sample: QuerySample) -> None:
        """A request came: give its sample to the script."""
        self._work.put(sample)

    def flush(self) -> None:
        """The client says that nothing more comes in this series."""
        self._work.put(self._sut.flush)

    def load(self, samples: list[int]) -> None:
        """Have the script load; returns when it has. Called on a thread that may wait."""
        distinct = list(samples)
        self._wait_for(lambda: self._load_now(distinct))

    def unload(self, samples: list[int]) -> None:
        """Have the script unload."""
        self._wait_for(lambda: self._unload_now(list(samples)))

    def _load_now(self, samples: list[int]) -> None:
        if self._choice.inputs:
            return  # its data comes with the requests
        self._qsl.load(samples)
        self._loaded.update(samples)

    def _unload_now(self, samples: list[int]) -> None:
        if self._choice.inputs:
            return
        self._qsl.unload(samples)
        self._loaded.difference_update(samples)

    def _wait_for(self, action: Callable[[], None]) -> None:
        done: Future[None] = Future()

        def act() -> None:
            try:
                action()
            except Exception as error:  # it belongs to the client's call, not to the script's loop
                done.set_exception(error)
            else:
                done.set_result(None)

        self._work.put(act)
        while not self._stopped.is_set():
            try:
                return done.result(WAIT_S)
            except TimeoutError:
                continue
        return None

    def wants(self, sample_id: int) -> bool:
        """See ``Receiver``: every answer crosses the network."""
        return True

    def receive(self, answers: Sequence[Answer]) -> None:
        """See ``Receiver``."""
        if self._loop is not None and self._engine is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._engine.answer, list(answers))

    def _serve(self) -> None:
        try:
            uvloop.run(self._serve_until_stopped())
        except Exception as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            self.stop()

    async def _serve_until_stopped(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        argv = ["--model", self._spec.name, *shlex.split(self._choice.flags)]

        def make_engine(clock_ns: Callable[[], int]) -> ScriptEngine:
            self._engine = ScriptEngine(self._spec, self, self._qsl.total_sample_count, clock_ns)
            return self._engine

        server = await start(parse_options(argv), {self._spec.name: make_engine})
        self._ready.set_result(server)
        await self._ending.wait()
        await server.stop()


class _Signals:
    """SIGINT and SIGTERM end the serving, where this is the thread that gets them."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, lambda *_: self._stop())

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
