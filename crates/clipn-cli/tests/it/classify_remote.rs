//! `clipn classify` over the network: a local server replaces the web, S3 and Google Cloud Storage.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::hub::{Reply, Request, Server};
use crate::common::shards::{samples, tar};
use crate::common::{Sandbox, text, with_model};
use serde_json::Value;

/// Modification date of everything on the server.
const DATE: &str = "Tue, 01 Jul 2025 10:00:00 GMT";

/// Runs the command on these sources, with the cloud endpoints on `server`.
fn run(s: &Sandbox, server: &Server, more: &[&str]) -> Output {
    run_to(0, s, server, more)
}

/// Same as [`run`], with another exit code.
fn run_to(code: i32, s: &Sandbox, server: &Server, more: &[&str]) -> Output {
    let arguments = with_model(
        "classify",
        &[&["--classes", "classes.txt", "--format", "json"], more].concat(),
    );
    let output = s
        .command("http://127.0.0.1:1", &arguments)
        .env("AWS_ENDPOINT_URL", server.url())
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "us-east-1")
        .env("GOOGLE_BASE_URL", server.url())
        .env("GOOGLE_SKIP_SIGNATURE", "true")
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{more:?}: {}",
        text(&output.stderr)
    );
    output
}

/// The rows of these sources.
fn rows(s: &Sandbox, server: &Server, more: &[&str]) -> Vec<Value> {
    parsed(&run(s, server, more))
}

fn parsed(output: &Output) -> Vec<Value> {
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["path"].as_str().unwrap())
        .collect()
}

fn error(row: &Value) -> &str {
    row["error"].as_str().unwrap_or_default()
}

/// Replies with the bytes, or with the requested range.
fn object(request: &Request, bytes: &[u8]) -> Reply {
    let whole = |status| {
        Reply::new(status)
            .header("ETag", "\"tag\"")
            .header("Last-Modified", DATE)
    };
    let Some(range) = request.header("range") else {
        return whole(200).body(bytes);
    };
    let (start, end) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let start: usize = start.parse().unwrap();
    let end = end
        .parse()
        .map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
    let content_range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    whole(206)
        .header("Content-Range", &content_range)
        .body(&bytes[start..end])
}

/// An S3 server with a bucket `images` that lists two objects per page.
fn bucket(objects: BTreeMap<String, Vec<u8>>) -> Server {
    Server::start(move |request| {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        if query.contains("list-type=2") {
            return list(&objects, query);
        }
        match path
            .strip_prefix("/images/")
            .and_then(|key| objects.get(key))
        {
            Some(bytes) => object(request, bytes),
            None => Reply::new(404).body(b"<Error><Code>NoSuchKey</Code></Error>"),
        }
    })
}

fn list(objects: &BTreeMap<String, Vec<u8>>, query: &str) -> Reply {
    let of_query = |name: &str| {
        let value = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        value.unwrap_or_default().replace("%2F", "/")
    };
    let (prefix, after) = (of_query("prefix"), of_query("continuation-token"));
    let mut found = objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let page: Vec<_> = found.by_ref().take(2).collect();
    let more = found.next().is_some();
    let mut xml = "<ListBucketResult>".to_owned();
    for (key, bytes) in &page {
        xml += &format!(
            "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2025-07-01T10:00:00.000Z</LastModified></Contents>",
            bytes.len()
        );
    }
    if more {
        xml += &format!(
            "<NextContinuationToken>{}</NextContinuationToken>",
            page[page.len() - 1].0
        );
    }
    xml += &format!("<IsTruncated>{more}</IsTruncated></ListBucketResult>");
    Reply::new(200).body(xml.as_bytes())
}

#[test]
fn reads_images_and_archives_at_urls() {
    let s = Sandbox::new();
    let image = std::fs::read(s.path("noise/0.bmp")).unwrap();
    let archive = tar(&samples(0..4));
    let server = Server::start(move |request| match request.target.as_str() {
        "/a%20b.bmp" | "/signed.bmp?sig=s%2Fecret" => object(request, &image),
        "/s.tar" => object(request, &archive),
        "/large.bmp" => object(request, &vec![0; (64 << 20) + 1]),
        "/forbidden.bmp?sig=s%2Fecret" => Reply::new(403),
        "/odd.bmp?sig=s%2Fecret" => Reply::new(418),
        _ => Reply::new(404),
    });
    let url = |path: &str| format!("{}/{path}", server.url());
    let list = [
        "a b.bmp",
        "signed.bmp?sig=s%2Fecret",
        "gone.bmp",
        "forbidden.bmp?sig=s%2Fecret",
        "odd.bmp?sig=s%2Fecret",
        "large.bmp",
    ];
    s.write("list.txt", list.map(url).join("\n"));
    let found = rows(&s, &server, &["noise/0.bmp", "--list", "list.txt"]);
    assert_eq!(found[1]["score"], found[0]["score"]);
    assert_eq!(found[2]["score"], found[0]["score"]);
    assert_eq!(
        names(&found)[2],
        url("signed.bmp"),
        "a signature must not be printed"
    );
    assert!(
        error(&found[3]).contains("no such object"),
        "{}",
        error(&found[3])
    );
    assert!(
        error(&found[4]).contains("credentials"),
        "{}",
        error(&found[4])
    );
    assert!(error(&found[5]).contains("418"), "{}", error(&found[5]));
    assert!(
        found.iter().all(|row| !row.to_string().contains("ecret")),
        "{found:?}"
    );
    assert!(
        error(&found[6]).contains("exceeds the size limit"),
        "{}",
        error(&found[6])
    );

    s.write("ftp.txt", "ftp://host/x.jpg");
    // An archive that cannot be read holds an unknown number of images.
    let output = run_to(1, &s, &server, &[&url("{s,t}.tar"), "--list", "ftp.txt"]);
    let found = parsed(&output);
    assert_eq!(
        names(&found)[..2],
        [url("s.tar/000000.png"), url("s.tar/000001.png")]
    );
    assert_eq!(found.len(), 6);
    assert!(
        error(&found[4]).contains("no such object")
            && error(&found[5]).contains("unsupported URL scheme"),
        "{found:?}"
    );
}

#[test]
fn retries_failed_requests_and_resumes_broken_transfers() {
    let s = Sandbox::new();
    let image = std::fs::read(s.path("noise/0.bmp")).unwrap();
    let archive = tar(&samples(0..40));
    let requests = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.target.as_str() {
        "/busy.bmp" if requests.fetch_add(1, Ordering::SeqCst) < 2 => Reply::new(503),
        "/busy.bmp" => object(request, &image),
        _ if request.header("range").is_some() => object(request, &archive),
        _ => object(request, &archive).cut(archive.len() / 2),
    });
    let found = rows(
        &s,
        &server,
        &[
            &format!("{}/busy.bmp", server.url()),
            &format!("{}/cut.tar", server.url()),
        ],
    );
    assert_eq!(found.len(), 41);
    assert!(found.iter().all(|row| row["error"].is_null()), "{found:?}");
    let ranges = server
        .seen()
        .iter()
        .filter(|request| request.header("range").is_some())
        .count();
    assert_eq!(ranges, 1);
}

#[test]
fn the_content_decides_about_objects_without_an_extension_and_others_are_counted() {
    let s = Sandbox::new();
    let image = std::fs::read(s.path("noise/0.bmp")).unwrap();
    let objects = [
        ("mix/.hidden/0.bmp", image.clone()),
        ("mix/0a1b", image.clone()),
        (
            "mix/LICENSE",
            b"These are the terms of the license.".to_vec(),
        ),
        ("mix/a.jfif", image),
        ("mix/b.heic", b"\0\0\0\x20ftypheic".to_vec()),
        ("mix/notes.txt", b"x".to_vec()),
        ("mix/short", b"x".to_vec()),
        ("mix/sub/", Vec::new()),
        ("mix/sub/Thumbs.db", b"x".to_vec()),
        ("mix/sub/c.PPM", b"P6 1".to_vec()),
    ];
    let server = bucket(objects.map(|(key, bytes)| (key.to_owned(), bytes)).into());
    let output = run(&s, &server, &["s3://images/mix/"]);
    let found: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = ["0a1b", "a.jfif", "b.heic", "sub/c.PPM"];
    assert_eq!(
        names(&found),
        expected.map(|name| format!("s3://images/mix/{name}"))
    );
    assert_eq!(found[0]["error"], Value::Null);
    assert_eq!(found[1]["error"], Value::Null);
    assert!(error(&found[2]).contains("got a HEIC image"), "{found:?}");
    assert!(
        error(&found[3]).contains("truncated PNM image"),
        "{found:?}"
    );
    let note = "note: skipped 3 files that are no images: no extension 2, .txt 1\n";
    assert!(
        text(&output.stderr).contains(note),
        "{}",
        text(&output.stderr)
    );
    // Of a whole text, no more than its start is requested.
    let ranges = server.seen();
    let ranges = ranges
        .iter()
        .filter(|request| request.target.contains("LICENSE"));
    let ranges: Vec<_> = ranges.map(|request| request.header("range")).collect();
    assert_eq!(ranges, [Some("bytes=0-31")]);
}

#[test]
fn lists_a_bucket_and_opens_its_archives() {
    let s = Sandbox::new();
    let image = |n: u32| std::fs::read(s.path(&format!("noise/{n}.bmp"))).unwrap();
    let objects = [
        ("day/0.bmp", image(0)),
        ("day/1.bmp", image(1)),
        ("day/deep/2.bmp", image(2)),
        ("day/notes.txt", b"x".to_vec()),
        ("day/s.tar", tar(&samples(0..2))),
        ("night/3.bmp", image(3)),
    ];
    let server = bucket(objects.map(|(key, bytes)| (key.to_owned(), bytes)).into());
    let found = rows(&s, &server, &["s3://images/day/"]);
    let day = [
        "day/0.bmp",
        "day/1.bmp",
        "day/deep/2.bmp",
        "day/s.tar/000000.png",
        "day/s.tar/000001.png",
    ];
    assert_eq!(names(&found), day.map(|key| format!("s3://images/{key}")));
    assert!(found.iter().all(|row| row["error"].is_null()), "{found:?}");
    let local = rows(&s, &server, &["noise/2.bmp"]);
    assert_eq!(
        format!("{:.5}", found[2]["score"].as_f64().unwrap()),
        format!("{:.5}", local[0]["score"].as_f64().unwrap())
    );
    let signed = server.seen();
    assert!(
        signed
            .iter()
            .all(|request| request.header("authorization").is_some())
    );

    assert_eq!(rows(&s, &server, &["s3://images"]).len(), 6);
    let single = rows(
        &s,
        &server,
        &["s3://images/night/3.bmp", "s3://images/{gone,night/3}.bmp"],
    );
    assert!(single[0]["error"].is_null() && single[2]["error"].is_null());
    assert!(
        error(&single[1]).contains("no such object"),
        "{}",
        error(&single[1])
    );
    assert!(
        error(&parsed(&run_to(1, &s, &server, &["s3://images/dusk/"]))[0])
            .contains("no image or archive")
    );

    let arguments = ["s3://images/day/", "--output", "rows.jsonl", "--resume"];
    let write = |kept: usize| {
        let arguments = with_model(
            "classify",
            &[&["--classes", "classes.txt"], &arguments[..]].concat(),
        );
        let mut command = s.command("http://127.0.0.1:1", &arguments);
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ] {
            command.env(name, value);
        }
        let output = command
            .env("AWS_ENDPOINT_URL", server.url())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let rows = std::fs::read_to_string(s.path("rows.jsonl")).unwrap();
        let first: String = rows
            .lines()
            .take(kept)
            .map(|line| format!("{line}\n"))
            .collect();
        s.write("rows.jsonl", first);
        rows.lines().count()
    };
    assert_eq!((write(3), write(1), write(5)), (5, 5, 5));
}

#[test]
fn reads_google_cloud_storage() {
    let s = Sandbox::new();
    let image = std::fs::read(s.path("noise/0.bmp")).unwrap();
    let server = Server::start(move |request| {
        match request
            .target
            .replace("%2F", "/")
            .replace("%2E", ".")
            .as_str()
        {
            "/images/day/0.bmp" => object(request, &image),
            _ => Reply::new(404),
        }
    });
    let found = rows(
        &s,
        &server,
        &["gs://images/day/0.bmp", "gs://images/day/1.bmp"],
    );
    assert!(found[0]["error"].is_null(), "{found:?} {:?}", server.seen());
    assert!(
        error(&found[1]).contains("no such object"),
        "{}",
        error(&found[1])
    );
}

#[test]
fn rejects_urls_that_cannot_be_listed() {
    let s = Sandbox::new();
    let arguments = with_model(
        "classify",
        &["--classes", "classes.txt", "https://host.example/day/"],
    );
    let output = s.clipn(&arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("is not a file"),
        "{}",
        text(&output.stderr)
    );
}
