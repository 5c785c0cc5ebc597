"""How the Jobs API behaves, asked with bare HTTP: of the emulator in every test run, of a real head in the slow ones.

A suite's test file gives the fixture `cluster`. What is measured here is what the provider relies on.
"""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from typing import Any

import httpx
import pytest

_LIMIT = 100 << 20
_PATIENCE = 300
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class Cluster(ABC):
    """A dashboard, and time that passes there."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)

    @abstractmethod
    def wait(self) -> None:
        """Let a moment pass."""

    @abstractmethod
    def restart(self) -> None:
        """Kill the head, and start it anew at the same address."""

    def submit(self, entrypoint: str = "sleep 60", **more: Any) -> str:
        key = f"ft-bench1-{uuid.uuid4().hex[:26]}"
        answer = self.http.post("/api/jobs/", json={"entrypoint": entrypoint, "submission_id": key, **more})
        assert answer.status_code == 200, answer.text
        return key

    def job(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/api/jobs/{key}").json()
        return found

    def until(self, key: str, *states: str) -> dict[str, Any]:
        for _ in range(_PATIENCE):
            job = self.job(key)
            if job["status"] in states:
                return job
            self.wait()
        raise AssertionError(f"{key} was never {states}: {job}")

    def close(self) -> None:
        self.http.close()


class JobsApiContract:
    """What the Jobs API of Ray 2.60 does."""

    def test_the_version_names_the_session(self, cluster: Cluster) -> None:
        told = cluster.http.get("/api/version").json()

        assert {"version", "ray_version", "session_name"} <= set(told)
        assert told["session_name"].startswith("session_")

    def test_an_id_that_is_there_is_refused_with_500_and_words(self, cluster: Cluster) -> None:
        key = cluster.submit()

        again = cluster.http.post("/api/jobs/", json={"entrypoint": "sleep 60", "submission_id": key})

        assert (again.status_code, "already exists" in again.text) == (500, True)
        cluster.http.post(f"/api/jobs/{key}/stop")

    def test_a_field_that_it_does_not_know_is_refused(self, cluster: Cluster) -> None:
        body = {"entrypoint": "true", "submission_id": "ft-nobody", "no_such_field": 1}

        assert cluster.http.post("/api/jobs/", json=body).status_code == 400

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", ""), ("DELETE", ""), ("POST", "/stop"), ("GET", "/logs")],
    )
    def test_a_job_that_is_not_there_is_a_404_with_words(self, cluster: Cluster, method: str, path: str) -> None:
        answer = cluster.http.request(method, f"/api/jobs/ft-nobody{path}")

        assert (answer.status_code, answer.text) == (404, "Job ft-nobody does not exist")

    def test_a_job_waits_runs_and_says_where(self, cluster: Cluster) -> None:
        key = cluster.submit("sleep 60", metadata={"ftorch_rate": "3.60"})

        running = cluster.until(key, "RUNNING")

        assert running["type"] == "SUBMISSION"
        assert running["metadata"] == {"ftorch_rate": "3.60"}
        assert running["driver_node_id"]
        assert running["start_time"] > 1_700_000_000_000
        assert running["end_time"] is running["driver_exit_code"] is running["error_type"] is None
        cluster.http.post(f"/api/jobs/{key}/stop")

    def test_a_running_job_ends_when_it_is_told_to_and_a_second_time_nothing_happens(self, cluster: Cluster) -> None:
        key = cluster.submit()
        cluster.until(key, "RUNNING")

        first = cluster.http.post(f"/api/jobs/{key}/stop").json()
        stopped = cluster.until(key, *ENDED)
        second = cluster.http.post(f"/api/jobs/{key}/stop").json()

        assert (first, second) == ({"stopped": True}, {"stopped": False})
        assert (stopped["status"], stopped["driver_exit_code"]) == ("STOPPED", None)
        assert stopped["end_time"] >= stopped["start_time"]

    def test_a_job_that_waits_for_room_goes_on_waiting_when_it_is_told_to_end(self, cluster: Cluster) -> None:
        key = cluster.submit(entrypoint_num_gpus=99)
        cluster.wait()

        told = cluster.http.post(f"/api/jobs/{key}/stop").json()
        cluster.wait()

        job = cluster.job(key)
        assert (told, job["status"], job["driver_node_id"]) == ({"stopped": True}, "PENDING", None)
        assert job["message"].startswith("Job has not started yet.")
        assert cluster.http.get(f"/api/jobs/{key}/logs").json() == {"logs": ""}

    def test_only_a_job_that_has_ended_is_deleted(self, cluster: Cluster) -> None:
        key = cluster.submit(entrypoint_num_gpus=99)

        refused = cluster.http.delete(f"/api/jobs/{key}")

        assert (refused.status_code, "non-terminal state PENDING" in refused.text) == (500, True)

    def test_a_package_that_nobody_brought_is_a_failure_of_its_own_kind(self, cluster: Cluster) -> None:
        key = cluster.submit(runtime_env={"working_dir": "gcs://_ray_pkg_of_nobody.zip"})

        failed = cluster.until(key, *ENDED)

        assert (failed["status"], failed["error_type"]) == ("FAILED", "RUNTIME_ENV_SETUP_FAILURE")
        assert "gcs://_ray_pkg_of_nobody.zip" in failed["message"]

    def test_a_package_is_there_once_it_was_brought(self, cluster: Cluster) -> None:
        path = f"/api/packages/gcs/_ray_pkg_{uuid.uuid4().hex}.zip"

        before = cluster.http.get(path)
        brought = cluster.http.put(path, content=b"PK\x05\x06" + bytes(18))
        after = cluster.http.get(path)

        assert (before.status_code, brought.status_code, after.status_code) == (404, 200, 200)
        assert len(after.content) < 1000, "whether it is there is asked for, not its content"

    def test_a_package_above_the_limit_is_refused_with_bare_words(self, cluster: Cluster) -> None:
        answer = cluster.http.put("/api/packages/gcs/_ray_pkg_large.zip", content=bytes(_LIMIT + 1))

        assert (answer.status_code, answer.text.strip()) == (413, f"Maximum request body size {_LIMIT} exceeded.")

    def test_a_file_or_a_node_that_is_not_there_is_a_500_with_words(self, cluster: Cluster) -> None:
        key = cluster.submit()
        node = cluster.until(key, "RUNNING")["driver_node_id"]

        no_file = self._file(cluster, node, "ftorch/nobody/status.json")
        no_node = self._file(cluster, "f" * 56, "ftorch/nobody/status.json")

        assert (no_file.status_code, "A file is not found at" in no_file.text) == (500, True)
        assert (no_node.status_code, "Agent for node id" in no_node.text) == (500, True)
        cluster.http.post(f"/api/jobs/{key}/stop")

    def test_the_environment_of_a_job_is_shown_to_whoever_asks(self, cluster: Cluster) -> None:
        key = cluster.submit(runtime_env={"env_vars": {"HF_TOKEN": "seen-by-all"}})

        assert "seen-by-all" in json.dumps(cluster.job(key))
        cluster.http.post(f"/api/jobs/{key}/stop")

    def test_the_cluster_lists_its_nodes(self, cluster: Cluster) -> None:
        told = cluster.http.get("/api/v0/nodes").json()["data"]["result"]["result"]

        assert [node["state"] for node in told] == ["ALIVE"]

    def test_the_cluster_says_what_it_has(self, cluster: Cluster) -> None:
        told = cluster.http.get("/api/cluster_status").json()["data"]["autoscalingStatus"]

        assert " CPU" in told

    def test_after_a_restart_the_session_is_another_one_and_knows_no_job(self, cluster: Cluster) -> None:
        key = cluster.submit()
        before = cluster.http.get("/api/version").json()["session_name"]

        cluster.restart()

        assert cluster.http.get("/api/version").json()["session_name"] != before
        assert cluster.http.get(f"/api/jobs/{key}").status_code == 404
        assert cluster.http.get("/api/jobs/").json() == []

    @staticmethod
    def _file(cluster: Cluster, node: str, name: str) -> httpx.Response:
        return cluster.http.get("/api/v0/logs/file", params={"node_id": node, "filename": name, "lines": -1})
