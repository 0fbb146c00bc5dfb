"""What is asked of an OpenAI-style SUT before load: is it there, and does it serve the model.

Such servers have no load, unload, flush or clock; those are reported as lacking.
"""

from __future__ import annotations

import asyncio
import json

from loadgen_proto import loadgen_pb2 as pb

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.sut.control import Answers
from loadgen_service.sut.http.control import HttpControl
from loadgen_service.sut.net.addresses import SutAddress
from loadgen_service.sut.net.credentials import read_api_key, read_text_headers
from loadgen_service.sut.openai.response import complaint

_NO_LIST = (404, 405, 501)
"""Statuses of servers without a list of models."""


class OpenAiControl(HttpControl):
    """Control calls at OpenAI-style SUTs; the same methods as ``SutControl``."""

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        headers = (*read_text_headers(settings.header), *read_api_key(settings.api_key))
        super().__init__(settings, timeout_ns, headers)

    async def describe(self) -> Answers:
        """The server's list of models, if it has one. Raises ``SutError``."""
        answers = Answers()
        for index, address in enumerate(self._addresses):
            names = await asyncio.to_thread(self._models, address)
            if names is None:
                answers.lacking.append(f"list of models at {address}")
            elif self._settings.model not in names:
                raise SutError(
                    f"model: {address} does not serve {self._settings.model!r}; it lists "
                    f"{', '.join(names) or 'none'}; check --model"
                )
            answers.suts.append(
                pb.SutDescription(
                    sut_index=index,
                    address=str(address),
                    platform=f"openai {self._settings.openai_api}",
                    decoupled=True,
                )
            )
        return answers

    def _models(self, address: SutAddress) -> list[str] | None:
        """Names that the server lists; None where it has no list. On a thread."""
        status, body = self._get(address, f"{address.path}/models")
        if status in _NO_LIST:
            return None
        if status in (401, 403):
            raise SutError(
                f"sut: {address} refuses us (HTTP {status}: {complaint(body)}); check --api-key"
            )
        try:
            found = json.loads(body)
            if status != 200:
                raise ValueError
            return [str(one["id"]) for one in found["data"]]
        except (ValueError, KeyError, TypeError):
            raise SutError(
                f"sut: {address} answers {address.path}/models with HTTP {status} and no list of "
                f"models ({complaint(body)}); is it an OpenAI-style server?"
            ) from None
