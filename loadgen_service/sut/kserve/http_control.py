"""What is asked of a KServe v2 server over HTTP/REST before and after load.

Configuration and statistics are
extensions that not every server has; what is missing is reported as lacking.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any, Final

from google.protobuf import json_format
from loadgen_proto import loadgen_pb2 as pb
from tritonclient.grpc import service_pb2

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.sut.control import NO_STATISTICS, Answers
from loadgen_service.sut.grpc.control import says_unknown
from loadgen_service.sut.http.control import HttpControl
from loadgen_service.sut.kserve.http_request import model_path
from loadgen_service.sut.net.addresses import SutAddress
from loadgen_service.sut.net.credentials import read_text_headers
from loadgen_service.sut.net.diagnosis import openai_address
from loadgen_service.sut.net.proxy_env import proxy_of
from loadgen_service.sut.openai.response import complaint

BINARY_TENSORS: Final = "binary_tensor_data"
"""The extension that our usual requests need, as KServe v2's HTTP names it."""

_ABSENT: Final = (404, 405, 501)
_UNFIT: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError)


class KserveHttpControl(HttpControl):
    """Control calls at KServe v2 servers over HTTP; the same methods as ``SutControl``."""

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        headers = read_text_headers(settings.header)
        super().__init__(settings, timeout_ns, headers)
        self._path = model_path(settings.model, settings.model_version)

    async def describe(self) -> Answers:
        """Ready, metadata, batch size and name of every SUT. Raises ``SutError``."""
        answers = Answers()
        for index, address in enumerate(self._addresses):
            found = await asyncio.to_thread(self._describe, index, address, answers)
            answers.suts.append(found)
        return answers

    async def statistics(self) -> Answers:
        """Triton's statistics of every SUT, as KServe's gRPC message; or why it has none."""
        answers = Answers()
        for index, address in enumerate(self._addresses):
            try:
                found = await asyncio.to_thread(self._statistics, index, address)
            except SutError as error:
                found = pb.SutStatistics(sut_index=index, missing=str(error))
            answers.statistics.append(found)
        return answers

    # ------------------------------------------------------------ on a thread
    def _describe(self, index: int, address: SutAddress, answers: Answers) -> pb.SutDescription:
        if not self._settings.model:
            raise SutError(f"model: name the model to measure at {address} with --model")
        self._check_ready(address)
        said = self._metadata(address, answers)
        told = self._optional(address, "/config", "configuration", answers)
        config = told or {}
        server = self._server(address, answers)
        try:
            policy = config.get("model_transaction_policy") or {}
            optional = {one["name"] for one in config.get("input") or () if one.get("optional")}
            return pb.SutDescription(
                sut_index=index,
                address=str(address),
                name=server,
                platform=str(said.get("platform") or ""),
                inputs=[_tensor(one, optional) for one in said.get("inputs") or ()],
                outputs=[_tensor(one) for one in said.get("outputs") or ()],
                max_batch_size=int(config.get("max_batch_size") or 0),
                has_config=told is not None,
                decoupled=bool(policy.get("decoupled")),
                model_versions=[str(one) for one in said.get("versions") or ()],
            )
        except _UNFIT as error:
            raise SutError(
                f"sut: {address} describes {self._settings.model!r} in words that are not KServe "
                f"v2's ({error}); is it such a server?"
            ) from None

    def _metadata(self, address: SutAddress, answers: Answers) -> dict[str, Any]:
        """The model's tensors; none where the server has no such page and --shape says them."""
        if not self._settings.shape:
            return self._required(address, self._path)
        status, body = self._get(address, f"{address.path}{self._path}")
        if status not in _ABSENT or says_unknown(self._settings.model, complaint(body)):
            return self._required(address, self._path)
        answers.lacking.append(f"metadata of the model at {address} (--shape holds)")
        return {}

    def _statistics(self, index: int, address: SutAddress) -> pb.SutStatistics:
        """Of the model and, where it is an ensemble, of its parts."""
        message = service_pb2.ModelStatisticsResponse()
        if not self._add_statistics(address, self._path, message):
            return pb.SutStatistics(sut_index=index, missing=NO_STATISTICS)
        for name in self._ensemble_parts(address):
            self._add_statistics(address, model_path(name, ""), message)
        return pb.SutStatistics(sut_index=index, kserve_statistics=message.SerializeToString())

    def _add_statistics(self, address: SutAddress, path: str, message: Any) -> bool:
        """Whether the server told any of this model."""
        status, body = self._get(address, f"{address.path}{path}/stats")
        said = _object(body) if status == 200 else None
        if said is None:
            return False
        found = service_pb2.ModelStatisticsResponse()
        try:
            json_format.ParseDict(said, found, ignore_unknown_fields=True)
        except json_format.ParseError:
            return False
        message.model_stats.extend(found.model_stats)
        return True

    def _ensemble_parts(self, address: SutAddress) -> list[str]:
        config = self._optional(address, "/config", "configuration", Answers()) or {}
        try:
            steps = (config.get("ensemble_scheduling") or {}).get("step") or ()
            return list(dict.fromkeys(str(one["model_name"]) for one in steps))
        except _UNFIT:
            return []

    def _check_ready(self, address: SutAddress) -> None:
        status, body = self._get(address, f"{address.path}{self._path}/ready")
        self._check_rights(address, status, body)
        if status != 200 and status not in _ABSENT:
            raise SutError(
                f"sut: {address} is up, but its model {self._settings.model!r} is not ready "
                f"(HTTP {status}: {complaint(body)}); check --model or wait until it is loaded"
            )

    def _server(self, address: SutAddress, answers: Answers) -> str:
        status, body = self._get(address, f"{address.path}/v2")
        said = _object(body) if status == 200 else None
        if said is None:
            answers.lacking.append(f"server metadata at {address}")
            return ""
        extensions = said.get("extensions")
        sends_binary = self._settings.http_tensors == "binary"
        if sends_binary and isinstance(extensions, list) and BINARY_TENSORS not in extensions:
            # some take them all the same (KServe's), others answer 500 (MLServer)
            answers.lacking.append(
                f"{BINARY_TENSORS} among the extensions of {address} (where every query fails: "
                "--http-tensors json)"
            )
        return f"{said.get('name', '')} {said.get('version', '')}".strip()

    def _required(self, address: SutAddress, path: str) -> dict[str, Any]:
        status, body = self._get(address, f"{address.path}{path}")
        self._check_rights(address, status, body)
        said = _object(body) if status == 200 else None
        if said is not None:
            return said
        fault = f"HTTP {status}: {complaint(body)}"
        model = self._settings.model
        if found := self._openai_address(address):
            raise SutError(
                f"sut: {address} is an OpenAI-style server and no KServe v2 one; write {found}"
            )
        if status in (400, 404) or says_unknown(model, fault):
            raise SutError(f"model: {address} does not serve {model!r} ({fault}); check --model")
        raise SutError(f"sut: {address} answers {path} with {fault}; is it a KServe v2 server?")

    def _openai_address(self, address: SutAddress) -> str:
        if address.tls or proxy_of(address) is not None:
            return ""
        return openai_address(address, self._timeout_s)

    def _optional(
        self, address: SutAddress, suffix: str, name: str, answers: Answers
    ) -> dict[str, Any] | None:
        status, body = self._get(address, f"{address.path}{self._path}{suffix}")
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


def _tensor(said: dict[str, Any], optional: Collection[str] = ()) -> pb.TensorMetadata:
    return pb.TensorMetadata(
        name=said["name"],
        datatype=said["datatype"],
        shape=[int(one) for one in said["shape"]],
        optional=said["name"] in optional,
    )
