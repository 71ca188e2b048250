//! The stream of a connection: writes that make no progress end it, ambiguous requests are refused, and
//! errors of the HTTP layer get the form of all errors.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::heads::HeadScanner;
use super::registry::{Activity, Tracked};
use crate::api::{App, observe_malformed};

/// Stream between hyper and the socket.
pub(super) struct ClientStream {
    socket: TcpStream,
    tracked: Arc<Tracked>,
    scanner: HeadScanner,
    app: Arc<App>,
    peer: SocketAddr,
    /// Runs while the client reads nothing.
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes that are written instead of an error of hyper, and how many of them are.
    replacement: Option<Replacement>,
}

struct Replacement {
    bytes: Vec<u8>,
    written: usize,
    /// Number of bytes that hyper passed.
    replaced: usize,
}

impl ClientStream {
    pub(super) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        tracked: Arc<Tracked>,
        app: Arc<App>,
    ) -> Self {
        Self {
            socket,
            tracked,
            scanner: HeadScanner::default(),
            app,
            peer,
            timer: None,
            replacement: None,
        }
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Writes to the socket. Fails if nothing could be written for the timeout.
    fn poll_socket(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write(context, bytes) {
            if self.timer.take().is_some() {
                self.tracked.set(Activity::Waiting);
            }
            return Poll::Ready(written);
        }
        if !self.tracked.is(Activity::Stalled) {
            self.tracked.set(Activity::Stalled);
        }
        let timeout = self.app.settings.write_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        self.scanner.scan(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replacement.is_none() {
            let Some((start, status)) = error_of_hyper(bytes) else {
                return self.poll_socket(context, bytes);
            };
            observe_malformed(&self.app, self.peer, status, describe(status).0);
            self.replacement = Some(Replacement {
                bytes: [&bytes[..start], error_response(status).as_bytes()].concat(),
                written: 0,
                replaced: bytes.len(),
            });
        }
        while let Some(mut replacement) = self.replacement.take() {
            let left = &replacement.bytes[replacement.written..];
            if left.is_empty() {
                return Poll::Ready(Ok(replacement.replaced));
            }
            let polled = self.poll_socket(context, left);
            if let Poll::Ready(Ok(written)) = polled {
                replacement.written += written;
            }
            self.replacement = Some(replacement);
            ready!(polled)?;
        }
        Poll::Ready(Ok(0))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    /// One buffer for each write, so that an error of hyper is in one piece.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

/// Maximum bytes of a response that hyper makes by itself.
const MAX_ERROR: usize = 256;

/// Returns where a response begins that hyper made for a request which it cannot parse, and its status.
/// It is the last thing that is written to a connection, and has none of the header fields of all other
/// responses.
fn error_of_hyper(bytes: &[u8]) -> Option<(usize, u16)> {
    let from = bytes.len().saturating_sub(MAX_ERROR);
    let tail = &bytes[from..];
    let start = tail.windows(9).rposition(|window| window == b"HTTP/1.1 ")?;
    let text = std::str::from_utf8(&tail[start..]).ok()?;
    let head = text.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.get(9..12)?.parse().ok()?;
    let is_own = lines.all(|line| {
        ["connection: close", "content-length: 0"].contains(&line) || line.starts_with("date: ")
    });
    (is_own && matches!(status, 400 | 414 | 431)).then_some((from + start, status))
}

/// The code, reason and description of an error of the HTTP layer.
fn describe(status: u16) -> (&'static str, &'static str, &'static str) {
    match status {
        414 => (
            "uri_too_long",
            "URI Too Long",
            "the path of the request is too long",
        ),
        431 => (
            "headers_too_large",
            "Request Header Fields Too Large",
            "the head of the request has too many or too long header fields",
        ),
        _ => ("bad_request", "Bad Request", "malformed HTTP request"),
    }
}

/// A response with the body and header fields of all errors.
pub(super) fn error_response(status: u16) -> String {
    let (code, reason, message) = describe(status);
    let body = format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"{message}\"}}}}");
    let fields: String = crate::api::HEADERS
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n{fields}\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_hyper_are_replaced() {
        let date = "date: Sat, 28 Nov 2026 12:00:00 GMT\r\n";
        let own = |status: &str| {
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n{date}\r\n")
        };
        assert_eq!(
            error_of_hyper(own("400 Bad Request").as_bytes()),
            Some((0, 400))
        );
        let ours =
            format!("HTTP/1.1 200 OK\r\nx-request-id: a\r\ncontent-length: 2\r\n{date}\r\n{{}}");
        let both = format!("{ours}{}", own("431 Request Header Fields Too Large"));
        assert_eq!(error_of_hyper(both.as_bytes()), Some((ours.len(), 431)));
        let empty = format!(
            "HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\ncontent-length: 0\r\n{date}\r\n"
        );
        for other in [
            ours,
            own("200 OK"),
            own("408 Timeout"),
            empty,
            String::new(),
        ] {
            assert_eq!(error_of_hyper(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn errors_of_the_http_layer_are_whole_responses() {
        for status in [400, 414, 431] {
            let text = error_response(status);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
            assert!(head.contains("x-content-type-options: nosniff"), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(body["error"]["code"].is_string());
        }
    }
}
