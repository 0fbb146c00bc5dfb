"""A Ray cluster as a place for worker processes: one actor a bundle, bundles spread over nodes.

Every call blocks, and Ray's errors become ours here. The data path is not Ray's: the processes
speak to the LoadGen service over gRPC as workers anywhere do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadgen_service.errors import RunError, UserError
from loadgen_service.fleet.worker_host import Started, WorkerHost

SCHEME: Final = "ray://"
PORT: Final = 10001
"""Where ``ray start --head`` listens for Ray clients, if it is told nothing."""

CONNECT_S: Final = 5.0
SLOW_HEAD: Final = "Starting Ray client server failed"
"""What a busy head says when a client's process there took too long; the next is quicker."""

START_S: Final = 30.0
"""How long a node may take to start a Python process and import us."""

STOP_S: Final = 8.0

CHATTY: Final = ("ray._private.worker", "ray.client_builder", "ray.util.client")

UNREACHABLE: Final = "ActorUnavailableError"
"""A broken connection: the node may be dead, or may be back in a second. Ray knows after 15 s."""

NODE_DEAD: Final = "Ray says that its node died"
DEAD: Final = {
    "ActorDiedError": "Ray says that its actor died",
    "NodeDiedError": NODE_DEAD,
    "WorkerCrashedError": "Ray says that its actor's process crashed",
}


@dataclass(frozen=True, slots=True)
class Placed:
    """A worker process and the node it is on (its address in the cluster)."""

    node: str
    started: Started


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended by itself or that Ray has lost, and why. ``is_sure``: it is gone; else
    Ray cannot reach it for now.
    """

    placed: Placed
    reason: str
    is_sure: bool = True


def remedy(text: str) -> str:
    """What to do about Ray's error ``text`` on connecting; Ray 2.60 asks clients for a token."""
    lower = text.lower()
    if "authenticat" in lower or "token" in lower:
        return (
            "give this host the cluster's token: RAY_AUTH_TOKEN, or the head's ~/.ray/auth_token "
            "(`ray get-auth-token` prints it), with RAY_AUTH_MODE=token; without one on either "
            "side, RAY_AUTH_MODE=disabled"
        )
    return "see the head's own logs, and have the same versions of Ray and Python here and there"


class RayCluster:
    """One connection to a cluster. ``address``: ``ray://HOST[:PORT]`` of its head."""

    def __init__(self, address: str) -> None:
        self.head = head_of(address)
        self._ray: Any = None
        self._is_connected = False
        self._group: Any = None
        self._actors: list[Any] = []
        self._placed: list[Placed] = []
        # reference to the end of a process -> its place among the actors
        self._waiting: dict[Any, int] = {}
        self._doubted: set[int] = set()

    def connect(self) -> None:
        """Raises UserError where Ray is not installed, or the head does not answer or agree."""
        self._ray = import_ray()
        host, port = self.head
        where = f"fleet {SCHEME}{host}:{port}"
        try:
            socket.create_connection((host, port), CONNECT_S).close()
        except OSError as error:
            raise UserError(
                f"{where}: no Ray head answers there ({error.strerror or error}); its port for "
                f"clients is --ray-client-server-port of `ray start --head`, {PORT} if not given"
            ) from None
        for is_last in (False, True):
            try:
                self._ray.init(f"{SCHEME}{host}:{port}", log_to_driver=False)
                self._is_connected = True
                return
            except Exception as error:  # Ray raises whatever its gRPC, pickle and versions do
                if SLOW_HEAD in str(error) and not is_last:
                    self._ray.shutdown()
                    continue
                raise UserError(f"{where}: {first_line(error)}; {remedy(str(error))}") from None

    def place(self, count: int, wait_s: float) -> None:
        """Reserve ``count`` bundles of one CPU, on different nodes as far as there are.

        Raises UserError when the cluster has not that much free within ``wait_s``.
        """
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self._group = placement_group([{"CPU": 1}] * count, strategy="SPREAD")
        if not self._group.wait(wait_s):
            free = self._ray.available_resources().get("CPU", 0)
            raise UserError(
                f"fleet: {count} workers need a CPU each of the Ray cluster, which has {free:g} "
                f"free after {wait_s:g} s; ask for fewer --workers, or add nodes"
            )
        remote = self._ray.remote(WorkerHost)
        for index in range(count):
            strategy = PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=index
            )
            # its methods: one waits for the process, another stops it
            options = {"num_cpus": 1, "max_concurrency": 3, "max_restarts": 0}
            self._actors.append(remote.options(scheduling_strategy=strategy, **options).remote())

    def start(self, arguments: Sequence[str], token: str, authority: bytes) -> list[Placed]:
        """Start a worker in each bundle. Raises UserError where a node cannot."""
        starting = [actor.start.remote(arguments, token, authority) for actor in self._actors]
        try:
            answers = self._ray.get(starting, timeout=START_S)
        except Exception as error:
            raise UserError(
                f"fleet: a Ray node cannot start its worker ({first_line(error)}); each needs this "
                "version of loadgen-service in the Python that runs Ray"
            ) from None
        self._placed = [Placed(node, started) for node, started in answers]
        self._waiting = {actor.wait.remote(): i for i, actor in enumerate(self._actors)}
        return self._placed

    def ended(self, wait_s: float) -> list[Ended]:
        """What befell workers since the last call; looks for up to ``wait_s``.

        Each end is told once, and before it at most one doubt. Raises RunError when Ray is gone.
        """
        if not self._waiting:
            return []
        try:
            ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=wait_s)
            told = [self._end_of(one) for one in ready]
        except Exception as error:
            raise RunError(f"fleet: the Ray cluster is lost ({first_line(error)})") from None
        return [one for one in told if one is not None]

    def _end_of(self, waited: Any) -> Ended | None:
        index = self._waiting.pop(waited)
        try:
            return Ended(self._placed[index], str(self._ray.get(waited, timeout=START_S)))
        except Exception as error:
            kind = type(error).__name__
            if kind != UNREACHABLE:
                said = DEAD.get(kind, "Ray says")
                if kind in DEAD and self._is_dead(self._placed[index].node):
                    said = NODE_DEAD
                return Ended(self._placed[index], f"{said}: {first_line(error)}")
        self._waiting[self._actors[index].wait.remote()] = index
        if index in self._doubted:
            return None
        self._doubted.add(index)
        return Ended(self._placed[index], "Ray cannot reach its actor", is_sure=False)

    def _is_dead(self, node: str) -> bool:
        known = [one["Alive"] for one in self._ray.nodes() if one["NodeManagerAddress"] == node]
        return not any(known)

    def close(self) -> None:
        """Stop what runs, give the bundles back, leave the cluster. May be called at any time."""
        if self._ray is None or not self._is_connected:
            return
        self._is_connected = False
        with contextlib.suppress(Exception):  # a dead node's actors answer nothing
            stopping = [actor.stop.remote() for actor in self._actors]
            self._ray.wait(stopping, num_returns=len(stopping), timeout=STOP_S)
        with contextlib.suppress(Exception):
            for actor in self._actors:
                self._ray.kill(actor)
            if self._group is not None:
                from ray.util.placement_group import remove_placement_group

                remove_placement_group(self._group)
        with contextlib.suppress(Exception):
            self._ray.shutdown()
        self._ray, self._actors, self._waiting = None, [], {}


def import_ray() -> Any:
    """The module, quiet. Raises UserError with the remedy where it is missing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # else any call without a connection would start a cluster of its own on this host
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        import ray
    except ImportError:
        raise UserError(
            "fleet: the package ray is not installed: pip install 'loadgen-service[ray]', of the "
            "version that the cluster runs"
        ) from None
    for name in CHATTY:  # by name: Ray sets its own logger's level when it connects
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


def head_of(address: str) -> tuple[str, int]:
    """Host and port of ``ray://HOST[:PORT]``. Raises UserError for anything else."""
    scheme, found, rest = address.partition("://")
    host, _, port = rest.rpartition(":") if rest.rpartition(":")[2].isdigit() else (rest, "", "")
    if not found or scheme != "ray" or not host or "/" in host:
        raise UserError(f"fleet {address}: give ray://HOST:PORT of a Ray head")
    number = int(port or PORT)
    if not 0 < number < 65536:
        raise UserError(f"fleet {address}: {number} is no port")
    return host.strip("[]"), number


def first_line(error: BaseException) -> str:
    """The line of an error that says most: Ray's run over pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    causes = [line for line in lines if "is dead because" in line]
    if causes:
        # what follows are identifiers and advice to look into Ray's logs
        return causes[0].partition(". ")[0][:300].rstrip(".")
    # a failed import in an actor comes as a whole traceback, the cause last
    line = lines[-1] if "Traceback" in str(error) else lines[0]
    return line[:300].rstrip(".")
