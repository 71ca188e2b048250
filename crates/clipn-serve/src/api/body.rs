use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::problem::Problem;

/// Bytes of a share of the budget.
const SHARE: usize = 1024;

/// A body that was read whole. Its bytes count against the budget until it is dropped.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// How much memory all bodies together may take, and one alone, and how long one may take to come.
#[derive(Debug)]
pub(crate) struct BodyLimits {
    budget: Arc<Semaphore>,
    most: usize,
    timeout: Duration,
}

impl BodyLimits {
    pub(crate) fn new(most: usize, budget: usize, timeout: Duration) -> Self {
        let shares = (budget / SHARE).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            budget: Arc::new(Semaphore::new(shares)),
            most,
            timeout,
        }
    }

    /// Reads a body. One that says beforehand that it is too large is refused unread.
    pub(super) async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Held, Problem> {
        let told = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if told.is_some_and(|length| length > self.most as u64) {
            return Err(self.too_large());
        }
        let until = Instant::now() + self.timeout;
        let mut bytes = BytesMut::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = timeout_at(until, body.frame())
            .await
            .map_err(|_| self.too_slow())?
        {
            let broken =
                |_| Problem::bad_request("the request's body ended before it was complete");
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > self.most {
                return Err(self.too_large());
            }
            let shares = (bytes.len() + data.len()).div_ceil(SHARE);
            let more = shares - share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            if more > 0 {
                let more = Arc::clone(&self.budget)
                    .try_acquire_many_owned(more as u32)
                    .map_err(|_| no_memory())?;
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held {
            bytes: bytes.freeze(),
            _share: share,
        })
    }

    fn too_large(&self) -> Problem {
        let message = format!(
            "the request is larger than {} bytes; send fewer or smaller pictures",
            self.most
        );
        Problem::new(413, "request_too_large", message)
    }

    fn too_slow(&self) -> Problem {
        let message = format!(
            "the request did not arrive within {} s",
            self.timeout.as_secs_f64()
        );
        Problem::new(408, "request_timeout", message)
    }
}

fn no_memory() -> Problem {
    Problem::new(
        429,
        "queue_full",
        "the server holds as many requests as it can; try again in a moment",
    )
}
