"""The servers of the Triton tests: the real Triton and the embedded one, with the same model."""

from __future__ import annotations

import os

import pytest
from triton_server import embedded, environment_path, make_repository, triton

MODEL = "efficientnet-lite0"


@pytest.fixture(scope="session")
def triton_endpoints(tmp_path_factory):
    """A real Triton with EfficientNet-Lite0 in its Python backend: gRPC, HTTP, metrics."""
    environment = environment_path()
    if environment is None:
        if "LOADGEN_TEST_TRITON" in os.environ:
            pytest.fail("LOADGEN_TEST_TRITON names no environment: make triton")
        pytest.skip("no Triton here: make triton")
    from sut_server.models.zoo import onnx_path

    folder = tmp_path_factory.mktemp("triton")
    repository = make_repository(folder, onnx_path(MODEL))
    with triton(environment, repository, folder / "triton.log") as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def triton_address(triton_endpoints):
    """HOST:PORT of its gRPC endpoint."""
    return triton_endpoints[0]


@pytest.fixture(scope="session")
def triton_http_address(triton_endpoints):
    """HOST:PORT of its HTTP endpoint."""
    return triton_endpoints[1]


@pytest.fixture(scope="session")
def triton_metrics_address(triton_endpoints):
    """HOST:PORT of its Prometheus metrics."""
    return triton_endpoints[2]


@pytest.fixture(scope="session")
def embedded_address(tmp_path_factory):
    """HOST:PORT of the embedded SUT with the same model."""
    log = tmp_path_factory.mktemp("embedded") / "sut.log"
    with embedded(MODEL, log) as address:
        yield address
