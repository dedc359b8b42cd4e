"""The last configuration that was in effect, kept on disk.

For `llmgw config diff` while no gateway runs, and for whoever has lost the file. It is what
`llmgw config show` prints: references to secrets and never a secret, though it was written in
plain text. Only the gateway's user can read it.

A worker that follows another while the gateway runs does not need it: its supervisor has the
document in memory.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmgw.config.document import Document

_NAME = "lastgood"


@dataclass(frozen=True, slots=True)
class Kept:
    """document: as `llmgw config show --format json` has it, secrets masked."""

    generation: str
    document: dict[str, Any]


class LastGood:
    """unwritten: whether nothing was written by this process."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / _NAME
        self.unwritten = True

    def write(self, document: Document) -> None:
        """Replace what is kept, whole. Blocking. Raises OSError."""
        kept = {"generation": document.generation, "document": document.model_dump(mode="json")}
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
            return Kept(kept["generation"], kept["document"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
