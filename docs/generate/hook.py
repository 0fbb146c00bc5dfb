"""Hook of mkdocs: adds the reference pages that are made from the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from reference_pages import PAGES


def on_files(files: Any, config: Any) -> Any:
    """Add each generated page to the files of the site."""
    from mkdocs.structure.files import File

    for path, make in PAGES.items():
        files.append(File.generated(config, path, content=make()))
    return files
