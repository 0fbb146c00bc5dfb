"""Versioned JSON documents of a run directory, read back as models."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from loadgen_service.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def read_document(model: type[Model], name: str, version: int, text: str | bytes) -> Model:
    """``text`` of the file ``name`` as ``model``. Raises UserError, one line, if it is not JSON, of
    another version, or not whole.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"{name}: not JSON ({error}); is the run finished?") from None
    told = found.get("version") if isinstance(found, dict) else None
    if told != version:
        raise UserError(
            f"{name}: version {told}, this program reads {version}; use the program that wrote it"
        )
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{name}: {where}: {first['msg']}; is the file whole?") from None
