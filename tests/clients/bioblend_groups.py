"""Drives a server through BioBlend, group by group: URL KEY. Exits 0 when every check held."""

import sys
import time

from bioblend import ConnectionError as Refused
from bioblend.galaxy import GalaxyInstance

DEADLINE_SECONDS = 90


def until(what, look):
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain: {what}")


class Groups:
    def __init__(self, url, key):
        self.gi = GalaxyInstance(url, key=key)
        self.history = self.gi.histories.create_history("groups")["id"]

    def paste(self, text, name):
        return self.gi.tools.paste_content(text, self.history, file_name=name)["outputs"][0]["id"]

    def import_yaml(self, text):
        return self.gi.workflows.import_workflow_dict({"class": "GalaxyWorkflow", "yaml_content": text})["id"]

    def list_of(self, **texts):
        elements = [{"name": name, "src": "hda", "id": self.paste(text, name)} for name, text in texts.items()]
        description = {"collection_type": "list", "element_identifiers": elements, "name": "samples"}
        return self.gi.histories.create_dataset_collection(self.history, description)["id"]

    def run(self, workflow, inputs, **how):
        how.setdefault("history_id", self.history)
        invocation = self.gi.workflows.invoke_workflow(workflow, inputs=inputs, inputs_by="name", **how)["id"]
        return self.ended(invocation)

    def ended(self, invocation, *states):
        states = states or ("completed", "failed", "cancelled")

        def look():
            shown = self.gi.invocations.show_invocation(invocation)
            return shown if shown["state"] in states else None

        return until(f"invocation in {states}", look)

    def text(self, dataset):
        return self.gi.datasets.download_dataset(dataset).decode()

    def elements(self, collection):
        shown = self.gi.dataset_collections.show_dataset_collection(collection)
        return {e["element_identifier"]: e["object"] for e in shown["elements"]}

    # The groups.

    def collections(self):
        one, two = self.paste("1", "one"), self.paste("2", "two")
        pair = {"name": "a", "src": "new_collection", "collection_type": "paired", "element_identifiers": [
            {"name": "forward", "src": "hda", "id": one}, {"name": "reverse", "src": "hda", "id": two}]}
        made = self.gi.histories.create_dataset_collection(
            self.history, {"collection_type": "list:paired", "element_identifiers": [pair], "name": "pairs"})
        assert made["elements"][0]["object"]["elements"][1]["element_identifier"] == "reverse"
        shown = self.gi.histories.show_dataset_collection(self.history, made["id"])
        assert shown["collection_type"] == "list:paired" and shown["populated"]
        changed = self.gi.histories.update_dataset_collection(self.history, made["id"], name="renamed")
        assert changed["name"] == "renamed"
        contents = self.gi.histories.show_history(self.history, contents=True, types=["dataset_collection"])
        assert [c["id"] for c in contents if c["name"] == "renamed"] == [made["id"]]
        other = self.gi.histories.create_history("copies")["id"]
        copy = self.gi.histories.copy_content(other, made["id"], source="hdca")
        assert copy["collection_type"] == "list:paired"

    def mapping(self):
        workflow = self.import_yaml("""
class: GalaxyWorkflow
inputs:
  samples: {type: collection, collection_type: list}
outputs:
  heads: {outputSource: head/out_file1}
steps:
  head:
    tool_id: Show beginning1
    in: {input: samples}
    state: {header: false, lineNum: 1}
""")
        samples = self.list_of(a="a1\na2\n", b="b1\nb2\n")
        done = self.run(workflow, {"samples": {"src": "hdca", "id": samples}})
        assert done["state"] == "completed", done
        heads = self.elements(done["output_collections"]["heads"]["id"])
        assert {name: self.text(item["id"]) for name, item in heads.items()} == {"a": "a1\n", "b": "b1\n"}
        summary = self.gi.invocations.get_invocation_summary(done["id"])
        assert summary["states"] == {"ok": 2}
        jobs = self.gi.jobs.get_jobs(invocation_id=done["id"])
        assert [i["id"] for i in self.gi.invocations.get_invocations(job_id=jobs[0]["id"])] == [done["id"]]

    def subworkflows_and_conditions(self):
        workflow = self.import_yaml("""
class: GalaxyWorkflow
inputs:
  data: data
  deeper: boolean
outputs:
  result: {outputSource: inner/copied}
steps:
  inner:
    in: {item: data, deeper: deeper}
    when: $(inputs.deeper)
    run:
      class: GalaxyWorkflow
      inputs: {item: data, deeper: {type: boolean, optional: true}}
      outputs:
        copied: {outputSource: copy/out_file1}
      steps:
        copy: {tool_id: cat1, in: {input1: item}}
""")
        data = {"src": "hda", "id": self.paste("deep", "deep")}
        for deeper, states in ((True, {"ok": 1}), (False, {"skipped": 1})):
            done = self.run(workflow, {"data": data, "deeper": deeper})
            assert done["state"] == "completed", done
            inner = next(s["subworkflow_invocation_id"] for s in done["steps"] if s["subworkflow_invocation_id"])
            assert self.gi.invocations.get_invocation_summary(inner)["states"] == states
            # A step is found by its id, whatever invocation the path names.
            step = self.gi.invocations.show_invocation(inner)["steps"][-1]
            assert self.gi.invocations.show_invocation_step(done["id"], step["id"])["id"] == step["id"]

    def post_job_actions(self):
        workflow = self.import_yaml("""
class: GalaxyWorkflow
inputs: {data: data}
outputs:
  result: {outputSource: copy/out_file1}
steps:
  copy:
    tool_id: cat1
    in: {input1: data}
    out:
      out_file1: {rename: "${what} of #{input1}", add_tags: ["name:kept"], change_datatype: csv}
  again:
    tool_id: cat1
    in: {input1: copy/out_file1}
    out:
      out_file1: {hide: true}
""")
        data = {"src": "hda", "id": self.paste("x", "origin")}
        done = self.run(workflow, {"data": data}, replacement_params={"what": "copy"})
        result = self.gi.datasets.show_dataset(done["outputs"]["result"]["id"])
        assert result["name"] == "copy of origin", result["name"]
        assert result["tags"] == ["name:kept"] and result["extension"] == "csv"
        outputs = [self.gi.invocations.show_invocation_step(done["id"], s["id"]) for s in done["steps"]]
        hidden = outputs[-1]["outputs"]["out_file1"]["id"]
        assert self.gi.datasets.show_dataset(hidden)["visible"] is False

    def pauses(self):
        workflow = self.import_yaml("""
class: GalaxyWorkflow
inputs: {data: data}
outputs:
  result: {outputSource: after/out_file1}
steps:
  review: {type: pause, in: {input: data}}
  after: {tool_id: cat1, in: {input1: review/output}}
""")
        data = {"src": "hda", "id": self.paste("x", "x")}
        for action, state in ((True, "completed"), (False, "cancelled")):
            made = self.gi.workflows.invoke_workflow(workflow, {"data": data}, history_id=self.history, inputs_by="name")

            def reached(invocation=made["id"]):
                steps = self.gi.invocations.show_invocation(invocation)["steps"]
                return next((s for s in steps if s["workflow_step_label"] == "review"), None)

            step = until("the pause", reached)
            assert step["action"] is None
            self.gi.invocations.run_invocation_step_action(made["id"], step["id"], action=action)
            assert self.ended(made["id"])["state"] == state

    def reruns(self):
        workflow = self.import_yaml("""
class: GalaxyWorkflow
inputs: {data: data, lines: integer}
steps:
  head: {tool_id: Show beginning1, in: {input: data, lineNum: lines}, state: {header: false}}
  next: {tool_id: cat1, in: {input1: head/out_file1}}
""")
        data = {"src": "hda", "id": self.paste("l1\nl2", "lines")}
        done = self.run(workflow, {"data": data, "lines": -1})
        jobs = {s["workflow_step_label"]: s["job_id"] for s in done["steps"] if s["job_id"]}
        assert self.gi.jobs.show_job(jobs["head"])["state"] == "error"
        assert self.gi.jobs.show_job(jobs["next"])["state"] == "paused"
        new = self.gi.jobs.rerun_job(jobs["head"], remap=True, tool_inputs_update={"lineNum": 1})["jobs"][0]["id"]
        until("the new job", lambda: self.gi.jobs.show_job(new)["state"] == "ok")
        until("what waited for it", lambda: self.gi.jobs.show_job(jobs["next"])["state"] == "ok")
        again = self.gi.invocations.rerun_invocation(done["id"], inputs_update={"lines": 1}, history_id=self.history)
        assert self.ended(again["id"])["state"] == "completed"
        assert self.gi.invocations.get_invocation_summary(again["id"])["states"] == {"ok": 2}

    def reports_and_archives(self):
        workflow = self.import_yaml("""
class: GalaxyWorkflow
label: Told of
inputs: {data: data}
outputs:
  result: {outputSource: copy/out_file1}
report: {markdown: "# All about it"}
steps:
  copy: {tool_id: cat1, in: {input1: data}}
""")
        done = self.run(workflow, {"data": {"src": "hda", "id": self.paste("x", "x")}})
        report = self.gi.invocations.get_invocation_report(done["id"])
        assert "Told of" in report["markdown"] and "All about it" in report["markdown"]
        bco = self.gi.invocations.get_invocation_biocompute_object(done["id"])
        assert [s["name"] for s in bco["description_domain"]["pipeline_steps"]] == ["cat1"]
        archive = self.gi.invocations.get_invocation_archive(done["id"], model_store_format="rocrate.zip")
        assert archive.content[:2] == b"PK"
        metrics = self.gi.jobs.get_metrics(self.gi.jobs.get_jobs(invocation_id=done["id"])[0]["id"])
        assert isinstance(metrics, list)
        exported = self.gi.histories.export_history(self.history, wait=True, maxwait=60)
        assert exported

    def formats(self):
        text = """
class: GalaxyWorkflow
label: Formats
inputs: {data: data}
steps:
  copy: {tool_id: cat1, in: {input1: data}}
"""
        workflow = self.import_yaml(text)
        native = self.gi.workflows.export_workflow_dict(workflow)
        again = self.gi.workflows.import_workflow_dict(native)["id"]
        copied = self.gi.workflows.export_workflow_dict(again)
        assert native["steps"] == copied["steps"]
        self.gi.workflows.update_workflow(again, name="renamed", tags=["a"], annotation="why")
        shown = self.gi.workflows.show_workflow(again)
        assert (shown["name"], shown["tags"], shown["annotation"], shown["version"]) == ("renamed", ["a"], "why", 1)
        assert len(self.gi.workflows.show_versions(again)) == 2
        actions = [{"action_type": "add_input", "type": "data", "label": "more"}]
        assert self.gi.workflows.refactor_workflow(again, actions)["dry_run"] is False
        assert len(self.gi.workflows.show_workflow(again)["inputs"]) == 2
        self.gi.workflows.delete_workflow(again)
        try:
            self.gi.workflows.export_workflow_dict("nonsense")
        except Refused:
            pass
        else:
            raise AssertionError("an id that is none was taken")


def main(url, key):
    groups = Groups(url, key)
    for name in ("collections", "mapping", "subworkflows_and_conditions", "post_job_actions", "pauses", "reruns",
                 "reports_and_archives", "formats"):
        getattr(groups, name)()
        print(name)


if __name__ == "__main__":
    main(*sys.argv[1:3])
