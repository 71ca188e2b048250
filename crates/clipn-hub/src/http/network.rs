use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::env::EnvVars;
use crate::error::DownloadError;
use crate::http::{Proxies, RetryPolicy};

/// Default endpoint: Hugging Face's hub.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Maximum number of bytes that are read of a token file.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Network configuration: endpoint, token, proxies, certificates and timeouts.
#[derive(Debug, Clone)]
#[non_exhaustive]
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

impl Default for Network {
    /// Hugging Face's hub, without token and proxies.
    fn default() -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            proxies: Proxies::default(),
            certificates: None,
            retry_policy: RetryPolicy::default(),
        }
    }
}

impl Network {
    pub(crate) fn from_env_vars(
        variables: &EnvVars<'_>,
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
            return Err(DownloadError::Environment {
                variable: "HF_ENDPOINT",
                problem,
            });
        }
        let certificates = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
        Ok(Self {
            endpoint,
            token: Token::from_env_vars(variables, home)?,
            proxies: Proxies::from_env_vars(variables)?,
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
    fn from_env_vars(
        variables: &EnvVars<'_>,
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
                .ok_or(DownloadError::Environment { variable, problem });
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn network(variables: &[(&str, &str)]) -> Result<Network, DownloadError> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found
                .map(|(_, value)| OsString::from(value))
                .or((name == "HF_HOME").then(|| "/nowhere".into()))
        };
        let variables = EnvVars::new(&lookup);
        Network::from_env_vars(&variables, variables.hf_home().as_deref())
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
