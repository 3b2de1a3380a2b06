"""The rate limit for lines that strangers can cause."""

import logging
import time

import pytest

from receiver import log


def test_a_few_lines_a_second_are_logged_for_each_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sparing = log.Sparing(logging.getLogger("receiver.test"), per_second=3)
    for _ in range(50):
        sparing.warning("not acknowledged", reason="bad_token", extra={"status": 401})
    sparing.warning("not acknowledged", reason="body_too_large", extra={"status": 413})
    assert ["bad_token"] * 3 + ["body_too_large"] == [
        vars(record)["reason"] for record in caplog.records
    ]
    now = 101.0
    sparing.warning("not acknowledged", reason="bad_token", extra={"status": 401})
    assert 47 == vars(caplog.records[-1])["left_out"]
    sparing.warning("not acknowledged", reason="bad_token", extra={"status": 401})
    assert "left_out" not in vars(caplog.records[-1])
