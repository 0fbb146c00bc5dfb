"""Workers on a Ray cluster: placed, watched and ended from the loop of ``loadgen run``.

The cluster's calls block, so each runs in a thread. Decides nothing about runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from loadgen_service.errors import RunError
from loadgen_service.fleet.ray_cluster import Ended, Placed

LOOK_S = 0.25


class Cluster(Protocol):
    """What is needed of a cluster; ``RayCluster`` is the real one."""

    def connect(self) -> None: ...
    def place(self, count: int, wait_s: float) -> None: ...
    def start(self, arguments: Sequence[str], token: str, authority: bytes) -> list[Placed]: ...
    def ended(self, wait_s: float) -> list[Ended]: ...
    def close(self) -> None: ...


class RayWorkers:
    """``count`` workers of one coordinator, a bundle each.

    ``arguments``: flags of ``loadgen worker``; ``authority``: PEM of the service's certificate;
    ``wait_s``: how long free bundles are waited for. ``on_exit`` gets what befalls a worker, sure
    or not; ``say`` gets lines for the user.
    """

    def __init__(
        self,
        cluster: Cluster,
        count: int,
        arguments: Sequence[str],
        token: str,
        authority: bytes,
        *,
        wait_s: float,
        say: Callable[[str], None],
        on_exit: Callable[[Ended], None],
    ) -> None:
        self._cluster = cluster
        self._count = count
        self._arguments = list(arguments)
        self._token = token
        self._authority = authority
        self._wait_s = wait_s
        self._say = say
        self._on_exit = on_exit
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Place and start all; they say hello by themselves. Raises UserError."""
        await asyncio.to_thread(self._cluster.connect)
        await asyncio.to_thread(self._cluster.place, self._count, self._wait_s)
        placed = await asyncio.to_thread(
            self._cluster.start, self._arguments, self._token, self._authority
        )
        self._say(f"ray: {told_placement(placed)}")
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            try:
                ended = await asyncio.to_thread(self._cluster.ended, LOOK_S)
            except RunError as error:
                # the workers' own streams go on without Ray
                self._say(str(error))
                return
            for one in ended:
                what = "ended" if one.is_sure else "in doubt"
                self._say(f"worker on {one.placed.node} {what}: {one.reason}")
                self._on_exit(one)
            # an unreachable actor says so at once, every time it is asked
            await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        """End all workers and leave the cluster; bounded, also when nodes are gone."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.to_thread(self._cluster.close)


def told_placement(placed: Sequence[Placed]) -> str:
    """How many workers on how many nodes, and how many on each."""
    nodes = Counter(one.node for one in placed)
    each = ", ".join(f"{node} has {count}" for node, count in sorted(nodes.items()))
    return f"{len(placed)} worker(s) on {len(nodes)} node(s): {each}"
