use std::ffi::OsString;
use std::path::PathBuf;

use crate::env::EnvVars;
use crate::error::{DownloadError, OfflineReason};
#[cfg(feature = "download")]
use crate::http::Network;

/// What weights are fetched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchPurpose {
    /// Inference or training. An unsupported config is an error before the weights are fetched.
    Compute,
    /// Inspection of the files. Unsupported configs are accepted.
    Inspect,
}

/// Locations of the cache and configuration of downloads.
///
/// The environment variables are those of Python's huggingface_hub, so that both share one cache:
///
/// ```
/// use clipn_hub::DownloadSettings;
///
/// let settings = DownloadSettings::from_lookup(&|name| (name == "HF_HOME").then(|| "/data/hf".into()))?;
/// assert_eq!(settings.cache, std::path::Path::new("/data/hf/hub"));
/// assert!(settings.without_downloads().offline.is_some());
/// # Ok::<(), clipn_hub::DownloadError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DownloadSettings {
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

impl DownloadSettings {
    /// Reads the settings from environment variables: `HF_HUB_CACHE`, `HF_ASSETS_CACHE`, `HF_HOME`,
    /// `XDG_CACHE_HOME`, `HF_HUB_OFFLINE`, `HF_HUB_DISABLE_SYMLINKS`, and for the network
    /// `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `SSL_CERT_FILE` and the usual proxy variables.
    ///
    /// # Errors
    /// [`DownloadError::Environment`] if a value is invalid, or if there is no home directory.
    pub fn from_env() -> Result<Self, DownloadError> {
        Self::from_lookup(&|name| std::env::var_os(name))
    }

    /// Reads the settings from variables that `lookup` returns by name.
    ///
    /// # Errors
    /// Same as [`from_env`](Self::from_env).
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, DownloadError> {
        let variables = EnvVars::new(lookup);
        let home = variables.hf_home();
        let default = |directory: &str| {
            home.as_ref()
                .map(|home| home.join(directory))
                .ok_or(DownloadError::Environment {
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
            network: Network::from_env_vars(&variables, home.as_deref())?,
        })
    }

    /// Directory of files that are identified by their URL.
    pub(crate) fn url_files_dir(&self) -> PathBuf {
        self.assets.join("clipn").join("weights")
    }

    /// Disables downloads, so that only cached files are used.
    #[must_use]
    pub fn without_downloads(mut self) -> Self {
        self.offline = self.offline.or(Some(OfflineReason::Requested));
        self
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<DownloadSettings, DownloadError> {
        DownloadSettings::from_lookup(&|name| {
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
                .without_downloads()
                .offline
                .is_some()
        );
    }
}
