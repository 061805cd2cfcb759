"""Optuna's page: served for this machine alone, over the studies that are there."""

import importlib.util
import json
import socket
import sys
import threading
import urllib.error
import urllib.request

import pytest

from fl_platform import cli
from fl_platform.study import dashboard
from fl_platform.study.dashboard import dashboard_server
from fl_platform.study.problem import open_study
from fl_platform.study.storage import open_storage
from fl_platform.tracking.mlflow.store import StoreError
from fl_platform.tracking.mlflow.ui import PortError
from tests.study.fake import make_problem


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_page_answers_this_user_on_loopback_for_this_machine_s_name_alone(home, port):
    open_study(make_problem(home, name="seen"), open_storage(home))
    with dashboard_server(home, port, None, "secret") as server:
        assert server.server_address == ("127.0.0.1", port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{port}"
            for path in ("/dashboard/", "/api/studies", "/open/other/"):
                with pytest.raises(urllib.error.HTTPError, match="401"):
                    fetch(f"{address}{path}", token="other")
            assert b"<html" in fetch(f"{address}/dashboard/").lower()
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with browser.open(f"{address}/open/secret/", timeout=30) as reply:
                assert reply.url == f"{address}/dashboard/"
            told = json.loads(fetch(f"{address}/api/studies"))
            assert [study["study_name"] for study in told["study_summaries"]] == ["seen"]
            with pytest.raises(urllib.error.HTTPError, match="403"):
                fetch(f"{address}/api/studies", host=f"elsewhere.example:{port}")
        finally:
            server.shutdown()
            thread.join()


def fetch(address, host=None, token="secret"):
    headers = {"Authorization": f"Bearer {token}"} | ({"Host": host} if host else {})
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.read()


def test_what_is_missing_is_said(home, port, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(StoreError, match=r"pip install 'fl_platform\[tune\]'"):
            dashboard_server(home, port, None, "secret")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(StoreError, match=r"found none\. Create one with `fl-platform tune`"):
        dashboard_server(home, port, None, "secret")
    with pytest.raises(PortError, match="Expected a port"):
        dashboard_server(home, 0, None, "secret")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortError, match="to be free"):
            dashboard_server(home, taken.getsockname()[1], None, "secret")


def test_ui_studies_opens_optuna_s_page_and_not_mlflow_s(home, monkeypatch):
    asked = []
    monkeypatch.setattr(dashboard, "open_dashboard", lambda *arguments: asked.append(arguments))
    typed = ["ui", "--studies", "--port", "5003", "--storage", "sqlite:///x", "--home", str(home)]
    monkeypatch.setattr(sys, "argv", ["fl-platform", *typed])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, asked) == (0, [(home, 5003, "sqlite:///x")])
    monkeypatch.setattr(sys, "argv", ["fl-platform", *[it for it in typed if it != "--studies"]])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
