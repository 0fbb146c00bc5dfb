"""What is asked of an OpenAI-style SUT before load: is it there, and does it serve the model.

Such servers have no load, unload, flush or clock; those are reported as lacking.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.sut.control import Answers
from loadgen_service.sut.http.control import HttpControl
from loadgen_service.sut.net.addresses import SutAddress
from loadgen_service.sut.net.credentials import read_api_key, read_text_headers
from loadgen_service.sut.openai.request import PATHS, common_fields, smallest_sample
from loadgen_service.sut.openai.response import complaint, in_words

_NO_LIST: Final = (404, 405, 501)
"""Statuses of servers without a list of models."""

_NAMES_SHOWN: Final = 8


class OpenAiControl(HttpControl):
    """Control calls at OpenAI-style SUTs; the same methods as ``SutControl``."""

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        headers = (*read_text_headers(settings.header), *read_api_key(settings.api_key))
        super().__init__(settings, timeout_ns, headers)

    async def describe(self) -> Answers:
        """The server's list of models, if it has one. Raises ``SutError``."""
        answers = Answers()
        for index, address in enumerate(self._addresses):
            if lacking := await asyncio.to_thread(self._lacking, address):
                answers.lacking.append(lacking)
            answers.suts.append(
                pb.SutDescription(
                    sut_index=index,
                    address=str(address),
                    platform=f"openai {self._settings.openai_api}",
                    decoupled=True,
                )
            )
        return answers

    def _lacking(self, address: SutAddress) -> str:
        """What the list of models does not say, for a note; empty where it names the model.

        A list is a hint: gateways serve models that theirs does not name, and some servers answer
        with a failure or an empty one. One small request decides then. On a thread; raises
        ``SutError`` where the server itself refuses the model.
        """
        path = f"{address.path}/models"
        status, body = self._get(address, path)
        if status in _NO_LIST:
            return f"list of models at {address}"
        if status in (401, 403):
            raise self._refused(address, status, body)
        names = _names(body) if status == 200 else None
        if names is None:
            listed = f"answers {path} with HTTP {status} and no list of models ({complaint(body)})"
        elif self._settings.model in names:
            return ""
        else:
            listed = f"lists {_said(names)}"
        self._try_model(address, listed, is_list=names is not None)
        return f"{self._settings.model!r} in the list of models at {address}, which {listed}"

    def _try_model(self, address: SutAddress, listed: str, is_list: bool) -> None:
        """Ask for one token; an answer of any kind but a refusal of the model is good enough."""
        fields = {"max_tokens": 1, **self._parameters()}
        common = common_fields(self._settings.model, False, fields)
        request = {**smallest_sample(self._settings.openai_api), **common}
        content = json.dumps({k: v for k, v in request.items() if v is not None}).encode()
        path = address.path + PATHS[self._settings.openai_api]
        try:
            status, body = self._exchange(address, path, content)
        except SutError:
            return  # it may take longer than a control call; the load will show
        if status in (401, 403):
            raise self._refused(address, status, body)
        said = complaint(body)
        if status == 404 or (status in (400, 422) and "model" in said.lower()):
            raise SutError(
                f"model: {address} does not serve {self._settings.model!r} (HTTP {status}: "
                f"{said}); it {listed}; check --model"
            )
        if not is_list and status != 200:
            raise SutError(
                f"sut: {address} {listed}, and {path} with HTTP {status} ({said}); is it an "
                "OpenAI-style server?"
            )

    def _parameters(self) -> dict[str, object]:
        """The user's own fields; what is wrong with them is told where requests are made."""
        try:
            found = json.loads(self._settings.request_parameters or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _refused(self, address: SutAddress, status: int, body: bytes) -> SutError:
        return SutError(
            f"sut: {address} refuses us (HTTP {status}: {complaint(body)}); check --api-key"
        )


def _names(body: bytes) -> list[str] | None:
    """Names that a server lists; None where it is no list of models."""
    try:
        return [str(one["id"]) for one in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _said(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return in_words(", ".join(names[:_NAMES_SHOWN]) or "none") + more
