//! Nothing that is sent makes the server take more memory or time than it was given.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use clipn_serve::ServeSettings;
use common::*;
use serde_json::json;

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let server = start(
        ServeSettings {
            max_request_bytes: 10_000,
            ..settings()
        },
        detector(),
    );
    let head = "POST /v1/classify HTTP/1.1\r\nhost: here\r\ncontent-type: image/bmp\r\nconnection: close\r\n";
    let told = server.raw(format!("{head}content-length: 1000000000000\r\n\r\n").as_bytes());
    assert_eq!(told.error(413), "request_too_large");
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..100 {
        chunked.extend(b"400\r\n");
        chunked.extend([b'x'; 0x400]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(server.raw(&chunked).error(413), "request_too_large");
    // The answer arrives although most of the request was never read.
    assert_eq!(
        server.classify(&vec![b'x'; 5_000_000]).error(413),
        "request_too_large"
    );
    assert_eq!(server.classify(&picture(1)).results().len(), 1);
}

#[test]
fn pixels_are_counted_before_they_are_decoded() {
    let server = start(settings(), detector());
    assert_eq!(
        server.classify(&png(60_000, 60_000, &[0; 1000])).error(413),
        "image_too_large"
    );
    assert_eq!(
        server.classify(&png(u32::MAX, u32::MAX, &[0; 1000])).status / 100,
        4
    );
    assert_eq!(server.classify(&png(0, 10, &[0; 1000])).status / 100, 4);
    // A hundred times more data than the size allows: what is too much is not kept.
    let bomb = png(64, 64, &vec![0; 50_000_000]);
    assert!(bomb.len() < 1_000_000);
    assert!(matches!(server.classify(&bomb).status, 200 | 422));
    let memory = server.metric("process_resident_memory_bytes");
    assert!(memory < 1e9, "{memory} bytes are in use");
}

#[test]
fn strange_shapes_are_pictures_too() {
    let server = start(settings(), detector());
    let line = |width: u32| [&[0][..], &vec![77; width as usize * 3]].concat();
    assert_eq!(
        server
            .classify(&png(40_000, 1, &line(40_000)))
            .results()
            .len(),
        1
    );
    assert_eq!(
        server
            .classify(&png(1, 40_000, &line(1).repeat(40_000)))
            .results()
            .len(),
        1
    );
    assert_eq!(server.classify(&png(1, 1, &line(1))).results().len(), 1);
}

#[test]
fn pictures_of_a_request_are_counted() {
    let server = start(
        ServeSettings {
            max_images: 3,
            ..settings()
        },
        detector(),
    );
    let one = picture(1);
    let (content_type, body) = form(&[("file", None, &one[..]); 4]);
    assert_eq!(
        server.post("/v1/classify", &content_type, &body).error(413),
        "too_many_images"
    );
    let images = vec![json!({ "base64": "" }); 4];
    assert_eq!(
        server
            .classify_json(&json!({ "images": images }))
            .error(413),
        "too_many_images"
    );
    let (content_type, body) = form(&[("file", None, &one[..]); 3]);
    assert_eq!(
        server
            .post("/v1/classify", &content_type, &body)
            .results()
            .len(),
        3
    );
}

#[test]
fn who_sends_too_slowly_is_cut_off() {
    let server = start(
        ServeSettings {
            read_timeout: Duration::from_millis(300),
            ..settings()
        },
        detector(),
    );
    let begun = Instant::now();
    let mut silent = server.connect();
    let mut done = server.connect();
    done.write_all(b"GET /health HTTP/1.1\r\nhost: here\r\n\r\n")
        .unwrap();
    let mut head_only = server.connect();
    head_only
        .write_all(b"POST /v1/classify HTTP/1.1\r\nhost: he")
        .unwrap();
    let mut body_missing = server.connect();
    let head = "POST /v1/classify HTTP/1.1\r\nhost: here\r\ncontent-length: 100\r\ncontent-type: image/bmp\r\n\r\nBM";
    body_missing.write_all(head.as_bytes()).unwrap();
    assert_eq!(
        Answer::read(&mut body_missing).error(408),
        "request_timeout"
    );
    for stream in [&mut head_only, &mut silent, &mut done] {
        let _ = std::io::Read::read_to_end(stream, &mut Vec::new());
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(server.classify(&picture(1)).results().len(), 1);
}

#[test]
fn a_body_that_breaks_off_harms_nobody() {
    let server = start(settings(), detector());
    for _ in 0..5 {
        let mut stream = server.connect();
        stream
            .write_all(
                b"POST /v1/classify HTTP/1.1\r\nhost: here\r\ncontent-length: 100000\r\n\r\nBM",
            )
            .unwrap();
        drop(stream);
    }
    assert_eq!(server.classify(&picture(1)).results().len(), 1);
    wait_for("the broken requests to be gone", || {
        server.metric("clipn_http_requests_in_flight") == 1.0
    });
}

#[test]
fn heads_have_limits() {
    let server = start(settings(), detector());
    let many: String = (0..200).map(|i| format!("x-{i}: 1\r\n")).collect();
    let answer = server.raw(format!("GET /health HTTP/1.1\r\nhost: here\r\n{many}\r\n").as_bytes());
    assert_eq!(answer.status, 431);
    let long = "x".repeat(200_000);
    let answer = server.raw(format!("GET /{long} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes());
    assert!(matches!(answer.status, 414 | 431), "{}", answer.head);
    assert_eq!(server.raw(b"this is not HTTP\r\n\r\n").status, 400);
}

#[test]
fn connections_are_counted() {
    let server = start(
        ServeSettings {
            max_connections: 4,
            ..settings()
        },
        detector(),
    );
    let held: Vec<_> = (0..4).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let refused = server.get("/health");
    assert_eq!(refused.error(503), "too_many_connections");
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(held);
    wait_for("a free place", || server.get("/health").status == 200);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    use std::net::TcpListener;
    let wrong = [
        ServeSettings {
            workers: 0,
            ..settings()
        },
        ServeSettings {
            max_batch: 0,
            ..settings()
        },
        ServeSettings {
            queue: 0,
            ..settings()
        },
        ServeSettings {
            queue: 3,
            max_images: 4,
            ..settings()
        },
        ServeSettings {
            deadline: Duration::ZERO,
            ..settings()
        },
        ServeSettings {
            max_pixels: 0,
            ..settings()
        },
    ];
    for settings in wrong {
        assert!(clipn_serve::Server::bind(settings, detector(), "mini", None).is_err());
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let told = clipn_serve::Server::bind(
        ServeSettings { port, ..settings() },
        detector(),
        "mini",
        None,
    );
    let told = told.err().unwrap().to_string();
    assert!(told.contains(&port.to_string()), "{told}");
}
