"""Envelopes as the API answers them."""

from collections.abc import Mapping
from typing import Any

ID = "08141207-1535-0066-0000-5b1f0c9a7e21"
OTHER = "08141207-1535-0066-0000-77aa01c4e5f0"


def envelope(*tasks: Mapping[str, Any], code: int = 20000, message: str = "Ok.") -> dict[str, Any]:
    return {"status_code": code, "status_message": message, "tasks": list(tasks)}


def task(result: Any = None, *, code: int = 20000, **fields: Any) -> dict[str, Any]:
    return {"id": ID, "status_code": code, "status_message": "Ok.", "result": result, **fields}
