"""One real Offline run to an open and a network submission folder; what each still lacks.

`python bench/submission_folders.py --seconds 600 --out results/submission` measures the embedded
image classifier by the official LoadGen over our network path. Each folder is then copied and
mended, labelled as synthetic, to show that the checker asks for that and no more. Default: 10 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "mlperf"))

from submission_mending import mend

from loadgen_service.cli.verbs.demo import embedded_sut
from loadgen_service.mlperf.submission.checks import check_submission
from loadgen_service.mlperf.submission.layout import ResultFolder
from loadgen_service.mlperf.submission.system_description import template

MODEL = "efficientnet-lite0"
DATASET = "imagenet-sample"
SYSTEM = "this-machine"
SUBMITTER = "loadgen"
PROBE_SAMPLES = 100
MARGIN = 1.15
"""The run asks for so much more than the probe's rate, to be long enough if it is faster."""

MEASUREMENTS = {
    "input_data_types": "fp32",
    "retraining": "no",
    "starting_weights_filename": "efficientnet-lite0, published weights as converted by sut-server",
    "weight_data_types": "fp32",
    "weight_transformations": "none",
}
FOLDERS = {
    "open": ("--benchmark", MODEL, "--task", "resnet"),
    "network": ("--benchmark", "resnet"),
}


def main() -> int:
    """Measure, build, list, mend; 0 where the real ones are refused and the mended ones pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the run (%(default)s)")
    parser.add_argument("--out", type=Path, help="new folder (results/submission-TIME)")
    given = parser.parse_args()
    out = given.out or Path("results") / time.strftime("submission-%Y%m%dT%H%M%SZ", time.gmtime())
    out.mkdir(parents=True)
    asyncio.run(measure(out, given.seconds))
    (out / "measurements.json").write_text(json.dumps(MEASUREMENTS, indent=2))
    refused = [build(out, division, flags) for division, flags in FOLDERS.items()]
    passed = [mended(out, division) for division in FOLDERS]
    return 0 if all(refused) and all(passed) else 1


async def measure(out: Path, seconds: float) -> None:
    """A probe for the rate, then the performance and the accuracy run."""
    async with embedded_sut(MODEL) as address:
        flags = ("--sut", f"grpc://{address}", "--model", MODEL, "--dataset", DATASET,
                 "--scenario", "offline", "--quiet")  # fmt: skip
        count = str(PROBE_SAMPLES)
        await loadgen("run", *flags, "--min-duration-ms", "0", "--min-query-count", count,
                      "--out", str(out / "probe"))  # fmt: skip
        rate = json.loads((out / "probe" / "summary.json").read_text())["metric"]["value"]
        print(f"probe: {rate:.1f} samples/s", flush=True)
        # every answer of the one query is due with its last one
        limit_ms = str(int(seconds * 1000 * 4) + 60_000)
        flags += ("--engine", "mlcommons", "--target-qps", f"{rate * MARGIN:.3f}", "--timeout-ms",
                  limit_ms, "--min-duration-ms", str(int(seconds * 1000)))  # fmt: skip
        for mode in ("performance", "accuracy"):
            await loadgen("run", *flags, "--mode", mode, "--out", str(out / mode))


async def loadgen(*arguments: str) -> None:
    """Run the command, and stop here where it did not come to a verdict."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadgen_service", *arguments
    )
    if await process.wait() > 1:
        raise SystemExit(f"loadgen {' '.join(arguments)}: did not finish")


def build(out: Path, division: str, flags: Sequence[str]) -> bool:
    """Build one folder by the command, which lists what it lacks; whether it was refused."""
    system = {**template(division, "rdi", SUBMITTER), **described()}
    if division == "network":
        system |= {"network_type": "none: loopback", "network_protocol": "gRPC over HTTP/2"}
    path = out / f"system-{division}.json"
    path.write_text(json.dumps(system, indent=2))
    command = [
        sys.executable, "-m", "loadgen_service", "submission", str(out / division),
        "--division", division, "--category", "rdi", "--system", str(path), *flags,
        "--measurements", str(out / "measurements.json"), "--src", "sut_server",
        "--run", str(out / "performance"), "--run", str(out / "accuracy"),
    ]  # fmt: skip
    print(f"\n== {division}", flush=True)
    return subprocess.run(command, check=False).returncode == 1


def described() -> dict[str, str]:
    """What is known of this machine; the rest stays empty and is listed."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system_name": SYSTEM,
        "system_type": "datacenter",
        "number_of_nodes": "1",
        "host_processors_per_node": "1",
        "host_processor_core_count": str(os.cpu_count()),
        "host_processor_model_name": platform.processor() or platform.machine(),
        "host_memory_capacity": f"{memory / 2**30:.0f} GB",
        "accelerators_per_node": "0",
        "accelerator_model_name": "N/A",
        "accelerator_memory_capacity": "N/A",
        "accelerator_memory_configuration": "N/A",
        "accelerator_host_interconnect": "N/A",
        "accelerator_interconnect": "N/A",
        "framework": "ONNX Runtime",
        "operating_system": platform.platform(),
        "other_software_stack": f"Python {platform.python_version()}",
    }


def mended(out: Path, division: str) -> bool:
    """A labelled copy with every miss mended; whether the checker then finds none.

    MLPerf's network division is of datacenter benchmarks, which image classification no longer is:
    that copy goes by the name of one.
    """
    copy = out / f"{division}-synthetic"
    shutil.copytree(out / division, copy)
    benchmark = FOLDERS[division][1]
    task = "resnet"
    if division == "network":
        organisation = copy / division / SUBMITTER
        benchmark = task = "rgat"
        for found in list(organisation.rglob("resnet")):
            found.rename(found.with_name(benchmark))
    mend(ResultFolder(copy, division, SUBMITTER, SYSTEM, benchmark, task, "offline"))
    misses = check_submission(copy, "v6.1", "rdi")
    print(f"\n== {division}, every miss mended (synthetic): {len(misses)} misses")
    for miss in misses:
        print(f"  {miss}")
    return not misses


if __name__ == "__main__":
    raise SystemExit(main())
