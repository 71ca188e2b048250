//! Requests cannot exceed the server's memory and time limits.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::common::*;
use clipn_serve::ServeSettings;
use serde_json::json;

#[test]
fn rejects_oversized_bodies_before_reading_them() {
    let server = start(
        ServeSettings {
            max_request_bytes: 10_000,
            ..settings()
        },
        detector(),
    );
    let head = "POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/bmp\r\nconnection: close\r\n";
    let response = server.raw(format!("{head}content-length: 1000000000000\r\n\r\n").as_bytes());
    assert_eq!(response.error(413), "request_too_large");
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..100 {
        chunked.extend(b"400\r\n");
        chunked.extend([b'x'; 0x400]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(server.raw(&chunked).error(413), "request_too_large");
    // The response arrives although most of the request is never read.
    assert_eq!(
        server.classify(&vec![b'x'; 5_000_000]).error(413),
        "request_too_large"
    );
    assert_eq!(server.classify(&image(1)).results().len(), 1);
}

#[test]
fn a_connection_whose_request_was_not_read_is_announced_as_closed() {
    let server = start(
        ServeSettings {
            max_request_bytes: 10_000,
            ..settings()
        },
        detector(),
    );
    let mut stream = server.connect();
    let head = "POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/bmp\r\n";
    // A client that keeps its connection reuses it, unless it learns that the server closes it.
    let small = image(1);
    let length = small.len();
    stream
        .write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes())
        .unwrap();
    stream.write_all(&small).unwrap();
    let response = HttpResponse::read_one(&mut stream);
    assert_eq!(
        (response.status, response.header("connection")),
        (200, None)
    );
    stream
        .write_all(format!("{head}content-length: 20000\r\n\r\nxxxx").as_bytes())
        .unwrap();
    let response = HttpResponse::read(&mut stream);
    assert_eq!(response.error(413), "request_too_large");
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn checks_pixel_count_before_decoding() {
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
    // Far more data than the image size requires: the excess is not stored.
    let bomb = png(64, 64, &vec![0; 50_000_000]);
    assert!(bomb.len() < 1_000_000);
    assert!(matches!(server.classify(&bomb).status, 200 | 422));
    let memory = server.metric("process_resident_memory_bytes");
    assert!(memory < 1e9, "{memory} bytes resident");
}

#[test]
fn accepts_extreme_aspect_ratios() {
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
fn limits_images_per_request() {
    let server = start(
        ServeSettings {
            max_images: 3,
            ..settings()
        },
        detector(),
    );
    let one = image(1);
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
fn disconnects_slow_clients() {
    let server = start(
        ServeSettings {
            read_timeout: Duration::from_millis(300),
            ..settings()
        },
        detector(),
    );
    let started = Instant::now();
    let mut silent = server.connect();
    let mut done = server.connect();
    done.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut head_only = server.connect();
    head_only
        .write_all(b"POST /v1/classify HTTP/1.1\r\nhost: he")
        .unwrap();
    let mut body_missing = server.connect();
    let head = "POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\ncontent-type: image/bmp\r\n\r\nBM";
    body_missing.write_all(head.as_bytes()).unwrap();
    assert_eq!(
        HttpResponse::read(&mut body_missing).error(408),
        "request_timeout"
    );
    for stream in [&mut head_only, &mut silent, &mut done] {
        let _ = std::io::Read::read_to_end(stream, &mut Vec::new());
    }
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(server.classify(&image(1)).results().len(), 1);
}

#[test]
fn incomplete_bodies_do_not_affect_other_requests() {
    let server = start(settings(), detector());
    for _ in 0..5 {
        let mut stream = server.connect();
        stream
            .write_all(
                b"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\nBM",
            )
            .unwrap();
        drop(stream);
    }
    assert_eq!(server.classify(&image(1)).results().len(), 1);
    wait_for("the incomplete requests to end", || {
        server.metric("clipn_http_requests_in_flight") == 1.0
    });
}

#[test]
fn limits_header_count_and_size() {
    let server = start(settings(), detector());
    let many: String = (0..200).map(|i| format!("x-{i}: 1\r\n")).collect();
    let response =
        server.raw(format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").as_bytes());
    assert_eq!(response.status, 431);
    let long = "x".repeat(200_000);
    let response =
        server.raw(format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes());
    assert!(matches!(response.status, 414 | 431), "{}", response.head);
    assert_eq!(server.raw(b"this is not HTTP\r\n\r\n").status, 400);
}

#[test]
fn limits_connections() {
    let server = start(
        ServeSettings {
            max_connections: 4,
            ..settings()
        },
        detector(),
    );
    let open: Vec<_> = (0..4).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let refused = server.get("/health");
    assert_eq!(refused.error(503), "too_many_connections");
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(open);
    wait_for("a free connection", || server.get("/health").status == 200);
}

#[test]
fn rejects_invalid_settings() {
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
            max_queued_images: 0,
            ..settings()
        },
        ServeSettings {
            max_queued_images: 3,
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
    let result = clipn_serve::Server::bind(
        ServeSettings { port, ..settings() },
        detector(),
        "mini",
        None,
    );
    let message = result.err().unwrap().to_string();
    assert!(message.contains(&port.to_string()), "{message}");
}
