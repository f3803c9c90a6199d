"""Calls every public method of BioBlend's clients for what this server does, as a user who is no administrator, and then
its object layer: URL KEY FOLDER. Exits 0 when each did what it says, or was refused as is written here."""

import inspect
import json
import os
import sys
import time

from bioblend import ConnectionError as Refused
from bioblend.galaxy import GalaxyInstance, dataset_collections
from bioblend.galaxy.client import Client
from bioblend.galaxy.objects import GalaxyInstance as Objects

CLIENTS = (
    "config", "histories", "datasets", "dataset_collections", "invocations", "workflows", "jobs", "tools", "users", "roles",
)  # fmt: skip

# Lists that this server does not have (docs/api.md).
ABSENT = {
    "libraries": "get_libraries", "groups": "get_groups", "quotas": "get_quotas", "forms": "get_forms",
    "ftpfiles": "get_ftp_files", "genomes": "get_genomes", "datatypes": "get_datatypes", "visual": "get_visualizations",
    "tool_data": "get_data_tables", "toolshed": "get_repositories", "tool_dependencies": "summarize_toolbox",
    "container_resolution": "get_container_resolvers",
}  # fmt: skip

CALLED = set()


class Recorded:
    """A client that notes which of its methods were called."""

    def __init__(self, gi, name):
        self._name, self._client = name, getattr(gi, name)

    def __getattr__(self, method):
        CALLED.add(f"{self._name}.{method}")
        return getattr(self._client, method)

    def methods(self):
        found = inspect.getmembers(self._client, inspect.ismethod)
        return {f"{self._name}.{name}" for name, _ in found if not name.startswith("_") and not hasattr(Client, name)}


def refused(status, call, *given, **named):
    try:
        call(*given, **named)
    except Refused as error:
        told = error.status_code or int(str(error).split("status code: ")[-1][:3])
        assert told == status, error
        return
    raise AssertionError(f"it was not refused: {call}")


def until(look):
    end = time.monotonic() + 90
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def workflow():
    def step(number, kind, label, state, source=None, tool=None, output=None):
        feeds = {name: {"id": at, "output_name": of} for name, (at, of) in (source or {}).items()}
        outputs = [{"output_name": "out_file1", "label": output}] if output else []
        return {
            "id": number, "type": kind, "label": label, "name": label, "tool_id": tool, "tool_version": None,
            "tool_state": json.dumps(state), "input_connections": feeds, "workflow_outputs": outputs,
            "position": {"left": number, "top": 0},
        }  # fmt: skip

    fed = {"__class__": "ConnectedValue"}
    steps = [
        step(0, "data_input", "data", {"optional": False}),
        step(1, "parameter_input", "n", {"parameter_type": "integer", "default": 1, "optional": True}),
        step(2, "tool", "cat", {"input1": fed, "queries": []}, {"input1": (0, "output")}, "cat1", "all"),
        step(3, "pause", "look", {"name": "look"}, {"input": (2, "out_file1")}),
        step(4, "tool", "head", {"input": fed, "lineNum": "1", "header": "false"}, {"input": (3, "output")}, "Show beginning1", "top"),
    ]
    return {"a_galaxy_workflow": "true", "format-version": "0.1", "name": "methods", "annotation": "", "steps": {str(s["id"]): s for s in steps}}


def two_of(name, kind, one, other):
    pair = [dataset_collections.HistoryDatasetElement(name=n, id=i) for n, i in (one, other)]
    if kind == "list:paired":
        pair = [dataset_collections.CollectionElement(name="s", type="paired", elements=pair)]
    return dataset_collections.CollectionDescription(name=name, type=kind, elements=pair)


def config(c):
    assert "version_major" in c.config.get_version() and "brand" in c.config.get_config()
    for call, given in ((c.config.encode_id, (1,)), (c.config.decode_id, ("00",)), (c.config.reload_toolbox, ())):
        refused(403, call, *given)


def data(c, folder):
    path = os.path.join(folder, "two.tabular")
    with open(path, "w") as file:
        file.write("a\t1\nb\t2\n")
    history = c.histories.create_history("methods")["id"]
    one = c.tools.upload_file(path, history)["outputs"][0]["id"]
    two = c.tools.paste_content("c\t3\n", history)["outputs"][0]["id"]
    refused(403, c.tools.put_url, "https://example.org/x", history)
    refused(400, c.tools.upload_from_ftp, "x", history)
    refused(404, c.tools.post_to_fetch, path, history, "no-session")
    c.datasets.wait_for_dataset(one)
    assert c.datasets.show_dataset(one)["state"] == "ok"
    assert c.datasets.download_dataset(one) == b"a\t1\nb\t2\n"
    assert len(c.datasets.get_datasets(history_id=history, state=["ok"], deleted=False, order="hid-asc")) == 2
    refused(400, c.datasets.get_datasets, state="nonsense")
    c.datasets.publish_dataset(one, published=True)
    c.datasets.update_permissions(one, access_ids=[], manage_ids=[])
    assert c.roles.get_roles() == []
    refused(404, c.roles.show_role, one)
    refused(403, c.roles.create_role, "r", "d")
    return history, one, two


def histories(c, folder, history, one, two):
    h = c.histories
    h.update_history(history, name="named", annotation="a", tags=["x:y"])
    h.create_history_tag(history, "tag")
    assert h.show_history(history, keys=["name"])["name"] == "named"
    assert len(h.show_history(history, contents=True, types=["dataset"], details="all")) == 2
    assert any(found["id"] == history for found in h.get_histories(name="named"))
    assert h.get_published_histories() == [] and h.get_most_recently_used_history()["id"] == history
    assert h.get_status(history)["state_details"]["ok"] == 2
    h.open_history(history)
    assert h.update_dataset(history, one, name="first", datatype="tabular", genome_build="hg19")["name"] == "first"
    assert h.show_dataset(history, one)["file_ext"] == "tabular"
    assert h.show_dataset_provenance(history, one, follow=True)["job_id"]
    assert len(h.show_matching_datasets(history, "first")) == 1 and h.get_extra_files(history, one) == []
    made = h.create_dataset_collection(history, two_of("l", "list", ("a", one), ("b", two)))["id"]
    h.create_dataset_collection(history, two_of("p", "list:paired", ("forward", one), ("reverse", two)), copy_elements=False)
    assert h.update_dataset_collection(history, made, name="other")["name"] == "other"
    assert h.show_dataset_collection(history, made)["element_count"] == 2
    d = c.dataset_collections
    d.wait_for_dataset_collection(made)
    assert len(d.show_dataset_collection(made)["elements"]) == 2
    assert d.download_dataset_collection(made, os.path.join(folder, "l.zip"))["archive_type"] == "zip"
    h.copy_content(history, made, source="hdca")
    refused(501, h.upload_dataset_from_library, history, one)
    copied = h.copy_dataset(history, two)["id"]
    assert h.copy_history(history, name="copy", all_datasets=True)["name"] == "copy"
    archive = os.path.join(folder, "h.tar.gz")
    with open(archive, "wb") as file:
        h.download_history(history, h.export_history(history, wait=True), file)
    assert h.import_history(file_path=archive)["id"]
    refused(403, h.import_history, url="https://example.org/h.tar.gz")
    h.delete_dataset_collection(history, made)
    h.delete_dataset(history, copied, purge=True, wait=True)
    gone = h.create_history("gone")["id"]
    assert h.delete_history(gone)["deleted"]
    h.undelete_history(gone)
    assert h.delete_history(gone, purge=True)["purged"]


def workflows(c, folder):
    w = c.workflows
    made = w.import_workflow_dict(workflow())["id"]
    w.export_workflow_to_local_path(made, os.path.join(folder, "w.ga"), use_default_filename=False)
    local = w.import_workflow_from_local_path(os.path.join(folder, "w.ga"), publish=True)["id"]
    assert len(w.get_workflows(name="methods")) == 2 and w.get_workflows(published=True)
    assert w.get_workflow_inputs(made, "data") == ["0"]
    assert w.export_workflow_dict(made, style="format2")["class"] == "GalaxyWorkflow"
    assert w.update_workflow(made, name="renamed", tags=["t"])["name"] == "renamed"
    assert len(w.show_versions(made)) == 2 and w.show_workflow(made, version=0)["id"] == made
    shown = w.refactor_workflow(made, [{"action_type": "update_name", "name": "x"}], dry_run=True)
    assert shown["dry_run"]
    assert w.import_shared_workflow(local)["name"].startswith("imported: ")
    w.delete_workflow(local)
    return made


def invocations(c, folder, history, made, one, two):
    w, i = c.workflows, c.invocations
    run = w.invoke_workflow(
        made, inputs={"data": {"src": "hda", "id": one}, "dato": {"src": "hda", "id": two}}, inputs_by="name", history_id=history
    )
    assert "dato" in run["warnings"][0], run
    run = run["id"]
    review = until(lambda: [s for s in i.show_invocation(run)["steps"] if s["order_index"] == 3])[0]["id"]
    assert i.show_invocation_step(run, review)["action"] is None and w.show_invocation_step(made, run, review)
    assert w.show_invocation(made, run)["id"] == run and len(w.get_invocations(made)) == 1
    assert w.run_invocation_step_action(made, run, review, True)["action"] is True
    i.wait_for_invocation(run, interval=0.2)
    refused(400, i.run_invocation_step_action, run, review, True)
    assert len(i.get_invocations(workflow_id=made, history_id=history, view="element", step_details=True)) == 1
    until(lambda: i.get_invocation_summary(run)["states"] == {"ok": 2})
    assert len(i.get_invocation_step_jobs_summary(run)) == 2
    assert i.get_invocation_request(run)["inputs_by"] == "name"
    assert "renamed" in i.get_invocation_report(run)["markdown"]
    try:
        i.get_invocation_report_pdf(run, os.path.join(folder, "r.pdf"))
        raise AssertionError("a PDF")
    except Exception as error:
        assert "PDF" in str(error), error
    assert i.get_invocation_biocompute_object(run)["description_domain"]["pipeline_steps"]
    assert i.get_invocation_archive(run, model_store_format="rocrate.zip").status_code == 200
    again = i.rerun_invocation(run, inputs_update={"data": {"src": "hda", "id": two}}, history_name="again")["id"]
    assert i.cancel_invocation(again)["state"] in ("cancelling", "cancelled")
    again = i.rerun_invocation(run, history_id=history)["id"]
    assert w.cancel_invocation(made, again)["state"] in ("cancelling", "cancelled")
    return run


def jobs_and_tools(c, history, run, one, two):
    j, t = c.jobs, c.tools
    job = j.get_jobs(invocation_id=run, tool_id="cat1")[0]["id"]
    shown = j.show_job(job, full_details=True)
    assert json.loads(shown["params"]["input1"]) == {"src": "hda", "id": one}, shown["params"]
    assert j.get_state(job) == "ok" and j.wait_for_job(job)["id"] == job
    assert j.get_inputs(job)[0]["dataset"]["id"] == one and j.get_outputs(job)[0]["name"] == "out_file1"
    assert j.get_metrics(job) and "has_empty_inputs" in j.get_common_problems(job)
    assert j.search_jobs("cat1", {"input1": {"src": "hda", "id": one}})
    assert j.rerun_job(job)["jobs"] and j.cancel_job(job) is False
    assert j.resume_job(job)[0]["name"] == "out_file1"
    j.report_error(job, one, "it is wrong")
    for call, given in ((j.get_destination_params, (job,)), (j.show_job_lock, ()), (j.update_job_lock, (False,))):
        refused(403, call, *given)
    assert any(tool["id"] == "cat1" for tool in t.get_tools()) and t.get_tool_panel()
    assert t.show_tool("cat1", io_details=True)["inputs"] and t.get_citations("cat1") == []
    assert t.build("cat1", {"input1": {"src": "hda", "id": one}}, history_id=history)["inputs"]
    assert "class: GalaxyTool" in t.get_tool_source("cat1") and t.get_tool_tests("cat1") == []
    nested = {"input1": {"src": "hda", "id": one}, "queries": [{"input2": {"src": "hda", "id": two}}]}
    made = t.run_tool(history, "cat1", nested, input_format="21.01")
    assert made["outputs"][0]["output_name"] == "out_file1"
    refused(404, t.requirements, "cat1")
    refused(405, t.reload, "cat1")
    refused(404, t.install_dependencies, "cat1")
    refused(405, t.uninstall_dependencies, "cat1")
    ids = [made["jobs"][0]["id"]]
    assert c.workflows.extract_workflow_from_history(history, "extracted", job_ids=ids, dataset_hids=["1"])["id"]


def users(c, key):
    u = c.users
    me = u.get_current_user()["id"]
    assert c.config.whoami()["id"] == me and u.show_user(me)["id"] == me
    assert [user["id"] for user in u.get_users()] == [me]
    refused(403, u.get_users, deleted=True)
    assert u.get_user_apikey(me) == key and u.get_or_create_user_apikey(me) == key
    u.update_user(me, {"username": f"is-{me}"})
    assert u.show_user(me)["username"] == f"is-{me}"
    assert u.get_credentials(me) == [] and u.get_credentials_for_tool(me, "cat1") in (None, [])
    nothing = (me, "tool", "cat1", "1", "service", "1")
    refused(405, u.create_credentials, *nothing, "group")
    refused(405, u.select_credential_group, me, "tool", "cat1", "1", me, me)
    refused(403, u.create_local_user, "eve", "eve@example.org", "a long secret")
    refused(400, u.create_remote_user, "eve@example.org")
    refused(403, u.delete_user, me)
    # The last thing: the old key ends with it.
    assert u.create_user_apikey(me) != key


def objects(gi):
    history = gi.histories.create("objects")
    data = history.paste_content("a\t1\nb\t2\n")
    data.wait(polling_interval=0.2)
    for name in "id data_type file_ext file_name file_size genome_build misc_info name state annotation deleted purged tags visible".split():
        getattr(data, name)
    assert data.get_contents() == b"a\t1\nb\t2\n" and data.update(name="named").name == "named"
    made = history.create_dataset_collection(two_of("l", "list", ("a", data.id), ("b", data.id)))
    for name in "collection_type deleted name state tags visible elements".split():
        getattr(made.refresh(), name)
    history.refresh()
    for name in "annotation published state state_ids state_details tags deleted name content_infos".split():
        getattr(history, name)
    assert history.get_datasets(name="named") and gi.histories.list(name="objects") and list(gi.histories.get_previews())
    tool = gi.tools.get("cat1")
    assert tool.run({"input1": data}, history, wait=True, polling_interval=0.2)[0].name
    assert gi.jobs.get(gi.jobs.list()[0].id).state
    made = gi.workflows.import_new(workflow())
    assert made.is_runnable and made.owner and made.latest_workflow_uuid
    assert set(made.inputs) == made.data_input_ids | made.data_collection_input_ids | made.parameter_input_ids
    # An input that nothing is connected to is not in its graph.
    assert len(made.sorted_step_ids()) == 4 and not made.missing_ids and list(gi.workflows.get_previews())
    run = made.invoke(inputs={"data": data}, inputs_by="name", history=history)
    until(lambda: len(run.refresh().steps) > 3)
    run.run_step_actions([step for step in run.steps if step.order_index == 3], [True])
    run.wait(interval=0.2)
    run.refresh()
    for name in "id history_id state update_time uuid workflow_id inputs".split():
        getattr(run, name)
    for step in run.steps:
        for name in "action job_id order_index state update_time workflow_step_id workflow_step_label workflow_step_uuid".split():
            getattr(step.refresh(), name)
    assert run.step_states() == {"scheduled"} and run.steps[2].get_outputs()["out_file1"].name
    assert run.summary() and run.step_jobs_summary() and run.report() and run.biocompute_object()
    assert [found.id for found in gi.invocations.list(workflow=made, history=history)] == [run.id]
    made.delete()
    history.delete(purge=True)


def main(url, key, folder):
    gi = GalaxyInstance(url, key=key)
    clients = type("Clients", (), {name: Recorded(gi, name) for name in CLIENTS})
    config(clients)
    history, one, two = data(clients, folder)
    histories(clients, folder, history, one, two)
    made = workflows(clients, folder)
    run = invocations(clients, folder, history, made, one, two)
    jobs_and_tools(clients, history, run, one, two)
    for name, method in ABSENT.items():
        refused(404, getattr(getattr(gi, name), method))
    objects(Objects(url, key))
    users(clients, key)
    methods = set().union(*(getattr(clients, name).methods() for name in CLIENTS))
    assert len(methods) > 100 and methods <= CALLED, f"never called: {sorted(methods - CALLED)}"
    print(f"{len(methods)} methods")


if __name__ == "__main__":
    main(*sys.argv[1:])
