"""Drives a server through BioBlend, as its users do: URL KEY, then the paths of a .ga workflow and of its data.

Exits 0 when every check held. The workflow is a reviewed copy: data, first, review (a pause), second.
"""

import sys
import time

from bioblend import ConnectionError as Refused
from bioblend.galaxy import GalaxyInstance
from bioblend.galaxy.objects import GalaxyInstance as ObjectInstance

DEADLINE_SECONDS = 60


def until(what, look):
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain: {what}")


def state_of(gi, invocation, *states):
    def look():
        shown = gi.invocations.show_invocation(invocation)
        return shown if shown["state"] in states else None

    return until(f"the invocation becomes {states}", look)


def pause_of(gi, invocation):
    def look():
        steps = gi.invocations.show_invocation(invocation)["steps"]
        waiting = [step for step in steps if step["workflow_step_label"] == "review" and step["state"] == "scheduled"]
        return waiting[0] if waiting else None

    return until("the pause is reached", look)


def main(url, key, workflow_path, data_path):
    gi = GalaxyInstance(url, key=key)
    assert gi.config.whoami()["username"]
    assert gi.config.get_version()["version_major"] >= "22.01"
    assert "brand" in gi.config.get_config()

    history = gi.histories.create_history("bioblend")["id"]
    uploaded = gi.tools.upload_file(data_path, history, file_name="data.txt", file_type="txt")["outputs"][0]["id"]
    pasted = gi.tools.paste_content("pasted text", history)["outputs"][0]["id"]
    for dataset in (uploaded, pasted):
        assert gi.datasets.wait_for_dataset(dataset, interval=0.1)["state"] == "ok"
    with open(data_path, "rb") as file:
        content = file.read()
    assert gi.datasets.download_dataset(uploaded) == content
    assert gi.datasets.download_dataset(pasted).strip() == b"pasted text"

    workflow = gi.workflows.import_workflow_from_local_path(workflow_path)["id"]
    assert gi.workflows.show_workflow(workflow)["inputs"]["0"]["label"] == "data"
    assert gi.workflows.get_workflow_inputs(workflow, "data") == ["0"]
    assert gi.workflows.export_workflow_dict(workflow)["a_galaxy_workflow"] == "true"
    assert any(one["id"] == workflow for one in gi.workflows.get_workflows())

    def invoke(**how):
        how.setdefault("inputs", {"0": {"src": "hda", "id": uploaded}})
        return gi.workflows.invoke_workflow(workflow, history_id=history, **how)["id"]

    # Through the review to the results.
    invocation = invoke(inputs={"data": {"src": "hda", "id": uploaded}}, inputs_by="name")
    pause = pause_of(gi, invocation)
    assert pause["action"] is None
    acted = gi.invocations.run_invocation_step_action(invocation, pause["id"], action=True)
    assert acted["action"] is True
    gi.invocations.wait_for_invocation(invocation, interval=0.1)
    done = state_of(gi, invocation, "completed")
    result = done["outputs"]["after"]["id"]
    assert gi.datasets.download_dataset(result) == content + b"copied\ncopied\n"
    assert gi.invocations.get_invocation_summary(invocation)["populated_state"] == "ok"
    assert len(gi.invocations.get_invocation_step_jobs_summary(invocation)) >= 2
    assert "Reviewed copy" in gi.invocations.get_invocation_report(invocation)["markdown"]
    jobs = gi.jobs.get_jobs(invocation_id=invocation)
    assert sorted(job["state"] for job in jobs) == ["ok", "ok"], jobs
    job = gi.jobs.show_job(jobs[0]["id"], full_details=True)
    assert job["exit_code"] == 0 and "stdout" in job
    assert gi.jobs.get_outputs(job["id"])[0]["name"] == "out"
    rerun = gi.invocations.rerun_invocation(invocation)["id"]
    gi.invocations.run_invocation_step_action(rerun, pause_of(gi, rerun)["id"], action=True)
    state_of(gi, rerun, "completed")

    # A refusal, a cancellation, and through the workflow's own methods.
    refused = invoke()
    gi.workflows.run_invocation_step_action(workflow, refused, pause_of(gi, refused)["id"], action=False)
    assert state_of(gi, refused, "cancelled")["messages"][0]["reason"] == "cancelled_on_review"
    cancelled = invoke()
    assert gi.invocations.cancel_invocation(cancelled)["state"] in ("cancelling", "cancelled")
    state_of(gi, cancelled, "cancelled")
    assert len(gi.workflows.get_invocations(workflow)) == 4
    assert len(gi.invocations.get_invocations(workflow_id=workflow)) == 4
    try:
        gi.invocations.run_invocation_step_action(invocation, pause["id"], action=True)
    except Refused as error:
        assert error.status_code == 400
    else:
        raise AssertionError("a completed invocation took an action")

    # The object layer.
    objects = ObjectInstance(url, api_key=key)
    wrapped = objects.workflows.get(workflow)
    assert wrapped.is_runnable, wrapped.missing_ids
    in_history = objects.histories.get(history)
    seen = wrapped.invoke(inputs={"data": in_history.get_dataset(uploaded)}, inputs_by="name", history=in_history)
    seen.cancel()
    state_of(gi, seen.id, "cancelled")

    gi.workflows.delete_workflow(workflow)
    assert not any(one["id"] == workflow for one in gi.workflows.get_workflows())
    gi.histories.delete_history(history)
    print("every check held")


if __name__ == "__main__":
    main(*sys.argv[1:])
