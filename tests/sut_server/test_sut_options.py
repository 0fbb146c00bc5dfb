"""The command line: what is understood, and the one line that each mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from sut_server.errors import UsageError
from sut_server.main import main
from sut_server.options import ZEROS, ServeOptions, parse_options
from sut_server.security import bind_address, tls_context
from sut_server.service_log import ServiceLog


def test_flags_become_options() -> None:
    text = """--model null --model synthetic --port 0 --max-batch 16 --max-queue-delay-us 250
        --stall-at-ms 1.5 --stall-ms 2 --service-time lognormal:5:0.5"""
    options = parse_options(text.split())
    assert options.models == ("null", "synthetic")
    assert options.max_batch == 16
    assert options.max_streams == 65_536
    assert options.max_queue_delay_us == 250
    assert options.synthetic.faults.stall_at_ns == 1_500_000
    assert options.synthetic.service_time.quantile_ns(0.5) == 5_000_000


def test_warm_up_is_off_of_zeros_or_of_a_sample() -> None:
    flags = ["--model", "null", "--port", "0"]
    assert parse_options(flags).warm_up is None
    assert parse_options([*flags, "--warm-up"]).warm_up == ZEROS
    assert parse_options([*flags, "--warm-up", "a.npy"]).warm_up == Path("a.npy")


def test_help_names_every_option_once_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--help"])
    text = capsys.readouterr().out
    for name, field in ServeOptions.model_fields.items():
        assert field.description, name
        assert f"  --{name.replace('_', '-')} " in text or f"  --{name.replace('_', '-')}\n" in text
    assert "(0)" in text  # of --seed
    assert "(30)" in text  # of --slow-limit-s


def test_the_default_is_loopback() -> None:
    assert bind_address(parse_options(["--model", "null"])) == "127.0.0.1"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("", "--model"),
        ("--model null --nope", "unrecognized arguments: --nope"),
        ("--model null --port 70000", "--port 70000: should be less than or equal to 65535"),
        ("--model null --max-batch 0", "--max-batch 0: should be greater than or equal to 1"),
        ("--model null --slow-limit-s nan", "--slow-limit-s nan: should be"),
        ("--model null --compression zip", "argument --compression: invalid choice"),
        ("--model null --tls-cert a.pem", "belong together"),
        ("--model null --tls-client-ca a.pem", "--tls-client-ca needs"),
        ("--model synthetic --error-rate 2", "--error-rate 2: should be less than or equal to 1"),
        ("--model synthetic --error-rate 0.6 --drop-rate 0.6", "may not exceed 1"),
        ("--model synthetic --service-time fast", "write constant:MS"),
        ("--model resnet --port 0", "'resnet': no such model; there are efficientnet-lite0"),
        ("--model null --host 0.0.0.0", "or an explicit --insecure"),
        ("--model null --host nowhere.invalid", "not an address of this machine"),
        ("--model null --tls-cert no.pem --tls-key no.pem", "cannot be used"),
        ("--model synthetic --port 0 --service-log /no/such/x.npy", "there is no folder"),
        ("--model python:math --port 0", "write python:PKG.MODULE:CLASS"),
        ("--model python:no_such_module:M --port 0", "cannot import no_such_module"),
        ("--model python:math:Nope --port 0", "math has no class Nope"),
        ("--model onnx:/no/such.onnx --port 0", "ONNX Runtime cannot load it"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    flags: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("sut-server: ")
    assert text in captured.err


def test_beyond_loopback_insecure_is_enough() -> None:
    options = parse_options(["--model", "null", "--host", "0.0.0.0", "--insecure"])
    assert bind_address(options) == "0.0.0.0"


def test_a_bad_certificate_names_its_files(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    options = parse_options(["--model", "null", "--tls-cert", str(bad), "--tls-key", str(bad)])
    assert options.tls is not None
    with pytest.raises(UsageError, match=r"bad\.pem"):
        tls_context(options.tls)


def test_the_service_log_is_whole_numbers_of_nanoseconds(tmp_path: Path) -> None:
    import numpy as np

    for name in ("served.npy", "served.txt"):
        log = ServiceLog(tmp_path / name)
        for served_ns in (2**40 + 1, 5):
            log.add(served_ns)
        log.write()
    assert np.load(tmp_path / "served.npy").tolist() == [2**40 + 1, 5]
    assert (tmp_path / "served.txt").read_text() == f"{2**40 + 1}\n5\n"
    assert len(list(tmp_path.iterdir())) == 2
