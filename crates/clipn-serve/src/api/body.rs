use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::{ApiError, shown};

/// Number of bytes per permit of the memory budget.
const PERMIT_BYTES: usize = 1024;

/// Complete request body. Its bytes count against the budget until it is dropped.
pub(super) struct RequestBody {
    pub(super) bytes: Bytes,
    _permits: Option<OwnedSemaphorePermit>,
}

/// Limits of request bodies: total memory, size of one body, and read timeout.
// Not tower-http's `limit` and `timeout`: they respond in plain text, restart the timeout at each
// frame, and know no total over all requests.
#[derive(Debug)]
pub(super) struct BodyLimits {
    budget: Arc<Semaphore>,
    max_bytes: usize,
    timeout: Duration,
}

impl BodyLimits {
    pub(super) fn new(max_bytes: usize, budget: usize, timeout: Duration) -> Self {
        let permits = (budget / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            budget: Arc::new(Semaphore::new(permits)),
            max_bytes,
            timeout,
        }
    }

    /// Reads a body. If `Content-Length` exceeds the limit, the body is rejected unread.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
    ) -> Result<RequestBody, ApiError> {
        check_encoding(headers)?;
        let declared = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > self.max_bytes as u64) {
            return Err(self.too_large());
        }
        let until = Instant::now() + self.timeout;
        let mut bytes = BytesMut::new();
        let mut permits: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = timeout_at(until, body.frame())
            .await
            .map_err(|_| self.too_slow())?
        {
            let incomplete = |_| ApiError::bad_request("incomplete request body");
            let Ok(data) = frame.map_err(incomplete)?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > self.max_bytes {
                return Err(self.too_large());
            }
            let needed = (bytes.len() + data.len()).div_ceil(PERMIT_BYTES);
            let missing = needed
                - permits
                    .as_ref()
                    .map_or(0, OwnedSemaphorePermit::num_permits);
            if missing > 0 {
                let acquired = Arc::clone(&self.budget)
                    .try_acquire_many_owned(missing as u32)
                    .map_err(|_| budget_exhausted())?;
                match &mut permits {
                    Some(permits) => permits.merge(acquired),
                    None => permits = Some(acquired),
                }
            }
            bytes.extend_from_slice(&data);
        }
        Ok(RequestBody {
            bytes: bytes.freeze(),
            _permits: permits,
        })
    }

    fn too_large(&self) -> ApiError {
        let message = format!(
            "request body exceeds the limit of {} bytes; send fewer or smaller images",
            self.max_bytes
        );
        ApiError::new(413, "request_too_large", message)
    }

    fn too_slow(&self) -> ApiError {
        let message = format!(
            "request body was not received within {} s",
            self.timeout.as_secs_f64()
        );
        ApiError::new(408, "request_timeout", message)
    }
}

/// Rejects a body that is compressed for the transfer.
fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(());
    };
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    if encoding.trim().eq_ignore_ascii_case("identity") {
        return Ok(());
    }
    let message = format!(
        "unsupported content encoding `{}`; send the body as it is",
        shown(&encoding)
    );
    Err(ApiError::new(415, "unsupported_media_type", message))
}

fn budget_exhausted() -> ApiError {
    ApiError::new(
        429,
        "queue_full",
        "the memory for request bodies is exhausted; retry later",
    )
}
