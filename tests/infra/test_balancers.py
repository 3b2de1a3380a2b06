"""nginx.conf and haproxy.cfg let in the callbacks of all providers, and nothing else."""

import re
from pathlib import Path

from receiver.providers import PROVIDERS

INFRA = Path(__file__).parents[2] / "infra"
NGINX = (INFRA / "nginx.conf").read_text()
HAPROXY = (INFRA / "haproxy.cfg").read_text()
KINDS = {entrance.kind for provider in PROVIDERS.values() for entrance in provider.entrances}


def test_nginx_passes_on_the_paths_of_all_providers_and_nothing_else() -> None:
    locations = dict(re.findall(r"^ *location (\S.*?) \{\n *(\S+)", NGINX, re.MULTILINE))
    assert {"/": "return", f"~ ^/({'|'.join(PROVIDERS)})/": "proxy_pass"} == locations


def test_haproxy_passes_on_the_paths_of_all_providers_and_nothing_else() -> None:
    (denied,) = re.findall(r"^ *http-request deny deny_status 404 (.*)$", HAPROXY, re.MULTILINE)
    paths = " ".join(f"/{name}/" for name in PROVIDERS)
    assert f"unless {{ path_beg {paths} }}" == denied


def test_both_log_the_kind_of_every_callback() -> None:
    (nginx,) = re.findall(r'"~\^/\(\?<provider>(.+)\)/\(\?<kind>([a-z|]+)\)/"', NGINX)
    (haproxy,) = re.findall(r"path_reg \^/(.+)/\(([a-z|]+)\)/ \}", HAPROXY)
    for provider, kinds in (nginx, haproxy):
        assert all(re.fullmatch(provider, name) for name in PROVIDERS)
        assert set(kinds.split("|")) == KINDS
