"""Runs the penguins example through WES: workflow and data as attachments, followed to COMPLETE, tasks a page at a time.

    BARYCENTER_URL=http://127.0.0.1:8080 BARYCENTER_KEY=… python3 penguins.py EXAMPLES/penguins [wes-client]

With `wes-client` the request is composed and the run is followed by the client of PyPI's wes-service; two of its limits are
worked around (see README.md beside this file). Else by `requests` alone.
"""

import json
import os
import sys
import time
from pathlib import Path

import requests

SERVER = os.environ["BARYCENTER_URL"].rstrip("/")
ROOT = SERVER + "/ga4gh/wes/v1"
AUTH = {"Authorization": "Bearer " + os.environ["BARYCENTER_KEY"]}
PARAMS = json.dumps({
    "Measurements": {"class": "File", "location": "penguins.tsv", "ext": "tabular"},
    "Species to rank": "Gentoo",
})


class Plain:
    """The eight operations, by hand."""

    def get(self, path, **query):
        answer = requests.get(ROOT + path, headers=AUTH, params=query, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def info(self):
        return self.get("/service-info")

    def submit(self, folder):
        fields = {"workflow_type": "gx_workflow_ga", "workflow_type_version": "1.0.0",
                  "workflow_url": "penguins.ga", "workflow_params": PARAMS, "tags": '{"example": "penguins"}'}
        files = [("workflow_attachment", (name, (folder / name).read_bytes())) for name in ("penguins.ga", "penguins.tsv")]
        answer = requests.post(ROOT + "/runs", headers=AUTH, data=fields, files=files, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()["run_id"]

    def status(self, run):
        return self.get(f"/runs/{run}/status")

    def log(self, run):
        return self.get(f"/runs/{run}")

    def runs(self):
        return self.get("/runs")

    def cancel(self, run):
        return requests.post(f"{ROOT}/runs/{run}/cancel", headers=AUTH, timeout=60).json()


class WesClient(Plain):
    """wes_client.util.WESClient of PyPI's wes-service."""

    def __init__(self):
        from wes_client import util

        self.util = util
        proto, host = SERVER.split("://")
        self.client = util.WESClient({"auth": AUTH, "proto": proto, "host": host})

    def info(self):
        return self.client.get_service_info()

    def submit(self, folder):
        # It knows the file types .py, .cwl and .wdl only, and sends no credentials with what it submits.
        self.util.wf_info = lambda path: ("1.0.0", "gx_workflow_ga")
        parts, files = self.util.build_wes_request(
            str(folder / "penguins.ga"), PARAMS, ["file://" + str(folder / "penguins.tsv")])
        files = [(name, ("penguins.tsv" if given.endswith(".tsv") else given, content)) for name, (given, content) in files]
        answer = requests.post(ROOT + "/runs", headers=AUTH, data=parts, files=files, timeout=60)
        return self.util.wes_response(answer)["run_id"]

    def status(self, run):
        return self.client.get_run_status(run)

    def log(self, run):
        return self.client.get_run_log(run)

    def runs(self):
        return self.client.list_runs()

    def cancel(self, run):
        return self.client.cancel(run)


def wait(client, run, *states):
    deadline = time.monotonic() + 120
    while (state := client.status(run)["state"]) not in states:
        assert time.monotonic() < deadline and state not in ("EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"), state
        time.sleep(0.1)
    return state


def approve(run):
    """The review is Galaxy's: WES only says that the run is PAUSED."""
    steps = requests.get(f"{SERVER}/api/invocations/{run}", headers=AUTH, timeout=60).json()["steps"]
    review = next(step for step in steps if (step["workflow_step_label"] or "").startswith("Review"))
    answer = requests.put(f"{SERVER}/api/invocations/{run}/steps/{review['id']}", headers=AUTH, json={"action": True}, timeout=60)
    assert answer.status_code == 200, answer.text


def tasks(client, run):
    found, token = [], ""
    while True:
        page = client.get(f"/runs/{run}/tasks", page_size=3, page_token=token)
        assert len(page["task_logs"]) <= 3
        found += page["task_logs"]
        token = page["next_page_token"]
        if not token:
            return found


def main():
    folder = Path(sys.argv[1]).resolve()
    client = WesClient() if sys.argv[2:] == ["wes-client"] else Plain()
    assert "gx_workflow_ga" in client.info()["workflow_type_versions"]
    run = client.submit(folder)
    assert wait(client, run, "PAUSED", "COMPLETE") == "PAUSED"
    approve(run)
    wait(client, run, "COMPLETE")
    assert any(listed["run_id"] == run for listed in client.runs()["runs"])

    found = tasks(client, run)
    assert len({task["id"] for task in found}) == len(found) > 3, found
    logs = 0
    for task in found:
        assert client.get(f"/runs/{run}/tasks/{task['id']}") == task
        for stream in ("stdout", "stderr"):
            if stream in task:
                answer = requests.get(task[stream], headers=AUTH, timeout=60)
                assert answer.status_code == 200, task
                logs += 1
    assert logs >= 8 and all(task.get("exit_code", 0) == 0 for task in found), found

    log = client.log(run)
    assert log["state"] == "COMPLETE" and log["task_logs"] is None, log
    report = requests.get(log["outputs"]["report"]["url"], headers=AUTH, timeout=60).text
    assert "Gentoo" in report, report
    assert client.cancel(run) == {"run_id": run}
    assert client.status(run)["state"] == "COMPLETE", "what has ended is final"
    print(f"{type(client).__name__}: run {run} COMPLETE, {len(found)} tasks, {logs} logs")


main()
