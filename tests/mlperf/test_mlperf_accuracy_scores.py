"""`loadgen accuracy`: classes and tokens scored from LoadGen's logs and from our responses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from official_trace import SAMPLES
from tritonclient.grpc import service_pb2

from loadgen_service.cli.main import main
from loadgen_service.mlperf.audit.logs import LoggedAnswer, read_accuracy_log
from loadgen_service.mlperf.logs.accuracy_log import AccuracyEntry, accuracy_lines
from loadgen_service.mlperf.submission.checks import metric_of
from loadgen_service.mlperf.submission.rules import TOKENS


def logits(best: int, second: int, count: int = 10) -> bytes:
    values = np.zeros(count, "<f4")
    values[best], values[second] = 2, 1
    return values.tobytes()


def log(folder: Path, answers: list[tuple[int, bytes]]) -> Path:
    entries = [AccuracyEntry(n, sample, data) for n, (sample, data) in enumerate(answers)]
    (folder / "mlperf_log_accuracy.json").write_text("\n".join(accuracy_lines(entries)) + "\n")
    return folder


def val_map(folder: Path, labels: list[int]) -> str:
    path = folder / "val_map.txt"
    path.write_text("".join(f"picture {n}.jpg {label}\n" for n, label in enumerate(labels)))
    return str(path)


def test_scores_of_classes_give_top1_and_top5(tmp_path, capsys):
    answers = [(0, logits(3, 1)), (1, logits(2, 7)), (2, logits(9, 8)), (1, logits(7, 2))]
    labels = val_map(tmp_path, [3, 7, 9, 0])
    assert main(["accuracy", str(log(tmp_path, answers)), "--labels", labels]) == 0
    said = capsys.readouterr().out
    assert said == "accuracy=66.667%, good=2, total=3\ntop5=100.000%, good=3, total=3\n"
    kept = (tmp_path / "accuracy.txt").read_text()
    assert kept == said
    assert metric_of("acc", kept) == 66.667


def test_one_value_is_the_class_itself_as_in_mlperfs_script(tmp_path, capsys):
    answers = [(n, np.array([n + (n == 2)], "<i4").tobytes()) for n in range(4)]
    folder = log(tmp_path, answers)
    labels = val_map(tmp_path, [0, 1, 2, 3])
    arguments = ["accuracy", str(folder), "--labels", labels, "--data-type", "int32"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "accuracy=75.000%, good=3, total=4\n"
    assert main([*arguments, "--target", "0.76"]) == 1


def test_a_real_log_of_the_official_loadgen(tmp_path, capsys):
    """Its SUT answers each sample with its own number."""
    source = SAMPLES / "accuracy_Offline"
    for name in ("mlperf_log_accuracy.json", "mlperf_log_detail.txt"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    count = len({one.sample_index for one in read_accuracy_log(source)})
    labels = val_map(tmp_path, list(range(count)))
    assert main(["accuracy", str(tmp_path), "--labels", labels, "--data-type", "int32"]) == 0
    assert capsys.readouterr().out == f"accuracy=100.000%, good={count}, total={count}\n"


def test_missing_answers_are_said(tmp_path, capsys):
    source = SAMPLES / "accuracy_Offline"
    (tmp_path / "mlperf_log_detail.txt").write_bytes(
        (source / "mlperf_log_detail.txt").read_bytes()
    )
    log(tmp_path, [(0, np.array([0], "<i4").tobytes())])
    labels = val_map(tmp_path, [0])
    assert main(["accuracy", str(tmp_path), "--labels", labels, "--data-type", "int32"]) == 1
    assert "samples have no answer" in capsys.readouterr().err


def test_tokens_match_exactly_or_not_at_all(tmp_path, capsys):
    wanted = {0: [5, 6, 7], 1: [8], 2: [1, 2]}
    given = {0: [5, 6, 7], 1: [8, 8], 2: [1]}
    log(tmp_path, [(n, np.array(tokens, "<i4").tobytes()) for n, tokens in given.items()])
    path = tmp_path / "wanted.json"
    path.write_text(json.dumps(wanted))
    assert main(["accuracy", str(tmp_path), "--tokens", str(path)]) == 0
    said = capsys.readouterr().out
    assert said == "{'exact_match': 33.3333, 'tokens_per_sample': 2.0000, 'gen_num': 3}\n"
    assert metric_of("exact_match", said) == 33.3333
    assert metric_of(TOKENS, said) == 2.0


def mean_length(answers: list[LoggedAnswer]) -> dict[str, float]:
    return {"bytes": sum(len(one.data) for one in answers) / len(answers)}


def broken(answers: list[LoggedAnswer]) -> dict[str, float]:
    raise ValueError("no such sample")


def test_a_script_of_the_users_own(tmp_path, capsys):
    folder = str(log(tmp_path, [(0, b"1234"), (1, b"12")]))
    place = f"{__name__}:mean_length"
    assert main(["accuracy", folder, "--script", place]) == 0
    assert capsys.readouterr().out == "{'bytes': 3.0}\n"
    assert main(["accuracy", folder, "--script", place, "--target", "4"]) == 1
    assert main(["accuracy", folder, "--script", f"{__name__}:broken"]) == 3
    assert "ValueError: no such sample" in capsys.readouterr().err


def test_our_own_responses_without_a_log(tmp_path, capsys):
    """A batched request answers several samples."""
    message = service_pb2.ModelInferResponse(model_name="m")
    message.outputs.add(name="logits", datatype="FP32", shape=[2, 10])
    message.raw_output_contents.append(logits(4, 1) + logits(6, 1))
    records = {"series": [0, 0], "request_index": [0, 0], "sample_index": [1, 0]}
    responses = {"series": [0], "request_index": [0], "response": [message.SerializeToString()]}
    pq.write_table(pa.table(records), tmp_path / "records.parquet")
    pq.write_table(pa.table(responses), tmp_path / "responses.parquet")
    assert main(["accuracy", str(tmp_path), "--labels", val_map(tmp_path, [6, 4])]) == 0
    assert capsys.readouterr().out.startswith("accuracy=100.000%, good=2, total=2\n")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give exactly one of them"),
        (["--labels", "a", "--tokens", "b"], "give exactly one of them"),
        (["--labels", "nowhere.txt"], "cannot read nowhere.txt"),
        (["--labels", "VAL", "--data-type", "int7"], "data_type int7"),
        (["--labels", "VAL", "--data-type", "int64"], "holds no whole number"),
        (["--labels", "VAL"], "none for sample 5, there are 1"),
        (["--tokens", "VAL"], "not JSON"),
        (["--script", "no.such:thing"], "script no.such:thing"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags, words):
    log(tmp_path, [(0, b"1234"), (5, b"1234")])
    labels = val_map(tmp_path, [0])
    flags = [labels if flag == "VAL" else flag for flag in flags]
    assert main(["accuracy", str(tmp_path), *flags]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_folder_without_answers_is_named(tmp_path, capsys):
    labels = val_map(tmp_path, [0])
    assert main(["accuracy", str(tmp_path), "--labels", labels]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    log(tmp_path, [])
    assert main(["accuracy", str(tmp_path), "--labels", labels]) == 2
    assert "run with --mode accuracy" in capsys.readouterr().err
