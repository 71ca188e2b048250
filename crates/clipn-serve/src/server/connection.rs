use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use hyper::Request;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::Service;

use crate::api::{App, Peer};
use crate::metrics::GaugeGuard;
use crate::server::registry::{Activity, Registered};
use crate::server::stream::ClientStream;

/// Maximum number of header fields per request.
const MAX_HEADERS: usize = 64;

/// Maximum size of a request's head and of the read buffer, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Time that the client gets to read the last response before the connection is closed.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of request bytes that are discarded if the response was sent before the request
/// was read.
const MAX_LINGER_BYTES: usize = 64 << 20;

/// Response to a connection beyond the limit.
const TOO_MANY_CONNECTIONS: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 87\r\n\
Retry-After: 1\r\nConnection: close\r\n\r\n\
{\"error\":{\"code\":\"too_many_connections\",\"message\":\"too many connections; retry later\"}}";

/// Serves the requests of a connection until the client closes it or the server shuts down.
pub(super) async fn serve(
    app: Arc<App>,
    router: Router,
    stream: TcpStream,
    peer: SocketAddr,
    connection: Registered,
    mut stopped: watch::Receiver<bool>,
) {
    let _connections = GaugeGuard::new(&app.metrics.connections);
    // Responses are small and written at once: Nagle's algorithm would only delay them.
    let _ = stream.set_nodelay(true);
    let tracked = Arc::clone(&connection.tracked);
    let stream = ClientStream::new(stream, peer, Arc::clone(&tracked), Arc::clone(&app));
    let service = service_fn(move |request: Request<Incoming>| {
        tracked.set(Activity::Working);
        let mut router = router.clone();
        let (mut head, body) = request.into_parts();
        head.extensions.insert(Peer(peer));
        let body = WatchedBody::new(body);
        let is_read = Arc::clone(&body.is_read);
        let request = Request::from_parts(head, Body::new(body));
        let tracked = Arc::clone(&tracked);
        Box::pin(async move {
            let mut response: Result<Response, _> = router.call(request).await;
            // hyper closes a connection with an unread request, without a word. A client that does not
            // know sends its next request into the closed connection and gets no response to it.
            if let (Ok(response), false) = (&mut response, is_read.load(Ordering::Relaxed)) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            // Its body is in memory: only the client is waited for.
            tracked.set(Activity::Waiting);
            response
        }) as Pin<Box<dyn Future<Output = _> + Send>>
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(app.settings.read_timeout);
    builder
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(true);
    let tracked = &connection.tracked;
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut shutting_down = false;
    let result = loop {
        tokio::select! {
            result = poll_fn(|context| connection.poll_without_shutdown(context)) => break result,
            () = tracked.closed() => {
                app.metrics.connections_shed.inc();
                tracing::debug!(%peer, "connection closed to make room for another");
                return;
            }
            _ = stopped.wait_for(|stopped| *stopped), if !shutting_down => {
                shutting_down = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection closed early");
    }
    if !tracked.is(Activity::Stalled) {
        linger(connection.into_parts().io.into_inner().into_socket()).await;
    }
}

/// Body of a request that records whether it was read to its end.
struct WatchedBody {
    body: Incoming,
    is_read: Arc<AtomicBool>,
}

impl WatchedBody {
    fn new(body: Incoming) -> Self {
        let is_read = Arc::new(AtomicBool::new(body.is_end_stream()));
        Self { body, is_read }
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_read.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Lingering close: shuts down the write side and drains the read side. Closing a socket with
/// unread bytes would reset the connection, and the client could lose the last response.
async fn linger(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut buffer = [0; 16 << 10];
        let mut read = 0;
        while read < MAX_LINGER_BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                n => read += n,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // The connection is closed in any case.
    let _ = timeout(LINGER_TIMEOUT, drain).await;
}

/// Responds with 503 to a connection beyond the limit.
pub(super) async fn refuse(mut stream: TcpStream) {
    if let Ok(Ok(())) = timeout(LINGER_TIMEOUT, stream.write_all(TOO_MANY_CONNECTIONS)).await {
        linger(stream).await;
    }
}

#[cfg(test)]
mod tests {
    use super::TOO_MANY_CONNECTIONS;

    #[test]
    fn refusal_has_the_right_content_length() {
        let text = std::str::from_utf8(TOO_MANY_CONNECTIONS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
