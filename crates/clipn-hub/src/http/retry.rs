use std::time::{Duration, SystemTime};

use clipn_base::progress::Progress;

use crate::error::DownloadError;

/// Timeouts, maximum number of attempts, and exponential backoff.
///
/// ```
/// use std::time::Duration;
///
/// let mut policy = clipn_hub::RetryPolicy::default();
/// policy.max_attempts = 2;
/// assert_eq!(policy.connect_timeout, Duration::from_secs(10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Timeout for resolving the host name, and for connecting. Default: 10 s.
    pub connect_timeout: Duration,
    /// Timeout for the response head, and for each read and write. Default: 30 s.
    pub read_timeout: Duration,
    /// Maximum number of consecutive attempts without progress. Default: 5.
    pub max_attempts: u32,
    /// Pause before the second attempt. It doubles with each attempt, up to 30 s. Default: 1 s.
    pub initial_backoff: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            max_attempts: 5,
            initial_backoff: Duration::from_secs(1),
        }
    }
}

impl RetryPolicy {
    /// Maximum pause between two attempts, even if `Retry-After` is longer.
    const MAX_BACKOFF: Duration = Duration::from_secs(30);

    /// Calls `attempt` until it succeeds, fails with an error that is not transient, or reaches the
    /// maximum number of attempts.
    pub(crate) fn retry<T>(
        &self,
        what: &str,
        progress: &dyn Progress,
        mut attempt: impl FnMut() -> Result<T, DownloadError>,
    ) -> Result<T, DownloadError> {
        let mut failures = 0;
        loop {
            match attempt() {
                Err(error) if error.is_transient() && failures + 1 < self.max_attempts => {
                    failures += 1;
                    self.back_off(failures, &error, what, progress)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Sleeps before the next attempt: with exponential backoff, or for the time of `Retry-After`.
    /// Jitter of up to a quarter of [`initial_backoff`](Self::initial_backoff) spreads the retries of several clients.
    ///
    /// # Errors
    /// [`DownloadError::Cancelled`] if the download is cancelled meanwhile.
    pub(crate) fn back_off(
        &self,
        failures: u32,
        error: &DownloadError,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<(), DownloadError> {
        let retry_after = match error {
            DownloadError::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        let doubled = self
            .initial_backoff
            .saturating_mul(1 << failures.saturating_sub(1).min(10));
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let jitter = self.initial_backoff / 4 * (now.subsec_nanos() % 100) / 100;
        let mut left = retry_after.unwrap_or(doubled).min(Self::MAX_BACKOFF) + jitter;
        while !left.is_zero() {
            if progress.is_cancelled() {
                return Err(DownloadError::Cancelled {
                    what: what.to_owned(),
                });
            }
            let step = left.min(Duration::from_millis(50));
            std::thread::sleep(step);
            left -= step;
        }
        Ok(())
    }
}
