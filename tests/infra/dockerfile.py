"""Reads a Dockerfile, and carries out its steps in a directory instead of an image.

Absolute paths of the image become paths below that directory.  Stages share it, for what a venv's
scripts say of themselves is where it was made.
"""

import fnmatch
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.tools.support.server import clean_environ
from tests.tools.support.tools import ROOT

PATH = ROOT / "infra" / "Dockerfile"
# What the image's steps name.
_PLACES = ("/opt/receiver", "/var/lib/receiver", "/src")
# What only root may do, or is the base image's: done here as far as it concerns files.
_PROGRAMS = {
    "python": f'exec {shlex.quote(sys.executable)} "$@"',
    "useradd": 'while [ "$1" != --home-dir ]; do shift; done; mkdir -p "$2"',
}


def instructions() -> list[tuple[str, str]]:
    """Return each instruction and its arguments, continued lines joined."""
    lines = (line for line in PATH.read_text().splitlines() if not line.lstrip().startswith("#"))
    text = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in text.splitlines())
        if word
    ]


def last(name: str) -> str:
    """Return the arguments of the last instruction of a name: the one that counts."""
    return [rest for word, rest in instructions() if word == name][-1]


def exec_form(text: str) -> list[str]:
    """Return the words of a command that is written for no shell."""
    words = orjson.loads(text[text.index("[") :])
    assert all(isinstance(word, str) for word in words)
    return list(words)


def let_through(name: str) -> bool:
    """Say whether `.dockerignore` lets a file of the project's root through."""
    passed = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#") and fnmatch.fnmatch(name, line.lstrip("!")):
            passed = line.startswith("!")
    return passed


@dataclass
class Image:
    """What the steps made."""

    root: Path
    environ: dict[str, str] = field(default_factory=clean_environ)
    directory: Path = Path("/")

    def place(self, text: str) -> str:
        """Return a text with the image's paths as they are here."""
        for place in _PLACES:
            text = text.replace(place, f"{self.root}{place}")
        return text

    def build(self) -> None:
        """Carry out every step."""
        programs = self.root / "programs"
        programs.mkdir()
        for name, script in _PROGRAMS.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        self.environ["PIP_NO_COMPILE"] = "1"  # a third of the time
        self.environ["PATH"] = f"{programs}{os.pathsep}{self.environ['PATH']}"
        steps = {"RUN": self._run, "COPY": self._copy, "ENV": self._set, "WORKDIR": self._enter}
        for word, rest in instructions():
            if word in steps:
                steps[word](rest)

    def run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a command as in a container of this image."""
        return subprocess.run(
            list(map(self.place, command)),
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=500,
        )

    def _run(self, rest: str) -> None:
        # Layers must not hold pip's cache; this machine may.
        rest = rest.replace("--no-cache-dir ", "")
        done = self.run(["/bin/sh", "-c", rest])
        assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"

    def _copy(self, rest: str) -> None:
        *names, target = rest.split()
        if names[0].startswith("--from="):
            assert Path(self.place(names[1])).is_dir(), rest
            return
        for name in names:
            assert let_through(name), f".dockerignore leaves out {name}"
            source, to = ROOT / name, self.directory / target
            if source.is_dir():
                shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, to)

    def _set(self, rest: str) -> None:
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            self.environ[name] = self.place(value).replace("$PATH", self.environ["PATH"])

    def _enter(self, rest: str) -> None:
        self.directory = Path(self.place(rest))
        self.directory.mkdir(parents=True, exist_ok=True)
