"""The command itself: verbs, exit codes, and how little it imports to say hello."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from loadgen_service.cli import main as cli
from loadgen_service.errors import RunError, SutError

HEAVY = {"numpy", "pydantic", "grpc", "pyarrow", "rich", "asyncio", "yaml"}


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from loadgen_service.cli.main import main; main(['--help']);"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert not HEAVY & set(json.loads(done.stderr.replace("'", '"')))


def test_help_names_every_verb_and_exit_code(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in cli.VERBS)
    assert "0 VALID, 1 INVALID, 2" in text


def test_an_unknown_verb_is_the_users_mistake(capsys):
    assert cli.main(["rnu"]) == 2
    assert "did you mean run?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(SutError("no model x"), 2), (RunError("no disk"), 3), (KeyError("x"), 3)]
)
def test_errors_become_exit_codes(monkeypatch, capsys, error, code):
    class Verb:
        @staticmethod
        def main(arguments):
            raise error

    monkeypatch.setattr(cli.importlib, "import_module", lambda name: Verb)
    assert cli.main(["plan"]) == code
    text = capsys.readouterr().err
    if isinstance(error, KeyError):
        assert "Traceback" in text
    else:
        assert text == f"loadgen plan: {error}\n"


def test_the_schema_of_the_settings_has_every_field(capsys):
    from loadgen_service.core.settings import Settings

    assert cli.main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(Settings.model_fields)


def test_the_schema_of_a_mixed_run_holds_its_streams(capsys):
    assert cli.main(["schema", "--of", "mixed"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["streams"]["items"]["$ref"].endswith("/StreamSummary")
