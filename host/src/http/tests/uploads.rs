use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{Answer, Server};
use crate::http::{Settings, auth::Caller, payload::Payload, upload};

const BOUNDARY: &str = "the-boundary";

fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        .into_bytes()
}

fn file(name: &str, filename: &str, content: &[u8]) -> Vec<u8> {
    let mut part = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    part.extend_from_slice(content);
    part.extend_from_slice(b"\r\n");
    part
}

fn end() -> Vec<u8> {
    format!("--{BOUNDARY}--\r\n").into_bytes()
}

async fn send_form(server: &Server, body: Body) -> Answer {
    let request = Request::post("/api/tools/fetch")
        .header("x-api-key", &server.ada)
        .header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        );
    server.send(request.body(body).expect("a request")).await
}

fn one_file() -> String {
    json!([{"destination": {"type": "hdas"}, "elements": [{"src": "files", "ext": "auto", "to_posix_lines": true}]}]).to_string()
}

fn left_behind(server: &Server) -> usize {
    std::fs::read_dir(server.app.data.tmp())
        .expect("it exists")
        .filter(|e| e.as_ref().is_ok_and(|e| e.path().is_file()))
        .count()
}

#[tokio::test]
async fn planemos_form_becomes_a_dataset_and_a_job_that_is_over() {
    let server = Server::start().await;
    let h = server.history().await;
    let form = [
        field("history_id", &h),
        field("targets", &one_file()),
        file("files_0|file_data", "../../evil.txt", b"a\r\nb"),
        end(),
    ]
    .concat();
    let answer = send_form(&server, form.into()).await.ok();
    let hda = &answer["outputs"][0];
    assert_eq!(
        (&hda["name"], &hda["state"], &hda["output_name"]),
        (&json!("../../evil.txt"), &json!("ok"), &json!("output0"))
    );
    assert_eq!(answer["jobs"][0]["state"], "ok");
    assert_eq!(answer["jobs"][0]["id"], hda["creating_job"]);
    let bytes = server
        .get(hda["download_url"].as_str().expect("a path"))
        .await;
    assert_eq!(bytes.body, b"a\nb\n");
    assert_eq!(left_behind(&server), 0);
}

#[tokio::test]
async fn hostile_forms_are_refused_and_leave_nothing() {
    let server = Server::with(Settings {
        upload_max_bytes: 1000,
        ..Settings::default()
    })
    .await;
    let h = server.history().await;
    let head = [field("history_id", &h), field("targets", &one_file())].concat();
    let cases: Vec<(Vec<Vec<u8>>, u16, u32)> = vec![
        (vec![head.clone(), end()], 400, 400_007),
        (
            vec![
                head.clone(),
                file("files_0|file_data", "x", &[b'x'; 2000]),
                end(),
            ],
            413,
            413_001,
        ),
        (
            vec![head.clone(), file("files_0|file_data", "x", b"cut")],
            400,
            400_013,
        ),
        (
            vec![field("history_id", &h), field("targets", "[{"), end()],
            400,
            400_003,
        ),
        (
            vec![
                field("history_id", &h),
                file("files_0|file_data", "x", b"x"),
                end(),
            ],
            400,
            400_007,
        ),
        (
            vec![
                field("history_id", "zzz"),
                field("targets", &one_file()),
                file("files_0|file_data", "x", b"x"),
                end(),
            ],
            400,
            400_009,
        ),
        (vec![b"not a form".to_vec()], 400, 400_013),
    ];
    for (parts, status, code) in cases {
        send_form(&server, parts.concat().into())
            .await
            .refused(status, code);
        assert_eq!(left_behind(&server), 0);
    }
    assert_eq!(
        server
            .get(&format!("/api/histories/{h}/contents"))
            .await
            .ok(),
        json!([])
    );
    assert_eq!(
        server.get(&format!("/api/histories/{h}")).await.ok()["hid_counter"],
        1
    );
}

#[tokio::test]
async fn a_collection_can_be_uploaded_whole() {
    let server = Server::start().await;
    let h = server.history().await;
    let paste = |name: &str| json!({"name": name, "src": "pasted", "paste_content": name});
    let pair = |name: &str| json!({"name": name, "elements": [paste("forward"), paste("reverse")]});
    let body = |elements: Value| {
        json!({"history_id": h, "targets": [{"destination": {"type": "hdca"}, "collection_type": "list:paired", "name": "up",
               "elements": elements}]})
    };
    let answer = server
        .post("/api/tools/fetch", body(json!([pair("a"), pair("b")])))
        .await
        .ok();
    let hdca = &answer["output_collections"][0];
    assert_eq!(
        (&hdca["name"], &hdca["populated_state"], &hdca["hid"]),
        (&json!("up"), &json!("ok"), &json!(5))
    );
    assert_eq!(
        hdca["elements"][1]["object"]["elements"][0]["object"]["name"],
        "forward"
    );
    assert_eq!(
        hdca["elements"][1]["object"]["elements"][0]["object"]["visible"],
        false
    );
    let job = answer["jobs"][0]["id"].as_str().expect("an id");
    let outputs = server.get(&format!("/api/jobs/{job}/outputs")).await.ok();
    let outputs = outputs.as_array().expect("a list").iter();
    let mut instances = outputs.filter_map(|output| output.get("dataset_collection_instance"));
    assert_eq!(
        instances.next(),
        Some(&json!({"src": "hdca", "id": hdca["id"]}))
    );
    server
        .post("/api/tools/fetch", body(json!([pair("a"), paste("b")])))
        .await
        .refused(400, 400_008);
    let by_url = json!([{"name": "a", "elements": [
        {"name": "forward", "src": "url", "url": "http://127.0.0.1/"}, paste("reverse")]}]);
    server
        .post("/api/tools/fetch", body(by_url))
        .await
        .refused(403, 403_004);
}

#[tokio::test]
async fn bioblends_resumable_upload_can_be_interrupted() {
    let server = Server::start().await;
    let h = server.history().await;
    let send = |key: String,
                method: &'static str,
                path: String,
                headers: Vec<(&'static str, &'static str)>,
                body: &'static str| {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-api-key", key);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        server.send(request.body(Body::from(body)).expect("a request"))
    };
    let ada = || server.ada.clone();
    let begun = send(
        ada(),
        "POST",
        "/api/upload/resumable_upload".into(),
        vec![("upload-length", "11"), ("upload-metadata", "")],
        "",
    )
    .await;
    assert_eq!(begun.status, 201);
    let path = begun.header("location").to_owned();
    let session = path.rsplit('/').next().expect("a part").to_owned();
    let first = send(
        ada(),
        "PATCH",
        path.clone(),
        vec![("upload-offset", "0")],
        "hello ",
    )
    .await;
    assert_eq!(
        (first.status.as_u16(), first.header("upload-offset")),
        (204, "6")
    );
    send(
        ada(),
        "PATCH",
        path.clone(),
        vec![("upload-offset", "0")],
        "hello ",
    )
    .await
    .refused(409, 409_001);
    send(
        server.bob.clone(),
        "PATCH",
        path.clone(),
        vec![("upload-offset", "6")],
        "x",
    )
    .await
    .refused(404, 404_001);
    let told = send(ada(), "HEAD", path.clone(), vec![], "").await;
    assert_eq!(
        (told.header("upload-offset"), told.header("upload-length")),
        ("6", "11")
    );
    let fetch = json!({"history_id": h, "targets": serde_json::from_str::<Value>(&one_file()).expect("JSON"),
        "files_0|file_data": {"session_id": session, "name": "greeting"}, "auto_decompress": false});
    server
        .post("/api/tools/fetch", fetch.clone())
        .await
        .refused(400, 400_008);
    send(
        ada(),
        "PATCH",
        path.clone(),
        vec![("upload-offset", "6")],
        "world and more",
    )
    .await
    .refused(413, 413_001);
    send(
        ada(),
        "PATCH",
        path.clone(),
        vec![("upload-offset", "6")],
        "world",
    )
    .await;
    let hda = server.post("/api/tools/fetch", fetch.clone()).await.ok()["outputs"][0].clone();
    assert_eq!(
        (&hda["name"], &hda["file_size"]),
        (&json!("greeting"), &json!(12))
    );
    server
        .post("/api/tools/fetch", fetch)
        .await
        .refused(404, 404_001);
    let elsewhere = json!({"history_id": h, "targets": serde_json::from_str::<Value>(&one_file()).expect("JSON"),
        "files_0|file_data": {"session_id": "../../db.sqlite", "name": "x"}});
    server
        .post("/api/tools/fetch", elsewhere)
        .await
        .refused(404, 404_001);
}

#[tokio::test]
async fn a_resumable_upload_may_be_empty_given_up_or_too_late() {
    let server = Server::start().await;
    let h = server.history().await;
    let send = |method: &'static str, path: String, headers: Vec<(&'static str, &'static str)>| {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("x-api-key", &server.ada);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        server.send(request.body(Body::from("x")).expect("a request"))
    };
    let all = || "/api/upload/resumable_upload".to_owned();
    let begin = |length: &'static str| send("POST", all(), vec![("upload-length", length)]);
    for (headers, status) in [
        (vec![], 400),
        (vec![("upload-length", "-1")], 400),
        (vec![("upload-length", "many")], 400),
        (vec![("upload-length", "99999999999999")], 413),
        (
            vec![("upload-length", "1"), ("tus-resumable", "0.2.2")],
            412,
        ),
    ] {
        assert_eq!(send("POST", all(), headers).await.status, status);
    }
    // Nothing at all is an upload, too; a byte more than was said is none.
    let path = begin("0").await.header("location").to_owned();
    let more = send("PATCH", path.clone(), vec![("upload-offset", "0")]).await;
    more.refused(413, 413_001);
    let session = path.rsplit('/').next().expect("a part");
    let fetch = json!({"history_id": h, "targets": serde_json::from_str::<Value>(&one_file()).expect("JSON"),
        "files_0|file_data": {"session_id": session, "name": "empty"}, "auto_decompress": false});
    let hda = server.post("/api/tools/fetch", fetch).await.ok()["outputs"][0].clone();
    assert_eq!(
        (&hda["state"], &hda["file_size"]),
        (&json!("ok"), &json!(0))
    );
    // Given up.
    let path = begin("5").await.header("location").to_owned();
    assert_eq!(send("DELETE", path.clone(), vec![]).await.status, 204);
    for method in ["HEAD", "PATCH", "DELETE"] {
        let headers = vec![("upload-offset", "0")];
        assert_eq!(
            send(method, path.clone(), headers).await.status,
            404,
            "{method}"
        );
    }
    // Too late: refused, and removed when the next one begins.
    let path = begin("5").await.header("location").to_owned();
    let session = path.rsplit('/').next().expect("a part");
    let file = server.app.data.tmp().join("tus").join(session);
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(4 * 24 * 3600);
    let opened = std::fs::File::options()
        .write(true)
        .open(&file)
        .expect("the session's file");
    opened.set_modified(long_ago).expect("touched");
    assert_eq!(send("HEAD", path.clone(), vec![]).await.status, 404);
    begin("5").await;
    assert!(!file.exists());
}

#[tokio::test]
async fn the_old_upload_tool_takes_bioblends_paste() {
    let server = Server::start().await;
    let h = server.history().await;
    let user = crate::store::users::by_login(&mut server.app.store.reader(), "ada")
        .await
        .expect("read")
        .expect("Ada")
        .0;
    let caller = Caller {
        user: Some(user),
        is_admin: false,
    };
    let body = json!({"history_id": h, "tool_id": "upload1", "files_0|url_paste": "line 1\nline 2\rline 3\r\nline 4",
        "inputs": {"file_type": "auto", "dbkey": "hg19", "files_0|type": "upload_dataset", "files_0|NAME": "n"}});
    let payload = Payload {
        fields: body.as_object().expect("an object").clone(),
        ..Payload::default()
    };
    let answer = upload::upload1(&server.app, &caller, payload)
        .await
        .expect("uploaded");
    let hda = &answer["outputs"][0];
    assert_eq!(
        (&hda["name"], &hda["genome_build"], &hda["extension"]),
        (&json!("n"), &json!("hg19"), &json!("txt"))
    );
    let bytes = server
        .get(hda["download_url"].as_str().expect("a path"))
        .await;
    assert_eq!(bytes.body, b"line 1\nline 2\nline 3\nline 4\n");
}

crate::store::testing::on_postgres_too!(
    a_resumable_upload_may_be_empty_given_up_or_too_late,
    planemos_form_becomes_a_dataset_and_a_job_that_is_over,
    hostile_forms_are_refused_and_leave_nothing,
    a_collection_can_be_uploaded_whole,
    bioblends_resumable_upload_can_be_interrupted,
    the_old_upload_tool_takes_bioblends_paste,
);
