"""Which right each gRPC method wants, and the interceptor that asks for it first of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from loadgen_service.service.auth.token_book import Denial, TokenBook, bearer_secret, digest_of

RIGHT_OF_METHOD: Final = {
    "/loadgen.v1.LoadGen/StartRun": "run",
    "/loadgen.v1.LoadGen/StopRun": "run",
    "/loadgen.v1.LoadGen/WatchRun": "read",
    "/loadgen.v1.LoadGen/ListRuns": "read",
    "/loadgen.v1.LoadGen/FetchRun": "read",
    "/loadgen.v1.Fleet/Session": "work",
    "/loadgen.v1.Fleet/Records": "work",
    "/loadgen.v1.Fleet/FetchArena": "work",
}


class TokenGuard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # stubs only
    """Refuses calls whose ``authorization: Bearer TOKEN`` does not give the method's right.

    UNAUTHENTICATED: no token, or one that is not valid. PERMISSION_DENIED: not for this method.
    """

    def __init__(self, tokens: TokenBook) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Pass the call on, or put a refusal of the same shape in its place."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        denial = self._denial(handler_call_details)
        return handler if denial is None else _refusal_like(handler, denial)

    def _denial(self, details: grpc.HandlerCallDetails) -> Denial | None:
        right = RIGHT_OF_METHOD.get(details.method)
        if right is None:
            return Denial(f"{details.method}: no right covers this method", is_known=True)
        given = [v for k, v in details.invocation_metadata or () if k == "authorization"]
        return self._tokens.denial(digest_of(bearer_secret(given[0] if given else "")), right)


def _refusal_like(handler: Any, denial: Denial) -> Any:
    code = grpc.StatusCode.PERMISSION_DENIED if denial.is_known else grpc.StatusCode.UNAUTHENTICATED

    async def refuse(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await context.abort(code, denial.reason)

    async def refuse_stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await context.abort(code, denial.reason)
        yield  # a generator, as a streaming handler must be

    kind = ("stream" if handler.request_streaming else "unary") + (
        "_stream" if handler.response_streaming else "_unary"
    )
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    refusal = refuse_stream if handler.response_streaming else refuse
    return make(refusal, handler.request_deserializer, handler.response_serializer)
