"""A service of its own for simulated workers: RESULTS_FOLDER; prints its address and its token."""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.service.server import serve


async def main(results: str) -> None:
    """Serve until ended."""
    service = await serve(ServeSettings(port=0, results=results), embedded=True)
    said = {"ready": service.address, "token": service.token}
    print(json.dumps(said), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
