//! Files that clients send: whatever they are called, broken off, large.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use barycenter_tests::TestServer;
use barycenter_tests::client::text;
use serde_json::json;

/// A multipart form: the fields, then one file.
fn form(fields: &[(&str, &str)], file: (&str, &str, &[u8])) -> (String, Vec<u8>) {
    let boundary = "----a-boundary";
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
            .bytes(),
        );
    }
    let (name, filename, content) = file;
    body.extend(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: application/octet-stream\r\n\r\n").bytes());
    body.extend(content);
    body.extend(format!("\r\n--{boundary}--\r\n").bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

#[test]
fn files_are_uploaded_whatever_they_are_called() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("uploads");
    let targets = json!([{"destination": {"type": "hdas"}, "elements": [{"src": "files", "ext": "data", "dbkey": "?"}]}]).to_string();
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for filename in [
        "plain.bin",
        "../../../etc/passwd",
        "/etc/passwd",
        "a b;c&d$(id).txt",
        "ünï.txt",
        "..",
        "",
        "x\\y",
        &"long".repeat(300),
    ] {
        let (kind, body) = form(
            &[("history_id", &history), ("targets", &targets)],
            ("files_0|file_data", filename, &content),
        );
        let answer = ada.send(
            "POST",
            "/api/tools/fetch",
            &[("content-type", &kind)],
            &body,
        );
        if answer.status != 200 {
            assert!((400..500).contains(&answer.status), "{filename}: {answer}");
            continue;
        }
        let id = text(&answer.json()["outputs"][0], "id");
        ada.wait_for_dataset(&id);
        let answer = ada.get(&format!("/api/datasets/{id}/display?to_ext=data"));
        assert_eq!(answer.bytes, content, "{filename}");
        let disposition = answer.header("content-disposition").unwrap_or_default();
        assert!(
            !disposition.contains("../") && !disposition.contains('\n'),
            "{disposition}"
        );
    }
    assert_eq!(ada.get("/healthz").status, 200);
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("broken");
    let targets =
        json!([{"destination": {"type": "hdas"}, "elements": [{"src": "files"}]}]).to_string();
    let (kind, body) = form(
        &[("history_id", &history), ("targets", &targets)],
        ("files_0|file_data", "x", &[b'x'; 50_000]),
    );
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("connects");
    let key = ada.key.clone().expect("a key");
    write!(stream, "POST /api/tools/fetch HTTP/1.1\r\nHost: {address}\r\nx-api-key: {key}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len()).expect("sent");
    stream.write_all(&body[..body.len() / 2]).expect("sent");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("half closed");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Complete by its length, cut in the form.
    let answer = ada.send(
        "POST",
        "/api/tools/fetch",
        &[("content-type", &kind)],
        &body[..body.len() / 2],
    );
    assert_eq!(answer.status, 400, "{answer}");
    let answer = ada.send(
        "POST",
        "/api/tools/fetch",
        &[("content-type", "multipart/form-data")],
        &body,
    );
    assert_eq!(answer.status, 400, "{answer}");
    assert_eq!(
        ada.get(&format!("/api/histories/{history}/contents")).ok(),
        json!([])
    );
    let tmp = std::fs::read_dir(server.data_dir().join("tmp")).expect("a folder");
    assert_eq!(tmp.count(), 0, "temporary files are left");
}

/// The most memory that a process has had resident so far, in bytes.
fn peak_memory(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running server");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    kilobytes.expect("a number of kilobytes") * 1024
}

#[test]
fn a_large_upload_is_never_in_memory() {
    const SIZE: usize = 120 << 20;
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("large");
    let targets = json!([{"destination": {"type": "hdas"}, "elements": [{"src": "files", "ext": "txt", "dbkey": "?"}]}]).to_string();
    let mut content = vec![b'x'; SIZE];
    content
        .chunks_mut(64)
        .for_each(|line| line[line.len() - 1] = b'\n');
    let fields = [
        ("history_id", history.as_str()),
        ("targets", targets.as_str()),
    ];
    let (kind, body) = form(&fields, ("files_0|file_data", "large.txt", &content));
    let before = peak_memory(server.pid());
    let answer = ada
        .send(
            "POST",
            "/api/tools/fetch",
            &[("content-type", &kind)],
            &body,
        )
        .ok();
    assert_eq!(answer["outputs"][0]["file_size"], SIZE);
    let grown = peak_memory(server.pid()).saturating_sub(before);
    assert!(grown < 40 << 20, "{grown} bytes more were resident");
}
