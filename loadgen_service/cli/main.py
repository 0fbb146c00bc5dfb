"""The ``loadgen`` command: picks the verb, and turns errors into one line and an exit code.

Each verb is a module of this package, imported only when it is asked for.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, cast

from loadgen_service.cli.safe_streams import safe_streams
from loadgen_service.errors import LoadgenError

VERBS: Final[dict[str, str]] = {
    "run": "plan, issue, collect and judge one run",
    "plan": "write the plan of a run and print its hash, without running",
    "serve": "start the LoadGen service, for runs and workers of other hosts",
    "worker": "start a worker of a LoadGen service",
    "report": "show the verdict of finished runs again",
    "sweep": "measure latency and throughput over a range of rates",
    "compare": "say which of several systems is better for one job, and how surely",
    "accuracy": "score the answers of a finished run",
    "audit": "measure what an MLPerf compliance test needs, and apply its rule",
    "submission": "build and check an MLPerf submission folder",
    "schema": "print the JSON schema of the settings",
    "demo": "run every scenario against a real model on this machine",
}

EXIT_CODES: Final = (
    "exit codes: 0 VALID, 1 INVALID, 2 the user's mistake, 3 the run could not finish"
)

CRASHED: Final = 3
"""A bug must not look like INVALID, which is what Python's own exit code 1 would say."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    _keep_libraries_quiet()
    with safe_streams():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from loadgen_service.version import __version__

        print(f"loadgen {__version__}")
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        return _unknown_verb(verb)
    return run_verb(verb, arguments[1:])


def _keep_libraries_quiet() -> None:
    """Our own lines say what a user can act on; grpcio's and asyncio's are for their developers.

    ``GRPC_VERBOSITY`` brings both back. Before grpcio is imported, which reads it once.
    """
    if "GRPC_VERBOSITY" not in os.environ:
        os.environ["GRPC_VERBOSITY"] = "NONE"
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def run_verb(verb: str, arguments: Sequence[str]) -> int:
    """Import and run the verb's module; every known error is one line on stderr."""
    try:
        module = importlib.import_module(f"loadgen_service.cli.verbs.{verb}")
        return cast(Callable[[Sequence[str]], int], module.main)(arguments)
    except LoadgenError as error:
        print(f"loadgen {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"loadgen {verb}: interrupted", file=sys.stderr)
        return CRASHED
    except BrokenPipeError:
        # the reader of our output left (`loadgen report | head`): nothing to complain to
        sys.stderr.close()
        return CRASHED
    except Exception:
        import traceback

        traceback.print_exc()
        return CRASHED


def usage() -> str:
    """The verbs, one a line."""
    lines = ["usage: loadgen VERB [FLAGS]   (loadgen VERB --help lists a verb's flags)", ""]
    lines += [f"  {verb:<10} {text}" for verb, text in VERBS.items()]
    return "\n".join([*lines, "", EXIT_CODES])


def _unknown_verb(verb: str) -> int:
    import difflib

    close = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; verbs are {', '.join(VERBS)}"
    print(f"loadgen: unknown verb {verb}{hint}", file=sys.stderr)
    return 2
