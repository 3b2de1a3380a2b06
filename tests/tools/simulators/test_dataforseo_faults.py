import gzip
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import orjson
import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.conftest import Api
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.dataforseo.appendix import STATUS_VALUES

ORGANIC = "serp/google/organic"
USER = "/v3/appendix/user_data"


def test_the_status_page_shows_each_value_for_apis_and_endpoints(
    api: Api, dataforseo: DataForSeo
) -> None:
    seen = set()
    for value in STATUS_VALUES:
        dataforseo.status.set("serp", value, endpoint="postback/pingback")
        dataforseo.status.set("merchant", value)
        apis = {entry["api"]: entry for entry in api.result("/v3/appendix/status")}
        endpoints = {one["endpoint"]: one["status"] for one in apis["serp"]["endpoints"]}
        seen.add((endpoints["postback/pingback"], apis["merchant"]["status"]))
        assert ("ok", None, 12) == (
            apis["serp"]["status"],
            apis["appendix"]["endpoints"],
            len(apis),
        )
    assert {(value, value) for value in STATUS_VALUES} == seen


def test_the_status_page_knows_no_other_values_or_names(dataforseo: DataForSeo) -> None:
    for api, status, endpoint in (("serp", "fine", None), ("x", "ok", None), ("serp", "ok", "x")):
        with pytest.raises(ValueError, match=r"status"):
            dataforseo.status.set(api, status, endpoint=endpoint)


@pytest.mark.parametrize(("code", "http_status"), [(40200, 402), (40201, 200), (40207, 200)])
def test_an_account_in_trouble_is_told_so_everywhere(
    api: Api, dataforseo: DataForSeo, code: int, http_status: int
) -> None:
    dataforseo.settings.account_code = code
    answer = api.client.get(USER)
    assert (http_status, code) == (answer.status_code, answer.json()["status_code"])


@pytest.mark.integration
def test_dataforapps_has_app_data_and_the_appendix_only(clock: Clock) -> None:
    with DataForSeo("dataforapps", clock=clock) as apps:
        with httpx2.Client(base_url=apps.url, auth=("login", "password")) as client:
            codes = {
                path: client.get(f"/v3/{path}").json()["status_code"]
                for path in ("app_data/tasks_ready", "appendix/status", "serp/tasks_ready")
            }
    assert {
        "app_data/tasks_ready": 20000,
        "appendix/status": 20000,
        "serp/tasks_ready": 40400,
    } == codes


def test_an_unknown_path_is_404(api: Api) -> None:
    answer = api.client.get("/v4/anything")
    assert (404, 40400) == (answer.status_code, answer.json()["status_code"])


def test_answers_are_gzip_only_where_it_was_asked_for(dataforseo: DataForSeo) -> None:
    dataforseo.add_ready(ORGANIC, 1000)
    with httpx2.Client(base_url=dataforseo.url, auth=("login", "password")) as client:
        with client.stream(
            "GET", "/v3/serp/tasks_ready", headers={"Accept-Encoding": "gzip"}
        ) as answer:
            packed = b"".join(answer.iter_raw())
        plain = client.get("/v3/serp/tasks_ready", headers={"Accept-Encoding": "identity"})
    assert "gzip" == answer.headers["Content-Encoding"]
    assert "Content-Encoding" not in plain.headers
    result = orjson.loads(gzip.decompress(packed))["tasks"][0]["result"]
    assert result == plain.json()["tasks"][0]["result"]


def test_the_thirty_first_call_at_the_same_time_is_40209(dataforseo: DataForSeo) -> None:
    dataforseo.gather(40)

    def call(client: httpx2.Client) -> int:
        code = client.get(USER).json()["status_code"]
        assert isinstance(code, int)
        return code

    with (
        httpx2.Client(base_url=dataforseo.url, auth=("login", "password"), timeout=60) as client,
        ThreadPoolExecutor(40) as pool,
    ):
        codes = list(pool.map(call, [client] * 40))
    assert 40 == dataforseo.ledger.simultaneous_max() == dataforseo.ledger.connections_max()
    assert 10 == codes.count(40209) == dataforseo.ledger.count(code=40209)
    assert {20000, 40209} == set(codes)


def test_connections_bound_the_calls_at_the_same_time_even_if_all_are_answered_at_once(
    dataforseo: DataForSeo,
) -> None:
    together = threading.Barrier(8)

    def call(_: int) -> int:
        with httpx2.Client(base_url=dataforseo.url, auth=("login", "password")) as client:
            client.get(USER)
            together.wait(20)
            return client.get(USER).status_code

    with ThreadPoolExecutor(8) as pool:
        assert [200] * 8 == list(pool.map(call, range(8)))
    assert 8 == dataforseo.ledger.connections_max() >= dataforseo.ledger.simultaneous_max()


@pytest.mark.parametrize("fault", ["half_json", "cut"])
def test_a_broken_answer_was_carried_out_and_can_be_asked_for_again(
    api: Api, dataforseo: DataForSeo, fault: str
) -> None:
    (task_id,) = dataforseo.add_ready(ORGANIC)
    path = f"/v3/{ORGANIC}/task_get/regular/{task_id}"
    dataforseo.fail(fault, times=1)
    if fault == "cut":
        with pytest.raises(httpx2.RemoteProtocolError):
            api.client.get(path)
    else:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(api.client.get(path).content)
    assert [] == dataforseo.uncollected()
    assert 20000 == api.code(path)
