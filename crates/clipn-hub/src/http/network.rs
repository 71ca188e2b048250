use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Proxies;
use crate::DownloadError;
use crate::settings::Variables;
use clipn_base::progress::Progress;

/// The hub that `hf-hub:` means.
const HUB: &str = "https://huggingface.co";

/// The most that is read of a token's file.
const LONGEST_TOKEN: u64 = 4096;

/// How the hub is reached.
#[derive(Debug, Clone)]
pub struct Network {
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// Who asks. It is sent to the endpoint and to nobody else.
    pub token: Option<Token>,
    /// What stands between.
    pub proxies: Proxies,
    /// A PEM file with the certificates that are trusted, instead of Mozilla's.
    pub certificates: Option<PathBuf>,
    /// How long is waited.
    pub patience: Patience,
}

impl Network {
    pub(crate) fn from_variables(
        variables: &Variables<'_>,
        home: Option<&Path>,
    ) -> Result<Self, DownloadError> {
        let endpoint = variables
            .get("HF_ENDPOINT")
            .map_or_else(|| HUB.to_owned(), |v| v.to_string_lossy().into_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if !["https://", "http://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme))
            || endpoint.contains(['?', '#', '@'])
        {
            let problem = "must be an address, as https://huggingface.co".to_owned();
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
            patience: Patience::default(),
        })
    }
}

/// A secret that shows itself to nobody but the hub.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token; `None` where it cannot be one.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
            .then(|| Self(text.to_owned()))
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }

    /// `HF_TOKEN`, or the file that `hf auth login` writes.
    fn from_variables(
        variables: &Variables<'_>,
        home: Option<&Path>,
    ) -> Result<Option<Self>, DownloadError> {
        for variable in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            let Some(value) = variables.get(variable) else {
                continue;
            };
            let token = value.to_str().and_then(Self::new);
            let problem = "is not a token: it must be one word, as hf_…".to_owned();
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
        // Whoever has no such file, or may not read it, is not logged in.
        let read = file.and_then(|file| {
            File::open(file)
                .ok()?
                .take(LONGEST_TOKEN)
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

/// How long is waited, and how often tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes.
    pub read: Duration,
    /// Tries without a byte between them.
    pub tries: u32,
    /// Before the second try; each further wait is twice as long, up to half a minute.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            tries: 5,
            pause: Duration::from_secs(1),
        }
    }
}

impl Patience {
    /// The longest wait between two tries, whatever a server asks for.
    const LONGEST: Duration = Duration::from_secs(30);

    /// Does `attempt` until it succeeds, fails for good or has been tried often enough.
    pub(crate) fn again<T>(
        &self,
        what: &str,
        progress: &dyn Progress,
        mut attempt: impl FnMut() -> Result<T, DownloadError>,
    ) -> Result<T, DownloadError> {
        let mut failures = 0;
        loop {
            match attempt() {
                Err(error) if error.may_pass() && failures + 1 < self.tries => {
                    failures += 1;
                    self.wait(failures, &error, what, progress)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Waits before the next try: twice as long each time, or as the server asks; some more, so that many programs do
    /// not come back at once.
    pub(crate) fn wait(
        &self,
        failures: u32,
        error: &DownloadError,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<(), DownloadError> {
        let asked = match error {
            DownloadError::Status { after, .. } => *after,
            _ => None,
        };
        let doubled = self
            .pause
            .saturating_mul(1 << failures.saturating_sub(1).min(10));
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let spread = self.pause / 4 * (now.subsec_nanos() % 100) / 100;
        let mut left = asked.unwrap_or(doubled).min(Self::LONGEST) + spread;
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
    fn the_endpoint_is_an_address() {
        assert_eq!(network(&[]).unwrap().endpoint, HUB);
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
    fn tokens_come_from_variables_and_files_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
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
            token(&[("HF_HOME", folder.path().to_str().unwrap())]),
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
