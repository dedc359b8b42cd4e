"""Installed distributions, as `importlib.metadata` sees them."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "provider_plugin"


def install(site: Path, name: str, version: str, points: dict[str, str]) -> None:
    """Put the metadata of a distribution into `site`, with entry points of the group of providers."""
    metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    rows = "".join(f"{kind} = {value}\n" for kind, value in points.items())
    (metadata / "entry_points.txt").write_text(f"[llmgw.providers]\n{rows}")


def install_example(site: Path) -> None:
    """Install `examples/provider_plugin` as its own pyproject.toml says."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    about = project["project"]
    install(site, about["name"], about["version"], about["entry-points"]["llmgw.providers"])
    for module in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
        shutil.copy(EXAMPLE / module, site / module)
