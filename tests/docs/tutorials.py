"""Commands of a tutorial as one shell script: its ``sh`` blocks, in order, as pasted."""

from __future__ import annotations

import re

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROLOGUE = """set -eu
trap 'trap "" TERM; kill 0; wait' EXIT  # its process group: started in a session of its own
# INVALID is a verdict, which depends on how busy this machine is; 2 and 3 are failures
# and INVALID runs are compared only by force
loadgen() {
  [ "$1" != compare ] || set -- "$@" --force
  command loadgen "$@" || { code=$?; [ $code -eq 1 ] || return $code; }
}
"""
READY_S = 60


def script_of(page: str) -> str:
    """A shell script of the page; after a block that starts servers it waits until they are up."""
    parts, started = [PROLOGUE], 0
    for block in BLOCK.findall(page):
        starts = re.findall(r"^(sut-server|loadgen serve)\b", block, re.MULTILINE)
        starts = starts if re.search(r"&\s*$", block) else []
        started += len(starts)
        parts.append(block if not starts else with_logs(block))
        if starts:
            parts.append(wait_for(started))
    return "\n".join(parts)


def with_logs(block: str) -> str:
    """Lines that end in ``&`` with their output in ``servers.log`` too."""
    return re.sub(r" &$", " >>servers.log 2>&1 &", block, flags=re.MULTILINE)


def wait_for(count: int) -> str:
    """Until so many servers have said that they are ready."""
    return (
        f"for try in $(seq {READY_S * 10}); do\n"
        "  [ $(grep -cE '^(sut-server: [a-z]|loadgen serve: ).*ready on' servers.log)"
        f" -ge {count} ] && break; sleep 0.1\ndone\n"
        f"[ $try -lt {READY_S * 10} ] || {{ cat servers.log; exit 9; }}\n"
    )
