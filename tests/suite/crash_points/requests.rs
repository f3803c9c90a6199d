//! The requests that reach a crash point each, and what tells whether they were done.

use barycenter_tests::client::text;
use barycenter_tests::eventually;
use barycenter_tests::workflows::REVIEWED;
use serde_json::{Value, json};

use super::{Call, Request, Stage, Who};

pub const PEOPLE: &[Request] = &[
    (
        "user.create",
        |s| {
            let name = format!("new{}", s.number);
            let user = json!({"username": name, "email": format!("{name}@example.org"), "password": "long enough a word"});
            s.root("POST", "/api/users".into(), &user)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM galaxy_user",
    ),
    (
        "user.update",
        |s| {
            let change = json!({"username": format!("renamed{}", s.number)});
            s.root("PUT", format!("/api/users/{}", s.user()), &change)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM galaxy_user WHERE username LIKE 'renamed%'",
    ),
    (
        "user.delete",
        |s| s.root("DELETE", format!("/api/users/{}", s.user()), &Value::Null),
        "SELECT CAST(COUNT(*) AS TEXT) FROM galaxy_user WHERE deleted",
    ),
    (
        "user.key",
        |s| {
            s.root(
                "POST",
                format!("/api/users/{}/api_key", s.user()),
                &json!({}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM api_keys",
    ),
    (
        "role.create",
        |s| {
            let role = json!({"name": format!("role {}", s.number), "description": "one"});
            s.root("POST", "/api/roles".into(), &role)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM role",
    ),
    (
        "job.lock",
        |s| {
            let body = json!({"active": s.root.get("/api/job_lock").ok()["active"] != true});
            s.root("PUT", "/api/job_lock".into(), &body)
        },
        "SELECT COALESCE(MAX(value), '') FROM installation WHERE name = 'job_lock'",
    ),
    (
        "dynamic_tool.create",
        |s| {
            s.root(
                "POST",
                "/api/dynamic_tools".into(),
                &Stage::tool("GalaxyTool"),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM dynamic_tool",
    ),
    (
        "dynamic_tool.deactivate",
        |s| {
            let made = s
                .root
                .post("/api/dynamic_tools", &Stage::tool("GalaxyTool"));
            let id = text(&made.ok(), "uuid");
            s.root("DELETE", format!("/api/dynamic_tools/{id}"), &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM dynamic_tool WHERE NOT active",
    ),
    (
        "workflow.create",
        |s| {
            let workflow = json!({"class": "GalaxyWorkflow", "yaml_content": REVIEWED});
            s.ada(
                "POST",
                "/api/workflows".into(),
                &json!({"workflow": workflow}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM stored_workflow",
    ),
    (
        "workflow.update",
        |s| {
            let id = s.ada.import_yaml(REVIEWED);
            s.ada(
                "PUT",
                format!("/api/workflows/{id}"),
                &json!({"name": "other"}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM stored_workflow WHERE name = 'other'",
    ),
    (
        "workflow.attributes",
        |s| {
            let id = s.ada.import_yaml(REVIEWED);
            s.ada("DELETE", format!("/api/workflows/{id}"), &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM stored_workflow WHERE deleted",
    ),
    (
        "workflow.share",
        |s| {
            let id = s.ada.import_yaml(REVIEWED);
            let path = format!("/api/workflows/{id}/share_with_users");
            s.ada("PUT", path, &json!({"user_ids": [s.user()]}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM stored_workflow_user_share",
    ),
    (
        "workflow.refactor",
        |s| {
            let id = s.ada.import_yaml(REVIEWED);
            let actions = json!([{"action_type": "update_name", "name": "refactored"}]);
            s.ada(
                "PUT",
                format!("/api/workflows/{id}/refactor"),
                &json!({"actions": actions}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM workflow",
    ),
];

const HDAS: &str = "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_association";
const HDCAS: &str = "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_collection_association";

pub const DATA: &[Request] = &[
    (
        "history.create",
        |s| s.ada("POST", "/api/histories".into(), &json!({"name": "new"})),
        "SELECT CAST(COUNT(*) AS TEXT) FROM history",
    ),
    (
        "history.update",
        |s| {
            let name = json!({"name": format!("changed {}", s.number)});
            s.ada("PUT", format!("/api/histories/{}", s.history), &name)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE name LIKE 'changed%'",
    ),
    (
        "history.delete",
        |s| {
            s.ada(
                "DELETE",
                format!("/api/histories/{}", s.history),
                &Value::Null,
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE deleted",
    ),
    (
        "history.undelete",
        |s| {
            let path = format!("/api/histories/{}", s.history);
            s.ada.delete(&path).ok();
            let path = format!("/api/histories/deleted/{}/undelete", s.history);
            s.ada("POST", path, &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE deleted",
    ),
    (
        "history.tag",
        |s| {
            let path = format!("/api/histories/{}/tags/tagged", s.history);
            s.ada("POST", path, &json!({}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE tags LIKE '%tagged%'",
    ),
    (
        "history.share",
        |s| {
            s.ada(
                "PUT",
                format!("/api/histories/{}/publish", s.history),
                &Value::Null,
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE published",
    ),
    (
        "upload",
        |s| {
            s.upload(
                &json!({"src": "pasted", "paste_content": "more\n", "name": "more", "ext": "txt"}),
            )
        },
        HDAS,
    ),
    (
        "upload.placed",
        |s| {
            s.upload(
                &json!({"src": "pasted", "paste_content": "more\n", "name": "more", "ext": "txt"}),
            )
        },
        HDAS,
    ),
    (
        "dataset.copy",
        |s| {
            let body = json!({"source": "hda", "content": s.dataset()});
            s.ada(
                "POST",
                format!("/api/histories/{}/contents", s.history),
                &body,
            )
        },
        HDAS,
    ),
    (
        "dataset.update",
        |s| {
            s.ada(
                "PUT",
                format!("/api/datasets/{}", s.dataset()),
                &json!({"name": "renamed"}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_association WHERE name = 'renamed'",
    ),
    (
        "dataset.delete",
        |s| {
            s.ada(
                "DELETE",
                format!("/api/datasets/{}", s.dataset()),
                &Value::Null,
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_association WHERE deleted",
    ),
    (
        "collection.create",
        |s| {
            let body = json!({"history_id": s.history, "name": "new", "collection_type": "list", "instance_type": "history",
                "element_identifiers": [{"name": "a", "src": "hda", "id": s.dataset()}]});
            s.ada("POST", "/api/dataset_collections".into(), &body)
        },
        HDCAS,
    ),
    (
        "collection.copy",
        |s| {
            let body =
                json!({"source": "hdca", "type": "dataset_collection", "content": s.collection()});
            s.ada(
                "POST",
                format!("/api/histories/{}/contents", s.history),
                &body,
            )
        },
        HDCAS,
    ),
    (
        "collection.update",
        |s| {
            let path = format!("/api/dataset_collections/{}", s.collection());
            s.ada("PUT", path, &json!({"name": "renamed"}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_collection_association WHERE name = 'renamed'",
    ),
    (
        "collection.delete",
        |s| {
            let path = format!("/api/dataset_collections/{}", s.collection());
            s.ada("DELETE", path, &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_collection_association WHERE deleted",
    ),
    (
        "export.order",
        |s| {
            let path = format!("/api/histories/{}/prepare_store_download", s.history);
            s.ada("POST", path, &json!({"model_store_format": "tgz"}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM short_term_storage",
    ),
    (
        "history.import",
        import,
        "SELECT CAST(COUNT(*) AS TEXT) FROM history",
    ),
];

pub const WORK: &[Request] = &[
    (
        "invocation.create",
        |s| {
            let inputs = json!({"data": {"src": "hda", "id": s.dataset()}});
            let id = s.ada.import_yaml(REVIEWED);
            let body = json!({"history_id": s.history, "inputs_by": "name", "inputs": inputs});
            s.ada("POST", format!("/api/workflows/{id}/invocations"), &body)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM workflow_invocation",
    ),
    (
        "invocation.action",
        |s| {
            let (invocation, step) = s.paused();
            let path = format!("/api/invocations/{invocation}/steps/{step}");
            s.ada("PUT", path, &json!({"action": true}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM workflow_invocation_step WHERE action IS NOT NULL",
    ),
    (
        "invocation.cancel",
        |s| {
            let (invocation, _) = s.paused();
            s.ada(
                "DELETE",
                format!("/api/invocations/{invocation}"),
                &Value::Null,
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM workflow_invocation WHERE state IN ('cancelling', 'cancelled')",
    ),
    (
        "tool.run",
        |s| {
            let body = json!({"tool_id": "script", "history_id": s.history, "inputs": {"script": "echo x > out.txt"}});
            s.ada("POST", "/api/tools".into(), &body)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM job WHERE tool_id = 'script'",
    ),
    (
        "tool.request",
        |s| {
            let body = json!({"tool_id": "script", "history_id": s.history, "inputs": {"script": "echo x > out.txt"}});
            s.ada("POST", "/api/jobs".into(), &body)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM tool_request",
    ),
    (
        "job.cancel",
        |s| {
            let (_, second, _) = s.failed();
            s.ada("DELETE", format!("/api/jobs/{second}"), &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM job WHERE state IN ('deleted', 'deleting')",
    ),
    (
        "job.remap",
        |s| {
            let (first, _, data) = s.failed();
            let inputs =
                json!({"script": "cat $INPUT > out.txt", "input": {"src": "hda", "id": data}});
            let body = json!({"tool_id": "script", "history_id": s.history, "inputs": inputs, "rerun_remap_job_id": first});
            s.ada("POST", "/api/tools".into(), &body)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM job WHERE tool_id = 'script'",
    ),
    (
        "job.resume",
        |s| {
            let (_, second, _) = s.failed();
            s.ada("PUT", format!("/api/jobs/{second}/resume"), &Value::Null)
        },
        // It is paused again, as its input still failed: only its history tells.
        "SELECT CAST(COUNT(*) AS TEXT) FROM job_state_history",
    ),
];

/// An archive of a history, taken in as another one.
fn import(s: &Stage) -> Call {
    s.dataset();
    let path = format!("/api/histories/{}/prepare_store_download", s.history);
    let wish = s
        .ada
        .post(&path, &json!({"model_store_format": "tgz"}))
        .ok();
    let file = format!(
        "/api/short_term_storage/{}",
        text(&wish, "storage_request_id")
    );
    eventually("the archive is made", || {
        s.ada.get(&format!("{file}/ready")).ok() == true
    });
    let mut body = b"--edge\r\ncontent-disposition: form-data; name=\"archive_file\"; filename=\"h.tar.gz\"\r\n\r\n".to_vec();
    body.extend(s.ada.get(&file).bytes);
    body.extend(b"\r\n--edge--\r\n");
    Call {
        who: Who::Ada,
        method: "POST",
        path: "/api/histories".into(),
        headers: vec![("content-type", "multipart/form-data; boundary=edge".into())],
        body,
    }
}
