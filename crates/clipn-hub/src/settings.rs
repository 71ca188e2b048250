use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::DownloadError;
#[cfg(feature = "download")]
use super::http::Network;

/// Why nothing is asked of the net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offline {
    /// The user asked for it.
    Asked,
    /// A variable of the environment asks for it.
    Variable(&'static str),
    /// The library was built without the feature `download`.
    NotBuilt,
}

impl Offline {
    /// The reason, and how to get files all the same.
    pub(super) fn what_to_do(self) -> String {
        match self {
            Self::Asked => "--offline is given; leave it out once, with a net".to_owned(),
            Self::Variable(variable) => format!("{variable} is set; unset it once, with a net"),
            Self::NotBuilt => "this clipn was built without the feature `download`; fetch it with another program, a \
                 repository with `hf download OWNER/NAME` of Python's huggingface_hub, which has the same cache, or give the \
                 path of its file or folder"
                .to_owned(),
        }
    }
}

impl fmt::Display for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("--offline"),
            Self::Variable(variable) => f.write_str(variable),
            Self::NotBuilt => f.write_str("built without the feature `download`"),
        }
    }
}

/// Where files are kept and how they are fetched. The variables are those of Python's huggingface_hub.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Hugging Face's cache of repositories.
    pub cache: PathBuf,
    /// Where libraries keep what comes from elsewhere; clipn's own folder is `clipn` in it.
    pub assets: PathBuf,
    /// Whether files of a snapshot may be symbolic links; where not, or where the system has none, they are hard links
    /// or copies.
    pub symlinks: bool,
    /// Why nothing is fetched, where that is so.
    pub offline: Option<Offline>,
    /// How to reach the hub.
    #[cfg(feature = "download")]
    pub network: Network,
}

impl Settings {
    /// What the environment says: `HF_HUB_CACHE`, `HF_ASSETS_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_HUB_OFFLINE`,
    /// `HF_HUB_DISABLE_SYMLINKS`, and for the net `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, the proxies' variables and
    /// `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// [`DownloadError::Variable`]: a value that cannot be used, or no home folder.
    pub fn from_env() -> Result<Self, DownloadError> {
        Self::from_variables(&|name| std::env::var_os(name))
    }

    /// The same with variables from elsewhere.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_variables(get: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, DownloadError> {
        let variables = Variables::new(get);
        let home = variables.hugging_face_home();
        let inside = |folder: &str| {
            home.as_ref().map(|home| home.join(folder)).ok_or(DownloadError::Variable {
                variable: "HF_HOME",
                problem: "is not set, and there is no home folder; set it to a folder for what is fetched"
                    .to_owned(),
            })
        };
        let named = |names: &[&str]| names.iter().find_map(|name| variables.path(name));
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
            .into_iter()
            .find(|name| variables.is_true(name));
        let built = cfg!(feature = "download");
        Ok(Self {
            cache: named(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
                .map_or_else(|| inside("hub"), Ok)?,
            assets: named(&["HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE"])
                .map_or_else(|| inside("assets"), Ok)?,
            symlinks: !variables.is_true("HF_HUB_DISABLE_SYMLINKS"),
            offline: offline
                .map(Offline::Variable)
                .or((!built).then_some(Offline::NotBuilt)),
            #[cfg(feature = "download")]
            network: Network::from_variables(&variables, home.as_deref())?,
        })
    }

    /// Where files that have an address of their own are kept.
    pub(super) fn own_files(&self) -> PathBuf {
        self.assets.join("clipn").join("weights")
    }

    /// The same, asking nothing of the net.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.offline = self.offline.or(Some(Offline::Asked));
        self
    }
}

/// Variables of the environment. An empty one is none.
pub(super) struct Variables<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl<'a> Variables<'a> {
    pub(super) fn new(get: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self(get)
    }

    pub(super) fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// As huggingface_hub reads flags.
    pub(super) fn is_true(&self, name: &str) -> bool {
        let value = self
            .get(name)
            .map(|value| value.to_string_lossy().to_ascii_uppercase());
        value.is_some_and(|value| matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE"))
    }

    /// A path, of which a leading `~` is the home folder.
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
    fn folders_are_where_python_looks() {
        let is = |variables: &[(&str, &str)], cache: &str, assets: &str| {
            let settings = settings(variables).unwrap();
            assert_eq!(settings.cache, Path::new(cache), "{variables:?}");
            assert_eq!(settings.assets, Path::new(assets), "{variables:?}");
        };
        let home = ("HOME", "/h");
        is(
            &[home],
            "/h/.cache/huggingface/hub",
            "/h/.cache/huggingface/assets",
        );
        let caches = ("XDG_CACHE_HOME", "/x");
        is(
            &[home, caches, ("HF_HOME", "")],
            "/x/huggingface/hub",
            "/x/huggingface/assets",
        );
        is(
            &[home, caches, ("HF_HOME", "~/f")],
            "/h/f/hub",
            "/h/f/assets",
        );
        is(
            &[home, ("HF_HUB_CACHE", "/c")],
            "/c",
            "/h/.cache/huggingface/assets",
        );
        is(
            &[("HF_HUB_CACHE", "/c"), ("HF_ASSETS_CACHE", "/a")],
            "/c",
            "/a",
        );
        assert!(settings(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }

    #[test]
    fn offline_is_told_with_its_reason() {
        let with = |value| {
            settings(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)])
                .unwrap()
                .offline
        };
        assert_eq!(with("1"), Some(Offline::Variable("HF_HUB_OFFLINE")));
        assert_eq!(with("yes"), Some(Offline::Variable("HF_HUB_OFFLINE")));
        let built = (!cfg!(feature = "download")).then_some(Offline::NotBuilt);
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
