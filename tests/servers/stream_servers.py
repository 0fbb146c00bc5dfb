"""Servers whose answers come in pieces: LitServe's OpenAI front, llama.cpp, Triton's
decoupled models."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from server_launch import Served, launched, python_of, tritonserver
from triton_server import free_ports

HERE = Path(__file__).parent
LLAMA_SLOTS = 4
TOKENS, FIRST_S, GAP_S = 12, 0.05, 0.02
"""What Triton's scripted model gives: tokens a request, until the first, between two."""


@contextlib.contextmanager
def litserve(folder: Path) -> Iterator[Served]:
    """LitServe with a scripted model behind its OpenAI front."""
    (port,) = free_ports(1)
    command = [python_of("litserve"), HERE / "litserve_server.py", str(port)]
    at = {"openai": f"127.0.0.1:{port}/v1"}
    url = f"http://127.0.0.1:{port}/health"
    with launched(command, at, url, folder / "litserve.log") as served:
        yield served


@contextlib.contextmanager
def llama(folder: Path) -> Iterator[Served]:
    """llama.cpp's server with a real small language model."""
    (port,) = free_ports(1)
    script = HERE / "llama_server.py"
    command = [python_of("llama"), script, str(port), str(LLAMA_SLOTS)]
    at = {"openai": f"127.0.0.1:{port}/v1"}
    url = f"http://127.0.0.1:{port}/health"
    with launched(command, at, url, folder / "llama.log") as served:
        yield served


@contextlib.contextmanager
def triton_tokens(folder: Path) -> Iterator[Served]:
    """The real Triton with a decoupled model of its Python backend, ``tokens``."""
    model = folder / "repository" / "tokens"
    (model / "1").mkdir(parents=True)
    shutil.copy(HERE / "triton_tokens.py", model / "1" / "model.py")
    said = {"tokens": TOKENS, "first_s": FIRST_S, "gap_s": GAP_S}
    parameters = "".join(
        f'parameters [ {{ key: "{key}" value: {{ string_value: "{value}" }} }} ]\n'
        for key, value in said.items()
    )
    (model / "config.pbtxt").write_text(
        'name: "tokens"\nbackend: "python"\nmax_batch_size: 0\n'
        "model_transaction_policy { decoupled: True }\n"
        'input [ { name: "input" data_type: TYPE_FP32 dims: [ 1, 1 ] } ]\n'
        'output [ { name: "token" data_type: TYPE_INT32 dims: [ 1, 1 ] } ]\n'
        f"{parameters}instance_group [ {{ kind: KIND_CPU count: 1 }} ]\n"
    )
    with tritonserver(folder / "repository", "tokens", folder / "triton.log") as served:
        yield served
