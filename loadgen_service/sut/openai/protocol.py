"""OpenAI-style servers: one adapter, requests of prompts, a list of models before load."""

from __future__ import annotations

from typing import Final

from loadgen_service.core.settings import Settings
from loadgen_service.errors import UserError
from loadgen_service.sut.descriptor import Build, ProtocolDescriptor, RequestSource
from loadgen_service.sut.http.compression import compressed_http
from loadgen_service.sut.http.path import accepted, http_path
from loadgen_service.sut.http.pool import HttpSut
from loadgen_service.sut.interface import Sink, SystemUnderTest
from loadgen_service.sut.net.addresses import SutAddress
from loadgen_service.sut.net.credentials import read_api_key, read_authority, read_text_headers
from loadgen_service.sut.net.proxy_env import forwarding, proxy_of
from loadgen_service.sut.openai.control import OpenAiControl
from loadgen_service.sut.openai.request import PATHS, OpenAiBuilder, common_fields, request_head
from loadgen_service.sut.openai.response import CountTokens, OpenAiAnswer


async def make(
    settings: Settings, address: SutAddress, sink: Sink, streaming: bool
) -> SystemUnderTest:
    """The adapter of one OpenAI-style SUT, not connected yet."""
    proxy = proxy_of(address)
    origin, extra = forwarding(address, proxy)
    headers = (
        *read_text_headers(settings.header),
        *read_api_key(settings.api_key),
        *extra,
        *accepted(settings),
    )
    count = token_counter(settings.tokenizer)
    keep = settings.keeps_responses
    head = request_head(
        origin + address.path + PATHS[settings.openai_api],
        read_authority(settings.header) or address.authority,
        headers,
        "text/event-stream" if streaming else "application/json",
    )
    path = await http_path(settings, address, proxy, head, lambda: OpenAiAnswer(keep, count))
    return HttpSut(path, sink)


def token_counter(path: str) -> CountTokens | None:
    """A counter by ``tokenizer.json``; None where none is named. Raises ``UserError``."""
    if not path:
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError(
            "tokenizer: needs the package tokenizers; pip install 'loadgen-service[tokens]'"
        ) from None
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the package raises bare Exceptions
        raise UserError(f"tokenizer: {path} is no tokenizer.json ({error})") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def build(source: RequestSource) -> Build:
    """Requests as header lines and a JSON body."""
    common = common_fields(source.settings.model, source.streaming, source.parameters)
    return OpenAiBuilder(common, source.tensors_of).build


OPENAI: Final = ProtocolDescriptor(
    make=make, build=build, control=OpenAiControl, compress=compressed_http
)
