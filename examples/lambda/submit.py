#!/usr/bin/env python3
"""Runs the lambda workflow on a server through the Galaxy API, with Python's standard library alone.

usage: submit.py URL KEY RESULTS_DIR ASK      (ASK: "true" asks at the pause, anything else approves)

The server must know the tools: start it with --tool-dir examples/lambda/tools.
"""

import json
import pathlib
import sys
import time
import urllib.error
import urllib.request
import uuid

HERE = pathlib.Path(__file__).resolve().parent
DATA = pathlib.Path("/usr/share/doc/bowtie2/examples")
INPUTS = {
    "Reference": (DATA / "reference/lambda_virus.fa.gz", "fasta.gz"),
    "Forward reads": (DATA / "reads/reads_1.fq.gz", "fastqsanger.gz"),
    "Reverse reads": (DATA / "reads/reads_2.fq.gz", "fastqsanger.gz"),
}
PARAMETERS = {"Minimum quality": 20}
DEADLINE_SECONDS = 1800


class Server:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def call(self, method, path, body=None, content_type="application/json"):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {"x-api-key": self.key}
        if body is not None:
            headers["content-type"] = content_type
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:500]}")
        except urllib.error.URLError as error:
            sys.exit(f"{method} {self.url}{path}: {error.reason}")

    def json(self, method, path, body=None):
        return json.loads(self.call(method, path, body))

    def upload(self, history, path, extension):
        """Sends a file as it is (multipart, as browsers do) and returns the dataset's id."""
        boundary = uuid.uuid4().hex
        targets = [
            {
                "destination": {"type": "hdas"},
                "elements": [
                    {"src": "files", "name": path.name, "ext": extension, "dbkey": "?", "auto_decompress": False}
                ],
            }
        ]
        fields = [("history_id", history), ("targets", json.dumps(targets))]
        parts = [
            f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields
        ]
        parts.append(
            f'--{boundary}\r\ncontent-disposition: form-data; name="files_0|file_data"; filename="{path.name}"\r\n'
            "content-type: application/octet-stream\r\n\r\n".encode() + path.read_bytes() + b"\r\n"
        )
        parts.append(f"--{boundary}--\r\n".encode())
        answer = self.call("POST", "/api/tools/fetch", b"".join(parts), f"multipart/form-data; boundary={boundary}")
        return json.loads(answer)["outputs"][0]["id"]


def wait(what, look):
    """Calls `look` until it answers something; gives up after DEADLINE_SECONDS."""
    end = time.monotonic() + DEADLINE_SECONDS
    while (found := look()) is None:
        if time.monotonic() > end:
            sys.exit(f"gave up waiting for {what} after {DEADLINE_SECONDS} s")
        time.sleep(0.5)
    return found


def dataset_text(server, dataset):
    """The content of a dataset, once it is ok."""

    def look():
        state = server.json("GET", f"/api/datasets/{dataset}")["state"]
        if state in ("error", "discarded", "failed_metadata", "paused"):
            sys.exit(f"dataset {dataset} is in state {state}")
        return True if state == "ok" else None

    wait(f"dataset {dataset}", look)
    return server.call("GET", f"/api/datasets/{dataset}/display")


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    server = Server(sys.argv[1].rstrip("/"), sys.argv[2])
    results, ask = pathlib.Path(sys.argv[3]), sys.argv[4] == "true"

    workflow = server.json("POST", "/api/workflows", {"workflow": json.loads((HERE / "lambda.ga").read_text())})["id"]
    history = server.json("POST", "/api/histories", {"name": "Lambda phage variants"})["id"]
    inputs = dict(PARAMETERS)
    for label, (path, extension) in INPUTS.items():
        inputs[label] = {"src": "hda", "id": server.upload(history, path, extension)}
    invocation = server.json(
        "POST",
        f"/api/workflows/{workflow}/invocations",
        {"history_id": history, "inputs_by": "name", "inputs": inputs},
    )["id"]
    address = f"/api/invocations/{invocation}"
    print(f"invocation {invocation} in history {history}")

    def review():
        now = server.json("GET", f"{address}?step_details=true")
        if now["state"] not in ("new", "ready"):
            sys.exit(f"the invocation is {now['state']} and was not reviewed: {now.get('messages')}")
        steps = {step["workflow_step_label"]: step for step in now["steps"]}
        pause = steps.get("Review the alignment statistics")
        under_review = steps.get("Alignment statistics", {}).get("outputs", {}).get("summary")
        return (pause, under_review) if pause and under_review else None

    pause, under_review = wait("the review", review)
    print(dataset_text(server, under_review["id"]).decode())
    approved = not ask or input("approve? [Y/n] ").strip().lower() in ("", "y", "yes")
    server.json("PUT", f"{address}/steps/{pause['id']}", {"action": approved})
    if not approved:
        sys.exit("refused: the invocation is being cancelled")

    def end():
        now = server.json("GET", address)
        return now if now["state"] in ("completed", "failed", "cancelled") else None

    done = wait("the end of the invocation", end)
    jobs = server.json("GET", f"{address}/jobs_summary")["states"]
    print(f"the invocation is {done['state']}, jobs: {jobs}")
    if done["state"] != "completed" or any(count for state, count in jobs.items() if state != "ok"):
        sys.exit(f"it did not end well: {done.get('messages')}")
    for label, output in done["outputs"].items():
        extension = server.json("GET", f"/api/datasets/{output['id']}")["extension"]
        (results / f"{label}.{extension}").write_bytes(dataset_text(server, output["id"]))


if __name__ == "__main__":
    main()
