"""One target under atheris: ``python tests/fuzz/guided.py TARGET [libFuzzer flags] [folders]``."""

from __future__ import annotations

import sys

import atheris

PARSERS = [
    "grpc_wire", "loadgen_service.sut", "loadgen_service.qsl", "loadgen_service.mlperf.conf.parser",
    "loadgen_service.service.storage.segments", "loadgen_service.service.auth.token_book",
    "sut_server",
]  # fmt: skip

if __name__ == "__main__":
    with atheris.instrument_imports(include=PARSERS):
        from fuzz_targets import TARGETS
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
