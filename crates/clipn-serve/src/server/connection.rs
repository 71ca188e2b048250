use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::Service;

use super::Peer;
use crate::api::App;
use crate::metrics::Counted;

/// Header lines of a request at most.
const MOST_HEADERS: usize = 64;

/// Bytes of a request's head at most, and of what is read ahead.
const HEAD_BYTES: usize = 64 << 10;

/// How long the other end may take to read an answer before the connection is cut.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes that are thrown away of a request that was answered before it was read.
const LINGER_BYTES: usize = 64 << 20;

/// The answer to a connection over the limit.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 97\r\n\
Retry-After: 1\r\nConnection: close\r\n\r\n\
{\"error\":{\"code\":\"too_many_connections\",\"message\":\"too many connections; try again in a moment\"}}";

/// Answers a connection's requests until it is closed or the server stops.
pub(super) async fn serve(
    app: Arc<App>,
    router: Router,
    stream: TcpStream,
    peer: SocketAddr,
    mut stopped: watch::Receiver<bool>,
) {
    let _counted = Counted::new(&app.metrics.connections);
    // Answers are small and written whole.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let (mut head, body) = request.into_parts();
        head.extensions.insert(Peer(peer));
        let request = Request::from_parts(head, Body::new(body));
        Box::pin(async move { router.call(request).await as Result<Response, _> })
            as Pin<Box<dyn Future<Output = _> + Send>>
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(app.settings.read_timeout);
    builder
        .max_headers(MOST_HEADERS)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(true);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut asked_to_stop = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            _ = stopped.wait_for(|stopped| *stopped), if !asked_to_stop => {
                asked_to_stop = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
    linger(connection.into_parts().io.into_inner()).await;
}

/// Closes a connection so that its last answer arrives: a close with unread bytes would reset it and take the answer away.
async fn linger(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut buffer = [0; 16 << 10];
        let mut read = 0;
        while read < LINGER_BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                n => read += n,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // Whether the other end was patient makes no difference any more.
    let _ = timeout(LINGER, drain).await;
}

/// Tells a connection over the limit to come back.
pub(super) async fn refuse(mut stream: TcpStream) {
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(FULL)).await {
        linger(stream).await;
    }
}

#[cfg(test)]
mod tests {
    use super::FULL;

    #[test]
    fn the_refusal_says_its_length() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
