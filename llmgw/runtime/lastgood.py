"""The last configuration that was in effect, kept on disk.

For whoever has lost it, and for `llmgw config diff` while no gateway runs. The texts are as they
were written: references to secrets, not the secrets. Only the gateway's user can read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmgw.config.document import Document

_NAME = "lastgood"


@dataclass(frozen=True, slots=True)
class Kept:
    """files: their texts by path, the configuration file first.

    document: as `llmgw config show` has it, secrets masked.
    """

    generation: str
    files: dict[str, str]
    document: dict[str, Any]


class LastGood:
    """unwritten: whether nothing was written by this process."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / _NAME
        self.unwritten = True

    def write(self, document: Document, sources: Mapping[str, bytes | None]) -> None:
        """Replace what is kept, whole. Blocking. Raises OSError."""
        kept = {
            "generation": document.generation,
            "files": {path: data.decode("utf-8", "replace") for path, data in sources.items() if data},
            "document": document.model_dump(mode="json"),
        }
        beside = self._path.with_name(f"{_NAME}.{os.getpid()}")
        # Before anything is in it, nobody else can read it.
        opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            json.dump(kept, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        self.unwritten = False

    def read(self) -> Kept | None:
        """What is kept; None when there is nothing that can be used. Blocking."""
        try:
            kept = json.loads(self._path.read_bytes())
            return Kept(kept["generation"], kept["files"], kept["document"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
