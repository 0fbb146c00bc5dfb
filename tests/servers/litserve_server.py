"""Runs inside LitServe's environment: its OpenAI front with a scripted model, until it is ended.

usage: litserve_server.py PORT. The model says back the words of the prompt, one a token and GAP_S
apart, cut or repeated to the number of tokens that were asked for.
"""

from __future__ import annotations

import sys
import time

import litserve

GAP_S = 0.01
DEFAULT_TOKENS = 16
MODEL = "echo"


class Echo(litserve.LitAPI):
    """A model without weights: its text is known, and so are its gaps."""

    def setup(self, device):
        """Nothing to load."""

    def decode_request(self, request):
        """The words of the last message, and how many to say."""
        said = request.messages[-1].content
        count = request.max_completion_tokens or request.max_tokens or DEFAULT_TOKENS
        return (said if isinstance(said, str) else said[0].text).split(), count

    def predict(self, asked):
        """One word a token."""
        words, count = asked
        for number in range(count):
            time.sleep(GAP_S)
            yield words[number % len(words)] + " "


if __name__ == "__main__":
    server = litserve.LitServer(
        Echo(spec=litserve.OpenAISpec(), api_path="/v1/chat/completions"),
        accelerator="cpu",
        devices=1,
        workers_per_device=1,
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
