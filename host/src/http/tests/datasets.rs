use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::{Answer, Server};

async fn ranged(server: &Server, path: &str, range: &str) -> Answer {
    let request = Request::get(path)
        .header("x-api-key", &server.ada)
        .header("range", range);
    server
        .send(request.body(Body::empty()).expect("a request"))
        .await
}

#[tokio::test]
async fn bytes_come_whole_in_part_and_as_a_download() {
    let server = Server::start().await;
    let h = server.history().await;
    let hda = server.paste(&h, "a/b\"c\r\nX: y", "0123456789").await;
    let path = hda["download_url"].as_str().expect("a path").to_owned();
    assert!(path.starts_with('/'));
    let whole = server.get(&format!("{path}?to_ext=txt")).await;
    assert_eq!(
        (whole.status.as_u16(), whole.body.as_slice()),
        (200, b"0123456789\n".as_slice())
    );
    assert_eq!(whole.header("content-length"), "11");
    assert_eq!(
        whole.header("content-disposition"),
        "attachment; filename=\"Galaxy1-[a_b_c__X__y].txt\""
    );
    let part = ranged(&server, &path, "bytes=2-4").await;
    assert_eq!(
        (part.status.as_u16(), part.body.as_slice()),
        (206, b"234".as_slice())
    );
    assert_eq!(part.header("content-range"), "bytes 2-4/11");
    let outside = ranged(&server, &path, "bytes=99-").await;
    outside.refused(416, 416_001);
    assert_eq!(outside.header("content-range"), "bytes */11");
    let head = server.call(&server.ada, "HEAD", &path, None).await;
    assert_eq!((head.header("content-length"), head.body.len()), ("11", 0));
    let etag = whole.header("etag").to_owned();
    let request = Request::get(&path)
        .header("x-api-key", &server.ada)
        .header("if-none-match", etag);
    let unchanged = server
        .send(request.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
}

#[tokio::test]
async fn html_is_shown_as_text() {
    let server = Server::start().await;
    let h = server.history().await;
    let hda = server
        .paste(
            &h,
            "page",
            "<html><body><script>alert(1)</script></body></html>",
        )
        .await;
    let shown = server
        .get(hda["download_url"].as_str().expect("a path"))
        .await;
    assert!(
        shown.header("content-type").starts_with("text/plain"),
        "{:?}",
        shown.headers
    );
    assert_eq!(shown.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn a_dataset_has_the_keys_that_clients_read() {
    let server = Server::start().await;
    let h = server.history().await;
    let hda = server.paste(&h, "d", "1\t2\t3").await;
    let shown = server
        .get(&format!(
            "/api/datasets/{}?hda_ldda=hda",
            hda["id"].as_str().expect("an id")
        ))
        .await
        .ok();
    for key in [
        "id",
        "data_type",
        "file_ext",
        "file_name",
        "file_size",
        "genome_build",
        "misc_info",
        "misc_blurb",
        "name",
        "state",
        "annotation",
        "deleted",
        "purged",
        "tags",
        "visible",
        "uuid",
        "creating_job",
        "metadata_dbkey",
        "history_content_type",
        "download_url",
        "url",
        "dataset_id",
        "resubmitted",
        "extension",
        "type",
        "type_id",
        "peek",
    ] {
        assert!(shown.get(key).is_some(), "{key}");
    }
    assert_eq!(
        (&shown["state"], &shown["extension"], &shown["file_size"]),
        (&json!("ok"), &json!("bed"), &json!(6))
    );
    let path = format!(
        "/api/histories/{h}/contents/{}",
        shown["id"].as_str().expect("an id")
    );
    assert_eq!(
        server.get(&format!("{path}?keys=name,hid")).await.ok(),
        json!({"name": "d", "hid": 1})
    );
    assert_eq!(
        server.get(&format!("{path}/extra_files")).await.ok(),
        json!([])
    );
    let provenance = server.get(&format!("{path}/provenance")).await.ok();
    assert_eq!(provenance["tool_id"], "__DATA_FETCH__");
    assert_eq!(provenance["job_id"], shown["creating_job"]);
    let text = server
        .get(&format!(
            "/api/datasets/{}/get_content_as_text",
            shown["id"].as_str().expect("an id")
        ))
        .await
        .ok();
    assert_eq!(text["item_data"], "1\t2\t3\n");
}

#[tokio::test]
async fn a_dataset_is_changed_deleted_and_purged() {
    let server = Server::start().await;
    let h = server.history().await;
    let hda = server.paste(&h, "d", "1\t2\t3").await;
    let path = format!(
        "/api/histories/{h}/contents/datasets/{}",
        hda["id"].as_str().expect("an id")
    );
    let change =
        json!({"name": "e", "datatype": "tabular", "genome_build": "hg19", "visible": false});
    let changed = server
        .call(&server.ada, "PUT", &path, Some(change))
        .await
        .ok();
    assert_eq!(
        (&changed["name"], &changed["extension"]),
        (&json!("e"), &json!("tabular"))
    );
    assert_eq!(
        (&changed["genome_build"], &changed["visible"]),
        (&json!("hg19"), &json!(false))
    );
    server
        .call(&server.ada, "PUT", &path, Some(json!({"datatype": "../x"})))
        .await
        .refused(400, 400_008);
    let deleted = server
        .call(&server.ada, "DELETE", &path, Some(json!({})))
        .await
        .ok();
    assert_eq!(
        (&deleted["deleted"], &deleted["purged"]),
        (&json!(true), &json!(false))
    );
    let purged = server
        .call(&server.ada, "DELETE", &path, Some(json!({"purge": true})))
        .await
        .ok();
    assert_eq!(purged["purged"], true);
    server
        .get(hda["download_url"].as_str().expect("a path"))
        .await
        .refused(404, 404_001);
}

#[tokio::test]
async fn somebody_elses_dataset_stays_closed() {
    let server = Server::start().await;
    let h = server.history().await;
    let hda = server.paste(&h, "d", "secret").await;
    let id = hda["id"].as_str().expect("an id");
    for (method, path) in [
        ("GET", format!("/api/datasets/{id}")),
        ("GET", format!("/api/datasets/{id}/display")),
        ("GET", format!("/api/datasets/{id}/get_content_as_text")),
        (
            "GET",
            format!("/api/histories/{h}/contents/{id}/provenance"),
        ),
        ("DELETE", format!("/api/datasets/{id}")),
        ("PUT", format!("/api/histories/{h}/contents/{id}")),
    ] {
        server
            .call(&server.bob, method, &path, Some(json!({})))
            .await
            .refused(403, 403_002);
    }
    let theirs = server
        .call(&server.bob, "POST", "/api/histories", Some(json!({})))
        .await
        .ok();
    let theirs = theirs["id"].as_str().expect("an id");
    // Neither through a history of one's own, nor by copying, nor inside a collection.
    let path = format!("/api/histories/{theirs}/contents");
    server
        .call(&server.bob, "GET", &format!("{path}/{id}"), None)
        .await
        .refused(403, 403_002);
    let copy = json!({"content": id, "source": "hda", "type": "dataset"});
    server
        .call(&server.bob, "POST", &path, Some(copy))
        .await
        .refused(403, 403_002);
    let list = json!({"type": "dataset_collection", "collection_type": "list", "element_identifiers": [{"name": "a", "src": "hda", "id": id}]});
    server
        .call(&server.bob, "POST", &path, Some(list))
        .await
        .refused(403, 403_002);
    assert_eq!(
        server
            .call(&server.bob, "GET", "/api/datasets", None)
            .await
            .ok(),
        json!([])
    );
}

#[tokio::test]
async fn datasets_of_all_histories_are_listed_newest_first() {
    let server = Server::start().await;
    let (one, two) = (server.history().await, server.history().await);
    let first = server.paste(&one, "a", "x").await;
    let second = server.paste(&two, "b", "y").await;
    let all = server
        .get("/api/datasets?limit=500&offset=0&order=create_time-dsc")
        .await
        .ok();
    assert_eq!(
        (&all[0]["id"], &all[1]["id"]),
        (&second["id"], &first["id"])
    );
    let time = first["create_time"].as_str().expect("a time");
    let path = format!(
        "/api/datasets?history_id={one}&q=create_time-ge&qv={time}&q=create_time-le&qv={time}"
    );
    assert_eq!(
        server.get(&path).await.ok().as_array().map(Vec::len),
        Some(1)
    );
}

crate::store::testing::on_postgres_too!(
    bytes_come_whole_in_part_and_as_a_download,
    html_is_shown_as_text,
    a_dataset_has_the_keys_that_clients_read,
    a_dataset_is_changed_deleted_and_purged,
    somebody_elses_dataset_stays_closed,
    datasets_of_all_histories_are_listed_newest_first,
);
