"""A small script as submitters write them for LoadGen's Python binding; never edited but for its
import: ``from loadgen_module import lg``, which the tests write.

argv is {scenario, mode, fields, outdir, total, performance}. It takes its data by sample number,
and prints the numbers that it was asked, in order, as JSON.
"""

from __future__ import annotations

import array
import json
import queue
import sys
import threading

from loadgen_module import lg  # type: ignore[import-not-found]

request = json.loads(sys.argv[1])
asked: list[int] = []
loaded: set[int] = set()
work: queue.Queue = queue.Queue()


def load_samples(indexes):
    loaded.update(indexes)


def unload_samples(indexes):
    loaded.difference_update(indexes)


def issue_query(samples):
    assert all(sample.index in loaded for sample in samples)
    asked.extend(sample.index for sample in samples)
    work.put([(sample.id, sample.index) for sample in samples])


def flush_queries():
    pass


def answer():
    while (item := work.get()) is not None:
        for sample_id, index in item:
            data = array.array("i", [2 * index])
            at, count = data.buffer_info()
            response = lg.QuerySampleResponse(sample_id, at, count * data.itemsize)
            lg.QuerySamplesComplete([response])


def main():
    worker = threading.Thread(target=answer, daemon=True)
    worker.start()
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, request["scenario"])
    settings.mode = getattr(lg.TestMode, request["mode"])
    if "user_conf" in request:
        assert settings.FromConfig(request["user_conf"], "resnet50", request["scenario"]) == 0
    for name, value in request["fields"].items():
        setattr(settings, name, value)
    output = lg.LogOutputSettings()
    output.outdir = request["outdir"]
    logs = lg.LogSettings()
    logs.log_output = output
    logs.enable_trace = False
    sut = lg.ConstructSUT(issue_query, flush_queries)
    qsl = lg.ConstructQSL(request["total"], request["performance"], load_samples, unload_samples)
    lg.StartTestWithLogSettings(sut, qsl, settings, logs)
    lg.DestroyQSL(qsl)
    lg.DestroySUT(sut)
    work.put(None)
    worker.join()
    print(json.dumps(asked))


main()
