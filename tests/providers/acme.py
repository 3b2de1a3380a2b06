"""Acme, the provider that `receiver/providers/README.md` adds as an example."""

import re
import tomllib
import types
from pathlib import Path

from receiver.providers import Provider

PAGE = Path(__file__).parents[2] / "receiver" / "providers" / "README.md"
MODULE = "acme_receiver"


def example(language: str) -> str:
    """Return the first example of the page in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def adapter() -> Provider:
    """Return the adapter of the page."""
    module = types.ModuleType(MODULE)
    exec(compile(example("python"), PAGE, "exec"), vars(module))
    acme: Provider = module.Acme()
    return acme


def install(folder: Path, *, source: str | None = None, entry_points: str | None = None) -> Path:
    """Make a folder of an installed distribution, for PYTHONPATH; by default that of the page."""
    project = tomllib.loads(example("toml"))["project"]
    if entry_points is None:
        entry_points = "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
            for group, names in project["entry-points"].items()
        )
    named = re.sub("[-.]+", "_", project["name"])
    metadata = folder / f"{named}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{MODULE}.py").write_text(example("python") if source is None else source)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (metadata / "entry_points.txt").write_text(entry_points)
    return folder
