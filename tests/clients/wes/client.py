"""A WES client with nothing but Python: submits a run with attachments, waits for it, reads its tasks and their logs.

    BARYCENTER_URL=http://127.0.0.1:8080 BARYCENTER_KEY=… python3 client.py
"""

import json
import os
import time
import urllib.error
import urllib.request

SERVER = os.environ["BARYCENTER_URL"].rstrip("/")
ROOT = SERVER + "/ga4gh/wes/v1"
KEY = os.environ["BARYCENTER_KEY"]
# Its tool `copy` is among the fixtures of the tests: it copies a dataset and adds the line `copied`.
WORKFLOW = """
class: GalaxyWorkflow
label: two copies
inputs:
  data: data
  many: collection
outputs:
  copied: {outputSource: one/out}
steps:
  one:
    tool_id: copy
    in: {input: data}
  each:
    tool_id: copy
    in: {input: many}
"""


def call(method, url, body=None, headers=None, key=KEY):
    """The status and the decoded body."""
    headers = dict(headers or {})
    if key:
        headers["Authorization"] = "Bearer " + key
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            status, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as refused:
        status, kind, content = refused.code, refused.headers["Content-Type"], refused.read()
    text = content.decode()
    return status, json.loads(text) if "json" in (kind or "") else text


def get(path):
    status, body = call("GET", ROOT + path)
    assert status == 200, (path, status, body)
    return body


def form(fields, files):
    limit = "a-limit-between-parts"
    parts = []
    for name, value in fields.items():
        parts.append(f'--{limit}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n')
    for name, value in files.items():
        parts.append(
            f'--{limit}\r\nContent-Disposition: form-data; name="workflow_attachment"; filename="{name}"\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n{value}\r\n"
        )
    parts.append(f"--{limit}--\r\n")
    return "".join(parts).encode(), {"Content-Type": f"multipart/form-data; boundary={limit}"}


def submit(fields, files, key=None):
    body, headers = form(fields, files)
    if key:
        headers["Idempotency-Key"] = key
    return call("POST", ROOT + "/runs", body, headers)


def main():
    status, info = call("GET", ROOT + "/service-info", key=None)
    assert status == 200 and "1.1.0" in info["supported_wes_versions"], info

    fields = {
        "workflow_type": "gx_workflow_format2",
        "workflow_type_version": "1.0.0",
        "workflow_url": "workflows/two.gxwf.yml",
        "workflow_params": json.dumps({"data": "data/a.txt", "many": ["data/a.txt", "data/b.txt", "data/c.txt"]}),
        "workflow_engine_parameters": json.dumps({"history_name": "through WES"}),
        "tags": json.dumps({"client": "script"}),
    }
    files = {"workflows/two.gxwf.yml": WORKFLOW, "data/a.txt": "a\n", "data/b.txt": "b\n", "data/c.txt": "c\n"}
    status, made = submit(fields, files, key="the first")
    assert status == 200, made
    assert submit(fields, files, key="the first") == (200, made), "the same request again is the same run"
    run = made["run_id"]

    deadline = time.monotonic() + 120
    while (state := get(f"/runs/{run}/status")["state"]) not in ("COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"):
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    assert state == "COMPLETE", state

    log = get(f"/runs/{run}")
    assert log["task_logs"] is None and log["request"]["tags"] == {"client": "script"}, log
    status, copied = call("GET", log["outputs"]["copied"]["url"])
    assert (status, copied) == (200, "a\ncopied\n"), (status, copied)

    tasks, token = [], ""
    while True:
        status, page = call("GET", f"{log['task_logs_url']}?page_size=2&page_token={token}")
        assert status == 200 and len(page["task_logs"]) <= 2, page
        tasks += page["task_logs"]
        token = page["next_page_token"]
        if not token:
            break
    assert len(tasks) == 6, [task["id"] for task in tasks]
    assert len({task["id"] for task in tasks}) == 6
    assert len([task for task in tasks if "." in task["id"]]) == 3, "one for each element"
    for task in tasks:
        assert get(f"/runs/{run}/tasks/{task['id']}") == task
        if "stdout" in task:
            assert task["exit_code"] == 0
            status, _ = call("GET", task["stdout"])
            assert status == 200, task

    assert call("POST", f"{ROOT}/runs/{run}/cancel")[0] == 200
    assert get(f"/runs/{run}/status")["state"] == "COMPLETE"
    assert any(r["run_id"] == run for r in get("/runs?tag=client:script")["runs"])
    for path in ("/runs/nothing", f"/runs/{run}/tasks/nothing"):
        status, body = call("GET", ROOT + path)
        assert status == 404 and body["status_code"] == 404 and body["msg"] == body["err_msg"], body
    status, body = submit(fields, {"../../x": "hostile"})
    assert status == 400, body
    status, _ = call("GET", ROOT + "/runs", key=None)
    assert status == 401
    print(f"run {run}: COMPLETE, {len(tasks)} tasks")


main()
