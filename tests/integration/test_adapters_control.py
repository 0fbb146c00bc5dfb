"""Control calls at real servers: what they bring, and one line for each way to fail."""

from __future__ import annotations

import pytest
from adapter_rig import echo, grpcio_server, run
from sut_process import sut_server

from loadgen_service.core.settings import Settings
from loadgen_service.errors import SutError
from loadgen_service.sut.grpc.control import GrpcControl


def test_describe_tells_what_the_sut_is() -> None:
    async def work(target: str) -> None:
        settings = Settings(sut=[target], model="null")
        async with GrpcControl(settings, 10**10) as control:
            answers = await control.describe()
            [sut] = answers.suts
            assert sut.has_sut_proto
            assert [(t.name, t.datatype, list(t.shape)) for t in sut.inputs] == [
                ("input", "FP32", [-1, 16])
            ]
            clocks = (await control.clocks(4)).clocks
            assert len(clocks[0]) == 4
            assert not (await control.flush()).lacking
            assert not (await control.load([1, 2])).lacking
            assert not (await control.load([1, 2], unload=True)).lacking
            assert len((await control.statistics()).statistics) == 1

    with sut_server("--model", "null") as server:
        run(work(f"grpc://{server.host_port}"))


def test_an_unknown_model_is_one_line() -> None:
    async def work(target: str) -> None:
        async with GrpcControl(Settings(sut=[target], model="resnet"), 10**10) as control:
            with pytest.raises(SutError) as caught:
                await control.describe()
            assert "resnet" in str(caught.value)
            assert "--model" in str(caught.value)

    with sut_server("--model", "null") as server:
        run(work(f"grpc://{server.host_port}"))


def test_a_server_without_kserve_is_one_line_and_lacking_calls_are_none() -> None:
    async def work() -> None:
        async with grpcio_server(echo) as target:
            settings = Settings(sut=[target], model="m")
            async with GrpcControl(settings, 5 * 10**9) as control:
                with pytest.raises(SutError, match="not KServe v2"):
                    await control.describe()
                assert (await control.flush()).lacking == [f"Flush at {target}"]
                assert (await control.clocks()).clocks == {}

    run(work())
