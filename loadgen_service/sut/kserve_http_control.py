"""What is asked of a KServe v2 server over HTTP/REST before and after load.

Untimed and few: the standard library's client, on a thread. Configuration and statistics are
extensions that not every server has; what is missing is reported as lacking.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf import json_format
from loadgen_proto import loadgen_pb2 as pb
from tritonclient.grpc import service_pb2

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.sut.addresses import SutAddress, parse_addresses
from loadgen_service.sut.control import Answers
from loadgen_service.sut.credentials import read_headers
from loadgen_service.sut.http_get import HttpGet
from loadgen_service.sut.kserve_http import model_path
from loadgen_service.sut.openai_answer import complaint

_ABSENT: Final = (404, 405, 501)
_UNFIT: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError)


class KserveHttpControl:
    """Control calls at KServe v2 servers over HTTP; the same methods as ``SutControl``."""

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        self._settings = settings
        self._addresses = parse_addresses(settings.sut)
        self._path = model_path(settings.model, settings.model_version)
        self._http = HttpGet(
            settings,
            min(timeout_ns / 1e9, settings.connect_timeout_ms / 1e3),
            dict(read_headers(settings.header)),
            "http:// or https://",
        )

    async def __aenter__(self) -> KserveHttpControl:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing stays open."""

    async def describe(self) -> Answers:
        """Ready, metadata, batch size and name of every SUT. Raises ``SutError``."""
        answers = Answers()
        for index, address in enumerate(self._addresses):
            found = await asyncio.to_thread(self._describe, index, address, answers)
            answers.suts.append(found)
        return answers

    async def load(self, samples: Sequence[int], *, unload: bool = False) -> Answers:
        """Nothing that HTTP has."""
        return self._lacks("UnloadSamples" if unload else "LoadSamples")

    async def flush(self) -> Answers:
        """Nothing that HTTP has."""
        return self._lacks("Flush")

    async def clocks(self, count: int = 0) -> Answers:
        """Nothing that HTTP has."""
        return self._lacks("Clock")

    async def statistics(self) -> Answers:
        """Triton's statistics of every SUT that keeps them, as KServe's gRPC message."""
        answers = Answers()
        for index, address in enumerate(self._addresses):
            said = await asyncio.to_thread(self._optional, address, "/stats", "statistics", answers)
            if said is None:
                continue
            try:
                message = service_pb2.ModelStatisticsResponse()
                json_format.ParseDict(said, message, ignore_unknown_fields=True)
            except json_format.ParseError:
                answers.lacking.append(f"statistics at {address}")
                continue
            answers.statistics.append(
                pb.SutStatistics(sut_index=index, kserve_statistics=message.SerializeToString())
            )
        return answers

    def _lacks(self, name: str) -> Answers:
        return Answers(lacking=[f"{name} at {address}" for address in self._addresses])

    # ------------------------------------------------------------ on a thread
    def _describe(self, index: int, address: SutAddress, answers: Answers) -> pb.SutDescription:
        if not self._settings.model:
            raise SutError(f"model: name the model to measure at {address} with --model")
        self._check_ready(address)
        said = self._required(address, self._path)
        config = self._optional(address, "/config", "configuration", answers) or {}
        server = self._server(address, answers)
        try:
            policy = config.get("model_transaction_policy") or {}
            return pb.SutDescription(
                sut_index=index,
                address=str(address),
                name=server,
                platform=str(said.get("platform") or ""),
                inputs=[_tensor(one) for one in said.get("inputs") or ()],
                outputs=[_tensor(one) for one in said.get("outputs") or ()],
                max_batch_size=int(config.get("max_batch_size") or 0),
                decoupled=bool(policy.get("decoupled")),
                model_versions=[str(one) for one in said.get("versions") or ()],
            )
        except _UNFIT as error:
            raise SutError(
                f"sut: {address} describes {self._settings.model!r} in words that are not KServe "
                f"v2's ({error}); is it such a server?"
            ) from None

    def _check_ready(self, address: SutAddress) -> None:
        status, body = self._http.get(address, f"{address.path}{self._path}/ready")
        self._check_rights(address, status, body)
        if status != 200 and status not in _ABSENT:
            raise SutError(
                f"sut: {address} is up, but its model {self._settings.model!r} is not ready "
                f"(HTTP {status}: {complaint(body)}); check --model or wait until it is loaded"
            )

    def _server(self, address: SutAddress, answers: Answers) -> str:
        status, body = self._http.get(address, f"{address.path}/v2")
        said = _object(body) if status == 200 else None
        if said is None:
            answers.lacking.append(f"server metadata at {address}")
            return ""
        return f"{said.get('name', '')} {said.get('version', '')}".strip()

    def _required(self, address: SutAddress, path: str) -> dict[str, Any]:
        status, body = self._http.get(address, f"{address.path}{path}")
        self._check_rights(address, status, body)
        said = _object(body) if status == 200 else None
        if said is not None:
            return said
        fault = f"HTTP {status}: {complaint(body)}"
        if status in (400, 404):
            model = self._settings.model
            raise SutError(f"model: {address} does not serve {model} ({fault}); check --model")
        raise SutError(f"sut: {address} answers {path} with {fault}; is it a KServe v2 server?")

    def _optional(
        self, address: SutAddress, suffix: str, name: str, answers: Answers
    ) -> dict[str, Any] | None:
        status, body = self._http.get(address, f"{address.path}{self._path}{suffix}")
        said = _object(body) if status == 200 else None
        if said is None:
            answers.lacking.append(f"{name} at {address}")
        return said

    def _check_rights(self, address: SutAddress, status: int, body: bytes) -> None:
        if status in (401, 403):
            fault = f"HTTP {status}: {complaint(body)}"
            raise SutError(f"sut: {address} refuses us ({fault}); check --header")


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _tensor(said: dict[str, Any]) -> pb.TensorMetadata:
    return pb.TensorMetadata(
        name=said["name"], datatype=said["datatype"], shape=[int(one) for one in said["shape"]]
    )
