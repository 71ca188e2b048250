use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::DownloadError;
#[cfg(feature = "download")]
use super::http::Network;

/// Reason why downloads are disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfflineReason {
    /// Downloads were disabled with [`Settings::offline`].
    Asked,
    /// The environment variable with this name is set.
    Variable(&'static str),
    /// The library was built without the feature `download`.
    NotBuilt,
}

impl OfflineReason {
    /// The reason as a clause of an error message.
    pub(super) fn what_to_do(self) -> String {
        match self {
            Self::Asked => "offline mode is on".to_owned(),
            Self::Variable(variable) => format!("{variable} is set"),
            Self::NotBuilt => "built without the feature `download`".to_owned(),
        }
    }
}

impl fmt::Display for OfflineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("offline mode"),
            Self::Variable(variable) => f.write_str(variable),
            Self::NotBuilt => f.write_str("built without the feature `download`"),
        }
    }
}

/// Locations of the cache and configuration of downloads. The environment variables are those of
/// Python's huggingface_hub.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of Hugging Face's repository cache.
    pub cache: PathBuf,
    /// Directory of Hugging Face's assets cache; clipn uses its subdirectory `clipn`.
    pub assets: PathBuf,
    /// Whether to create symbolic links in snapshots. Otherwise, and if the system does not support
    /// them, hard links or copies are created.
    pub symlinks: bool,
    /// Why downloads are disabled; `None` if they are enabled.
    pub offline: Option<OfflineReason>,
    /// Network configuration.
    #[cfg(feature = "download")]
    pub network: Network,
}

impl Settings {
    /// Reads the settings from environment variables: `HF_HUB_CACHE`, `HF_ASSETS_CACHE`, `HF_HOME`,
    /// `XDG_CACHE_HOME`, `HF_HUB_OFFLINE`, `HF_HUB_DISABLE_SYMLINKS`, and for the network
    /// `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `SSL_CERT_FILE` and the usual proxy variables.
    ///
    /// # Errors
    /// [`DownloadError::Variable`] if a value is invalid, or if there is no home directory.
    pub fn from_env() -> Result<Self, DownloadError> {
        Self::from_variables(&|name| std::env::var_os(name))
    }

    /// Reads the settings from variables that `get` returns by name.
    ///
    /// # Errors
    /// Same as [`from_env`](Self::from_env).
    pub fn from_variables(get: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, DownloadError> {
        let variables = Variables::new(get);
        let home = variables.hugging_face_home();
        let default = |directory: &str| {
            home.as_ref()
                .map(|home| home.join(directory))
                .ok_or(DownloadError::Variable {
                    variable: "HF_HOME",
                    problem: "is not set, and there is no home directory".to_owned(),
                })
        };
        let first_path = |names: &[&str]| names.iter().find_map(|name| variables.path(name));
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
            .into_iter()
            .find(|name| variables.is_true(name));
        let built = cfg!(feature = "download");
        Ok(Self {
            cache: first_path(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
                .map_or_else(|| default("hub"), Ok)?,
            assets: first_path(&["HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE"])
                .map_or_else(|| default("assets"), Ok)?,
            symlinks: !variables.is_true("HF_HUB_DISABLE_SYMLINKS"),
            offline: offline
                .map(OfflineReason::Variable)
                .or((!built).then_some(OfflineReason::NotBuilt)),
            #[cfg(feature = "download")]
            network: Network::from_variables(&variables, home.as_deref())?,
        })
    }

    /// Directory of files that are identified by their URL.
    pub(super) fn url_files_dir(&self) -> PathBuf {
        self.assets.join("clipn").join("weights")
    }

    /// Disables downloads, so that only cached files are used.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.offline = self.offline.or(Some(OfflineReason::Asked));
        self
    }
}

/// Environment variables. An empty variable counts as unset.
pub(super) struct Variables<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl<'a> Variables<'a> {
    pub(super) fn new(get: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self(get)
    }

    pub(super) fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// Parses a flag as huggingface_hub does: `1`, `ON`, `YES` and `TRUE` in any case are true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        let value = self
            .get(name)
            .map(|value| value.to_string_lossy().to_ascii_uppercase());
        value.is_some_and(|value| matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE"))
    }

    /// Parses a path. A leading `~` is replaced by the home directory.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = PathBuf::from(self.get(name)?);
        match (value.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(value),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        self.get("HOME")
            .or_else(|| self.get("USERPROFILE"))
            .map(PathBuf::from)
    }

    fn hugging_face_home(&self) -> Option<PathBuf> {
        let caches = || {
            self.path("XDG_CACHE_HOME")
                .or_else(|| Some(self.home()?.join(".cache")))
        };
        self.path("HF_HOME")
            .or_else(|| Some(caches()?.join("huggingface")))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, DownloadError> {
        Settings::from_variables(&|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn directories_match_huggingface_hub() {
        let check = |variables: &[(&str, &str)], cache: &str, assets: &str| {
            let settings = settings(variables).unwrap();
            assert_eq!(settings.cache, Path::new(cache), "{variables:?}");
            assert_eq!(settings.assets, Path::new(assets), "{variables:?}");
        };
        let home = ("HOME", "/h");
        check(
            &[home],
            "/h/.cache/huggingface/hub",
            "/h/.cache/huggingface/assets",
        );
        let caches = ("XDG_CACHE_HOME", "/x");
        check(
            &[home, caches, ("HF_HOME", "")],
            "/x/huggingface/hub",
            "/x/huggingface/assets",
        );
        check(
            &[home, caches, ("HF_HOME", "~/f")],
            "/h/f/hub",
            "/h/f/assets",
        );
        check(
            &[home, ("HF_HUB_CACHE", "/c")],
            "/c",
            "/h/.cache/huggingface/assets",
        );
        check(
            &[("HF_HUB_CACHE", "/c"), ("HF_ASSETS_CACHE", "/a")],
            "/c",
            "/a",
        );
        assert!(settings(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }

    #[test]
    fn offline_variables_disable_downloads() {
        let with = |value| {
            settings(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)])
                .unwrap()
                .offline
        };
        assert_eq!(with("1"), Some(OfflineReason::Variable("HF_HUB_OFFLINE")));
        assert_eq!(with("yes"), Some(OfflineReason::Variable("HF_HUB_OFFLINE")));
        let built = (!cfg!(feature = "download")).then_some(OfflineReason::NotBuilt);
        assert_eq!((with("0"), with("")), (built, built));
        assert!(
            settings(&[("HOME", "/h")])
                .unwrap()
                .offline()
                .offline
                .is_some()
        );
    }
}
