//! Against a little server of its own, and against hostile folders.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::symlink;

use super::super::rules::{Local, Prefix};
use super::*;

/// Answers every request for a path with what `answer` gives, byte for byte; gives its own address.
fn serve(answer: impl Fn(&str, u16) -> Vec<u8> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            for line in lines.by_ref() {
                if line.unwrap_or_default().is_empty() {
                    break;
                }
            }
            let path = first.split(' ').nth(1).unwrap_or("").to_owned();
            let _ = stream.write_all(&answer(&path, port));
        }
    });
    port
}

fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn redirect(to: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

fn fetcher(prefixes: &[&str], local: &[&str]) -> Fetcher {
    let rules = Rules {
        prefixes: prefixes
            .iter()
            .map(|p| Prefix::parse(p).expect(p))
            .collect(),
        local: local.iter().map(|l| Local::parse(l).expect(l)).collect(),
        ..Rules::default()
    };
    Fetcher::new(rules, None)
}

fn got(fetcher: &Fetcher, url: &str) -> Result<String, Failure> {
    got_within(fetcher, url, 1000, Duration::from_secs(20))
}

fn got_within(fetcher: &Fetcher, url: &str, bytes: u64, time: Duration) -> Result<String, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("fetched");
    let limits = Limits { bytes, time };
    let count = fetcher.fetch(url, &into, limits, &AtomicBool::new(false))?;
    let text = std::fs::read_to_string(into).unwrap();
    assert_eq!(text.len() as u64, count);
    Ok(text)
}

#[test]
fn a_document_is_fetched_and_redirects_are_followed_where_they_are_allowed() {
    let port = serve(|path, _| match path {
        "/data/a?q=1" => ok("hello"),
        "/data/moved" => redirect("a?q=1"),
        "/data/out" => redirect("/secret"),
        "/data/file" => redirect("file:///etc/hostname"),
        "/data/inward" => redirect("http://169.254.169.254/latest"),
        "/data/round" => redirect("/data/round"),
        "/data/nowhere" => redirect(""),
        "/data/busy" => {
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
        }
        "/data/short" => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc".to_vec()
        }
        _ => b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    });
    let base = format!("http://127.0.0.1:{port}/data/");
    let fetcher = fetcher(&[&base], &["127.0.0.1"]);
    let get = |name: &str| got(&fetcher, &format!("{base}{name}"));
    assert_eq!(get("a?q=1").unwrap(), "hello");
    assert_eq!(get("moved").unwrap(), "hello");
    let lasting = |name: &str, says: &str| {
        let failure = get(name).expect_err(name);
        assert!(
            failure.sentence.contains(says) && !failure.may_pass,
            "{failure:?}"
        );
    };
    lasting("out", "fetch_url_prefixes");
    lasting("file", "fetch_url_prefixes");
    lasting("inward", "fetch_url_prefixes");
    lasting("round", "more than 5 redirects");
    lasting("missing?token=hidden", "status 404");
    assert!(
        !get("missing?token=hidden")
            .unwrap_err()
            .sentence
            .contains("hidden")
    );
    assert!(get("busy").unwrap_err().may_pass);
    let short = get("short").unwrap_err();
    assert!(
        short.may_pass && short.sentence.contains("broke off"),
        "{short:?}"
    );
    let small = got_within(
        &fetcher,
        &format!("{base}a?q=1"),
        4,
        Duration::from_secs(20),
    );
    assert!(small.unwrap_err().sentence.contains("larger"));
}

#[test]
fn an_endless_answer_ends_at_the_limit_and_a_slow_one_in_time() {
    let port = serve(|path, _| match path {
        "/endless" => {
            let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            answer.resize(1 << 20, b'x');
            answer
        }
        _ => {
            std::thread::sleep(Duration::from_secs(40));
            ok("late")
        }
    });
    let base = format!("http://127.0.0.1:{port}/");
    let fetcher = fetcher(&[&base], &["127.0.0.0/8"]);
    let endless = got(&fetcher, &format!("{base}endless")).unwrap_err();
    assert!(
        endless.sentence.contains("larger") && !endless.may_pass,
        "{endless:?}"
    );
    let begun = Instant::now();
    let slow = got_within(
        &fetcher,
        &format!("{base}slow"),
        10,
        Duration::from_millis(500),
    );
    assert!(slow.unwrap_err().may_pass && begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_name_that_leads_inward_is_not_connected_to() {
    let port = serve(|_, _| ok("secret"));
    // The name passes the first look, which asks nobody; its address does not.
    let url = format!("http://localhost:{port}/");
    let open = fetcher(&["http://"], &[]);
    assert!(open.check(&url).is_ok());
    let failure = got(&open, &url).unwrap_err();
    assert!(
        failure.sentence.contains("fetch_url_allowlist") && !failure.may_pass,
        "{failure:?}"
    );
    assert_eq!(
        got(&fetcher(&["http://"], &["localhost"]), &url).unwrap(),
        "secret"
    );
    // A redirect from an allowed name to one that leads inward.
    let from = serve(move |_, _| redirect(&format!("http://localhost:{port}/")));
    let half = fetcher(&["http://"], &["127.0.0.1"]);
    assert_eq!(
        got(&half, &format!("http://127.0.0.1:{from}/")).unwrap(),
        "secret"
    );
    let only = Local::parse("first.invalid").unwrap();
    assert!(
        got(
            &Fetcher::new(
                Rules {
                    prefixes: vec![Prefix::parse("http://").unwrap()],
                    local: vec![only],
                    ..Rules::default()
                },
                None
            ),
            &format!("http://127.0.0.1:{from}/")
        )
        .is_err()
    );
}

#[test]
fn files_are_read_where_they_really_are() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (open, secret) = (root.join("open"), root.join("secret"));
    for path in [&open, &secret] {
        std::fs::create_dir(path).unwrap();
        std::fs::write(
            path.join("a b.txt"),
            path.file_name().unwrap().as_encoded_bytes(),
        )
        .unwrap();
    }
    symlink("a b.txt", open.join("inside")).unwrap();
    symlink(secret.join("a b.txt"), open.join("outside")).unwrap();
    symlink(&secret, open.join("folder")).unwrap();
    symlink("/dev/zero", open.join("zero")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(open.join("pipe"))
        .status();
    assert!(made.unwrap().success());
    let fetcher = fetcher(&[&format!("file://{}/", open.display())], &[]);
    let get = |name: &str| got(&fetcher, &format!("file://{}/{name}", open.display()));
    assert_eq!(get("a%20b.txt").unwrap(), "open");
    assert_eq!(get("inside").unwrap(), "open");
    for name in [
        "outside",
        "folder/a%20b.txt",
        "zero",
        "pipe",
        "",
        "../secret/a%20b.txt",
        "missing",
        "a%00b",
    ] {
        let failure = get(name).expect_err(name);
        assert!(!failure.may_pass, "{name}: {failure}");
    }
    let own = Fetcher::new(fetcher.rules().clone(), Some(open.clone()));
    assert!(got(&own, &format!("file://{}/inside", open.display())).is_err());
}

#[test]
fn whoever_stops_it_stops_it() {
    let port = serve(|_, _| ok("x"));
    let base = format!("http://127.0.0.1:{port}/");
    let folder = tempfile::tempdir().unwrap();
    let fetcher = fetcher(&[&base], &["127.0.0.1"]);
    let stopped = fetcher.fetch(
        &base,
        &folder.path().join("x"),
        fetcher.limits(),
        &AtomicBool::new(true),
    );
    assert!(stopped.unwrap_err().sentence.contains("stopped"));
}
