"""Progress of a run in words: what a status says, line by line. Pure: no clock, no terminal."""

from __future__ import annotations

from typing import Final

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.units import NS_PER_S
from loadgen_service.report.formatting import say_count, say_ns, say_rate
from loadgen_service.report.tokens import TOKEN_RATE, TTFT

PLAIN_INTERVAL_NS: Final = 5_000_000_000
"""A log of a run is read later: a line each five seconds tells enough."""

_SAID: Final[dict[int, str]] = {
    pb.QUEUED: "queued behind another run",
    pb.LEASING: "waiting for workers",
    pb.PREPARING: "asking the SUT, loading samples, planning",
    pb.RUNNING: "issuing",
    pb.DRAINING: "waiting for the last answers",
    pb.WRITING: "working out exact figures",
    pb.DONE: "done",
    pb.FAILED: "failed",
    pb.INTERRUPTED: "interrupted",
}
FINAL: Final = frozenset({pb.DONE, pb.FAILED, pb.INTERRUPTED})


def title(status: pb.RunStatus) -> str:
    """``server performance``, with the series where there are several."""
    text = f"{status.scenario} {status.mode}".strip()
    if status.stream_name:
        text = f"{status.stream_name}: {text}"
    if status.series_count > 1:
        name = status.series_name or "series"
        text += f", {name} ({status.series_index + 1} of {status.series_count})"
    return text


def state_words(status: pb.RunStatus) -> str:
    """What the run does now."""
    return _SAID.get(status.state, "starting")


def figures(status: pb.RunStatus) -> dict[str, str]:
    """Live figures by their name, in the order in which they are shown; counts are of requests."""
    counts, live = status.queries, status.live
    failed = counts.failed + counts.timed_out + counts.lost
    shown = {
        "elapsed": f"{status.elapsed_ns / NS_PER_S:.1f} s",
        "issued": say_count(counts.issued),
        "completed": say_count(counts.completed),
        "outstanding": say_count(live.outstanding),
        "failed": say_count(failed),
        **_tokens(live),
        "rate": f"{say_rate(live.completed_qps)}/s",
        "p50": say_ns(live.latency_ns_p50),
        "p99": say_ns(live.latency_ns_p99),
        "issue delay p99": say_ns(live.issue_delay_ns_p99),
    }
    if not counts.completed:
        for name in ("rate", "p50", "p99"):
            shown[name] = "-"
    return shown


def _tokens(live: pb.LiveFigures) -> dict[str, str]:
    """Figures of a language model, which stand before the others; none of other models."""
    if not live.ttft_ns_p50:
        return {}
    return {
        f"{TTFT} p50": say_ns(live.ttft_ns_p50),
        f"{TTFT} p99": say_ns(live.ttft_ns_p99),
        TOKEN_RATE: say_rate(live.tokens_per_second),
    }


def share(status: pb.RunStatus) -> float | None:
    """How much of the series is behind us, 0 to 1; None where its length is not known."""
    if status.state in FINAL or status.state == pb.WRITING:
        return 1.0
    if status.planned_ns > 0:
        return min(1.0, status.elapsed_ns / status.planned_ns)
    if status.queries.planned > 0:
        return min(1.0, status.queries.completed / status.queries.planned)
    return None


class PlainLines:
    """Which lines a log gets: one a change of state or series, and one each five seconds."""

    def __init__(self) -> None:
        self._stage: tuple[int, int] | None = None
        self._said_ns = 0
        self._notes: set[str] = set()
        self._streams: dict[str, PlainLines] = {}

    def lines(self, status: pb.RunStatus) -> list[str]:
        """Lines for ``status``; often none. Of a mixed run, those of its streams."""
        if status.streams:
            of = self._of_stream
            return [line for one in status.streams for line in of(one.stream_name).lines(one)]
        said = [f"{title(status)}: note: {note}" for note in self._new_notes(status)]
        stage = (int(status.state), int(status.series_index))
        if stage != self._stage:
            self._stage, self._said_ns = stage, status.elapsed_ns
            said.append(f"{title(status)}: {state_words(status)}")
        elif status.state in (pb.RUNNING, pb.DRAINING) and self._is_due(status):
            self._said_ns = status.elapsed_ns
            words = ", ".join(f"{name} {value}" for name, value in figures(status).items())
            said.append(f"{title(status)}: {words}")
        return said

    def _of_stream(self, name: str) -> PlainLines:
        return self._streams.setdefault(name, PlainLines())

    def _is_due(self, status: pb.RunStatus) -> bool:
        return status.elapsed_ns - self._said_ns >= PLAIN_INTERVAL_NS

    def _new_notes(self, status: pb.RunStatus) -> list[str]:
        new = [note for note in status.notes if note not in self._notes]
        self._notes.update(new)
        return new
