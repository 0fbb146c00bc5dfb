"""SHA256SUMS of a run directory: what the files were when the run wrote them.

In the format of ``sha256sum``, so that ``sha256sum --check SHA256SUMS`` says the same. It tells
damage and edits by hand; it is no signature: who can write the files can write their sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from loadgen_service.atomic_file import atomic_write
from loadgen_service.errors import UserError

SUMS_FILE: Final = "SHA256SUMS"

SUMMED_FILES: Final = (
    "mixed.json",
    "settings.yaml",
    "summary.json",
    "report.txt",
    "report.html",
    "records.parquet",
    "responses.parquet",
    "tokens.parquet",
    "sut_metrics.parquet",
    "mlperf_log_summary.txt",
    "mlperf_log_detail.txt",
    "mlperf_log_accuracy.json",
    "mlperf_log_trace.json",
)
"""Result files of a run. One that is there and not listed says that the list was changed."""

_REMEDY: Final = "use the files as the run wrote them, or run again"


def sums_text(sums: Mapping[str, str]) -> str:
    """Lines ``DIGEST  NAME``, by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def text_sum(text: str) -> str:
    """The digest of a file that holds ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_sums(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """The digest of each of these files that is there. Raises OSError."""
    return {name: _file_sum(directory / name) for name in names if (directory / name).is_file()}


def _file_sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_sum(directory: Path, name: str) -> None:
    """Take down the digest of a file that was made again; without effect where none are kept.

    Raises UserError where the disk refuses.
    """
    path = directory / SUMS_FILE
    if not path.is_file():
        return
    try:
        text = sums_text({**_read_sums(path), **file_sums(directory, [name])})
        atomic_write(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make the directory writable") from None


def require_unchanged(directory: Path) -> None:
    """Compare every file that SHA256SUMS names and that is there.

    Raises UserError naming the first one that is not what the run wrote. A directory without
    SHA256SUMS passes: its summary says whether there must be one (``require_sums``).
    """
    path = directory / SUMS_FILE
    if not path.is_file():
        return
    try:
        wanted = _read_sums(path)
        found = file_sums(directory, wanted)
    except OSError as error:
        raise UserError(f"{error.filename or path}: {error.strerror or error}") from None
    unlisted = {name: "" for name in SUMMED_FILES if (directory / name).is_file()}
    for name, digest in {**unlisted, **found}.items():
        if digest != wanted.get(name):
            raise UserError(
                f"{directory / name}: is not what the run wrote (its SHA-256 is not the one in "
                f"{SUMS_FILE}): it is damaged or was edited; {_REMEDY}"
            )


def require_sums(directory: Path, checksums: str) -> None:
    """``checksums``: what the summary says of itself. Raises UserError where the file is gone."""
    if checksums and not (directory / checksums).is_file():
        raise UserError(
            f"{directory}: {checksums} is missing, which the run wrote beside its files; {_REMEDY}"
        )


def _read_sums(path: Path) -> dict[str, str]:
    """Raises UserError for lines of another form: names never lead out of the directory."""
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or "/" in name or name in (".", ".."):
            raise UserError(f"{path}: damaged or edited; {_REMEDY}")
        sums[name] = digest
    return sums
