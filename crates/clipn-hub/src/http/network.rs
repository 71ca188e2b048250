use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Proxies;
use crate::DownloadError;
use crate::settings::Variables;
use clipn_base::progress::Progress;

/// Default endpoint: Hugging Face's hub.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Maximum number of bytes that are read of a token file.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Network configuration: endpoint, token, proxies, certificates and timeouts.
#[derive(Debug, Clone)]
pub struct Network {
    /// URL of the hub without a trailing slash. Default: `https://huggingface.co`.
    pub endpoint: String,
    /// Access token, which is sent to the endpoint only.
    pub token: Option<Token>,
    /// HTTP proxies.
    pub proxies: Proxies,
    /// PEM file with the trusted root certificates. `None` selects Mozilla's.
    pub certificates: Option<PathBuf>,
    /// Timeouts and retries.
    pub retry_policy: RetryPolicy,
}

impl Network {
    pub(crate) fn from_variables(
        variables: &Variables<'_>,
        home: Option<&Path>,
    ) -> Result<Self, DownloadError> {
        let endpoint = variables.get("HF_ENDPOINT").map_or_else(
            || DEFAULT_ENDPOINT.to_owned(),
            |v| v.to_string_lossy().into_owned(),
        );
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if !["https://", "http://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme))
            || endpoint.contains(['?', '#', '@'])
        {
            let problem = "must be a URL such as https://huggingface.co".to_owned();
            return Err(DownloadError::Variable {
                variable: "HF_ENDPOINT",
                problem,
            });
        }
        let certificates = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
        Ok(Self {
            endpoint,
            token: Token::from_variables(variables, home)?,
            proxies: Proxies::from_variables(variables)?,
            certificates: certificates.iter().find_map(|name| variables.path(name)),
            retry_policy: RetryPolicy::default(),
        })
    }
}

/// Access token of the hub. Its `Debug` output does not contain the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Creates a token from text, with white space trimmed. `None` if it is empty or contains
    /// anything but printable ASCII without spaces.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
            .then(|| Self(text.to_owned()))
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }

    /// Reads `HF_TOKEN`, or the file that `hf auth login` writes.
    fn from_variables(
        variables: &Variables<'_>,
        home: Option<&Path>,
    ) -> Result<Option<Self>, DownloadError> {
        for variable in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            let Some(value) = variables.get(variable) else {
                continue;
            };
            let token = value.to_str().and_then(Self::new);
            let problem = "must be a token without spaces, such as hf_…".to_owned();
            return token
                .map(Some)
                .ok_or(DownloadError::Variable { variable, problem });
        }
        if variables.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(None);
        }
        let file = variables
            .path("HF_TOKEN_PATH")
            .or_else(|| Some(home?.join("token")));
        let mut text = String::new();
        // A missing or unreadable file means that the user is not logged in.
        let read = file.and_then(|file| {
            File::open(file)
                .ok()?
                .take(MAX_TOKEN_BYTES)
                .read_to_string(&mut text)
                .ok()
        });
        Ok(read.and_then(|_| Self::new(&text)))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Timeouts, maximum number of attempts, and exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Timeout for resolving the host name, and for connecting. Default: 10 s.
    pub connect: Duration,
    /// Timeout for the response head, and for each read and write. Default: 30 s.
    pub read: Duration,
    /// Maximum number of consecutive attempts without progress. Default: 5.
    pub tries: u32,
    /// Pause before the second attempt. It doubles with each attempt, up to 30 s. Default: 1 s.
    pub pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            tries: 5,
            pause: Duration::from_secs(1),
        }
    }
}

impl RetryPolicy {
    /// Maximum pause between two attempts, even if `Retry-After` is longer.
    const MAX_PAUSE: Duration = Duration::from_secs(30);

    /// Calls `attempt` until it succeeds, fails with an error that is not transient, or reaches the
    /// maximum number of attempts.
    pub(crate) fn again<T>(
        &self,
        what: &str,
        progress: &dyn Progress,
        mut attempt: impl FnMut() -> Result<T, DownloadError>,
    ) -> Result<T, DownloadError> {
        let mut failures = 0;
        loop {
            match attempt() {
                Err(error) if error.is_transient() && failures + 1 < self.tries => {
                    failures += 1;
                    self.wait(failures, &error, what, progress)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Sleeps before the next attempt: with exponential backoff, or for the time of `Retry-After`.
    /// Jitter of up to a quarter of [`pause`](Self::pause) spreads the retries of several clients.
    ///
    /// # Errors
    /// [`DownloadError::Cancelled`] if the download is cancelled meanwhile.
    pub(crate) fn wait(
        &self,
        failures: u32,
        error: &DownloadError,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<(), DownloadError> {
        let retry_after = match error {
            DownloadError::Status { after, .. } => *after,
            _ => None,
        };
        let doubled = self
            .pause
            .saturating_mul(1 << failures.saturating_sub(1).min(10));
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let jitter = self.pause / 4 * (now.subsec_nanos() % 100) / 100;
        let mut left = retry_after.unwrap_or(doubled).min(Self::MAX_PAUSE) + jitter;
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::Settings;

    fn network(variables: &[(&str, &str)]) -> Result<Network, DownloadError> {
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found
                .map(|(_, value)| OsString::from(value))
                .or((name == "HF_HOME").then(|| "/nowhere".into()))
        };
        Settings::from_variables(&get).map(|settings| settings.network)
    }

    #[test]
    fn endpoint_must_be_a_url() {
        assert_eq!(network(&[]).unwrap().endpoint, DEFAULT_ENDPOINT);
        assert_eq!(
            network(&[("HF_ENDPOINT", "http://127.0.0.1:8/hf/")])
                .unwrap()
                .endpoint,
            "http://127.0.0.1:8/hf"
        );
        for wrong in [
            "huggingface.co",
            "file:///etc",
            "https://a@b",
            "https://a/?x",
        ] {
            let error = network(&[("HF_ENDPOINT", wrong)]).unwrap_err().to_string();
            assert!(error.contains("HF_ENDPOINT"), "{error}");
        }
    }

    #[test]
    fn tokens_come_from_variables_and_files_and_are_never_printed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "hf_file\n").unwrap();
        let path = file.to_str().unwrap();
        let token = |variables: &[(&str, &str)]| network(variables).unwrap().token;
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("HF_TOKEN_PATH", path)]), Token::new("hf_file"));
        assert_eq!(
            token(&[("HF_TOKEN_PATH", path), ("HF_TOKEN", " hf_own ")]),
            Token::new("hf_own")
        );
        assert_eq!(
            token(&[("HF_HOME", directory.path().to_str().unwrap())]),
            Token::new("hf_file")
        );
        assert_eq!(
            token(&[
                ("HF_TOKEN_PATH", path),
                ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
            ]),
            None
        );
        let error = network(&[("HF_TOKEN", "hf\r\nX: secret")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("HF_TOKEN") && !error.contains("secret"),
            "{error}"
        );
        assert!(!format!("{:?}", network(&[("HF_TOKEN", "secret")]).unwrap()).contains("secret"));
    }
}
