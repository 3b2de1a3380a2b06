"""The image: linted, and its steps carried out without Docker, up to a callback that is taken."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from receiver.config import Settings, variable
from tests.infra.dockerfile import PATH, Image, exec_form, instructions, last, let_through
from tests.tools.support.balancer import Port
from tests.tools.support.http import request
from tests.tools.support.server import TOKEN, Life
from tests.tools.support.tools import ROOT, needs_infra
from tests.tools.support.wait import wait_for


@pytest.mark.integration
def test_the_linter_finds_nothing() -> None:
    subprocess.run([needs_infra("hadolint"), PATH], check=True)


def test_it_is_pinned_not_root_and_ends_on_sigterm() -> None:
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert 1 == len(set(bases))
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm", bases[0])
    user, group = map(int, last("USER").split(":"))
    assert user >= 10000 <= group
    assert "SIGTERM" == last("STOPSIGNAL")
    assert "/var/lib/receiver" == last("VOLUME")
    assert re.search(r":8000/healthz'", last("HEALTHCHECK"))
    assert (["receiver"], ["serve"]) == (exec_form(last("ENTRYPOINT")), exec_form(last("CMD")))


def test_whatever_it_writes_is_written_to_the_volume() -> None:
    given = dict(pair.split("=", 1) for pair in last("ENV").split())
    paths = {name for name, one in Settings.model_fields.items() if one.annotation is Path}
    assert {"spool", "catalog", "jobs"} == paths
    for name in (*paths, "archive"):
        assert given[variable(name)].startswith(f"{last('VOLUME')}/"), name


def test_nothing_reaches_the_build_but_what_it_copies() -> None:
    copied = {
        name
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for name in rest.split()[:-1]
    }
    assert copied == {path.name for path in ROOT.iterdir() if let_through(path.name)}


@pytest.mark.system
@pytest.mark.timeout(600)  # it installs all that the receiver needs
def test_its_steps_make_a_receiver_that_serves_and_is_healthy(tmp_path: Path) -> None:
    image = Image(tmp_path)
    image.build()
    before = files(tmp_path / "opt")
    assert not any("site-packages/pytest" in name for name in before)
    kept = Port()
    port = kept.number
    image.environ |= {
        "RECEIVER_HOST": "127.0.0.1",
        "RECEIVER_PORT": str(port),
        "RECEIVER_ADMIN_PORT": "0",
        "RECEIVER_TOKENS": TOKEN,
        "RECEIVER_DRAIN_SECONDS": "0",
    }
    healthcheck = [word.replace(":8000/", f":{port}/") for word in exec_form(last("HEALTHCHECK"))]
    assert healthcheck != exec_form(last("HEALTHCHECK"))
    assert 0 != image.run(healthcheck).returncode
    command = [image.place(f"/opt/receiver/bin/{exec_form(last('ENTRYPOINT'))[0]}")]
    life = Life(command + exec_form(last("CMD")), cwd=image.directory, environ=image.environ)
    try:
        wait_for(lambda: any("listening on" in line for line in life.output), "it serves")
        assert 0 == image.run(healthcheck).returncode
        target = f"/dataforseo/postback/{TOKEN}?id=1"
        assert 200 == request(f"http://127.0.0.1:{port}", "POST", target, b"{}").status
        life.signal(getattr(signal, last("STOPSIGNAL")))
        assert 0 == life.wait()
        assert 0 != image.run(healthcheck).returncode
    finally:
        life.close()
        kept.close()
    # The root file system can be read-only.
    assert before == files(tmp_path / "opt")
    assert list((tmp_path / "var/lib/receiver/archive/callbacks").rglob("*.jsonl.gz"))
    assert not list((tmp_path / "var/lib/receiver/spool").rglob("*.seg"))


def files(root: Path) -> set[str]:
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {str(path) for path in found if path.suffix != ".pyc"}
