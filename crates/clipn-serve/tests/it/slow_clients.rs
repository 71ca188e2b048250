//! Clients that read or send nothing do not keep others out, and errors of the HTTP layer have the form
//! of all errors.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::*;
use clipn_serve::ServeSettings;

/// Sends requests for a long document until the server no longer reads them, and reads no response.
fn never_read(server: &TestServer) -> TcpStream {
    let mut stream = server.connect();
    stream.set_nonblocking(true).unwrap();
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let mut blocked_since = Instant::now();
    while blocked_since.elapsed() < Duration::from_millis(200) {
        match stream.write(requests.as_bytes()) {
            Ok(_) => blocked_since = Instant::now(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => break,
        }
    }
    stream
}

#[test]
fn a_client_that_never_reads_is_disconnected() {
    let server = start(
        ServeSettings {
            write_timeout: Duration::from_millis(300),
            ..settings()
        },
        detector(),
    );
    let _clients: Vec<_> = (0..3).map(|_| never_read(&server)).collect();
    // The connection of the request for the metrics counts.
    wait_for("the connections to be closed", || {
        server.metric("clipn_http_connections") <= 1.0
    });
}

#[test]
fn clients_that_read_or_send_nothing_make_room_for_others() {
    let server = start(
        ServeSettings {
            max_connections: 4,
            ..settings()
        },
        detector(),
    );
    let _readers: Vec<_> = (0..4).map(|_| never_read(&server)).collect();
    let started = Instant::now();
    for _ in 0..8 {
        assert_eq!(server.get("/health").status, 200);
    }
    // One has sent nothing, the others have had a response and keep their connections.
    let _silent: Vec<_> = (0..4)
        .map(|index| {
            let mut stream = server.connect();
            if index > 0 {
                let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
                stream.write_all(request).unwrap();
                assert!(stream.read(&mut [0; 1]).is_ok());
            }
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1200));
    for _ in 0..4 {
        assert_eq!(server.get("/health").status, 200);
    }
    // Far below the timeouts, which are 30 s.
    assert!(started.elapsed() < Duration::from_secs(15));
    assert!(server.metric("clipn_http_connections_shed_total") >= 2.0);
}

/// A whole response of the HTTP layer: status, code, and the header fields of all responses.
#[track_caller]
fn check_error(response: &HttpResponse, status: u16, code: &str) {
    assert_eq!(response.error(status), code);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

#[test]
fn errors_of_the_http_layer_have_the_form_of_all_errors() {
    let server = start(settings(), detector());
    let raw = |text: &str| server.raw(text.as_bytes());
    for malformed in [
        "this is not HTTP\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
    ] {
        check_error(&raw(malformed), 400, "bad_request");
    }
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(70_000)
    );
    let response = raw(&long);
    let is_uri = response.status == 414;
    if is_uri {
        check_error(&response, 414, "uri_too_long");
    } else {
        check_error(&response, 431, "headers_too_large");
    }
    let fields = "a: b\r\n".repeat(100);
    let response = raw(&format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
    ));
    check_error(&response, 431, "headers_too_large");
    check_error(&raw("GET /health HTTP/1.1\r\n\r\n"), 400, "bad_request");
    assert_eq!(raw("GET /health HTTP/1.0\r\n\r\n").status, 200);
    let foreign = raw("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\nGET / HTTP/9\r\n\r\n");
    assert_eq!(foreign.status, 403);
    assert!(
        foreign.text().contains("host_not_allowed"),
        "{}",
        foreign.text()
    );
    // The second error follows the first response.
    assert!(
        foreign.text().contains("malformed HTTP request"),
        "{}",
        foreign.text()
    );
    // Each is counted.
    let metrics = server.get("/metrics").text();
    let headers = if is_uri { 1 } else { 2 };
    let requests = "clipn_http_requests_total{method=\"OTHER\",route=\"other\",";
    for line in [
        format!("{requests}status=\"400\"}} 4"),
        format!("{requests}status=\"431\"}} {headers}"),
        format!("clipn_errors_total{{code=\"headers_too_large\"}} {headers}"),
        // With that of a request without a host, which has a route.
        "clipn_errors_total{code=\"bad_request\"} 5".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|counted| counted == line),
            "{line}\n{metrics}"
        );
    }
}

#[test]
fn a_length_beside_an_encoding_is_refused() {
    let server = start(settings(), detector());
    let head = "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let (length, encoding) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for fields in [[length, encoding].concat(), [encoding, length].concat()] {
        let request = format!("{head}{fields}\r\n0\r\n\r\n");
        check_error(&server.raw(request.as_bytes()), 400, "bad_request");
        // In pieces, after another request on the connection.
        let mut stream = server.connect();
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        for piece in request.as_bytes().chunks(7) {
            if stream.write_all(piece).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut responses = Vec::new();
        stream.read_to_end(&mut responses).unwrap();
        let responses = String::from_utf8(responses).unwrap();
        assert!(responses.starts_with("HTTP/1.1 200 OK"), "{responses}");
        assert!(
            responses.contains("HTTP/1.1 400 Bad Request"),
            "{responses}"
        );
        assert!(responses.contains("malformed HTTP request"), "{responses}");
    }
    let chunked = format!("{head}{encoding}content-type: image/bmp\r\n\r\n");
    let image = image(1);
    let mut request = format!("{chunked}{:x}\r\n", image.len()).into_bytes();
    request.extend(&image);
    request.extend(b"\r\n0\r\n\r\n");
    assert_eq!(server.raw(&request).results().len(), 1);
}
