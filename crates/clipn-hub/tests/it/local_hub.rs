//! Download tests: a temporary cache, and local hubs to fill it from.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clipn_base::progress::{NoProgress, Progress};
use clipn_hub::{DownloadError, DownloadSettings, FetchPurpose, FetchedWeights, WeightsName};
use clipn_testing::hub::{Hub, Reply, Request, Server, noise, sha256};
use tempfile::TempDir;

pub(crate) const NAME: &str = "hf-hub:test/tiny";
pub(crate) const WEIGHTS: &str = "open_clip_model.safetensors";
pub(crate) const CONFIG: &str = "open_clip_config.json";
pub(crate) const MODEL: &str = r#"{"model_cfg": {"embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 1},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1}}}"#;

/// Hub with one repository in the layout of open_clip.
pub(crate) fn repository() -> Hub {
    Hub::new(
        "test/tiny",
        &[
            ("README.md", b"# tiny"),
            (CONFIG, MODEL.as_bytes()),
            (WEIGHTS, &noise(1, 300_000)),
        ],
    )
}

/// Temporary cache with the settings for a hub.
pub(crate) struct TestCache {
    pub(crate) directory: TempDir,
    pub(crate) settings: DownloadSettings,
}

impl TestCache {
    pub(crate) fn for_hub(url: &str) -> Self {
        Self::with_variables(url, &[])
    }

    pub(crate) fn with_variables(url: &str, more: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let get = |name: &str| match name {
            "HF_HOME" => Some(directory.path().into()),
            "HF_ENDPOINT" => Some(url.into()),
            _ => more
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.into()),
        };
        let mut settings = DownloadSettings::from_lookup(&get).unwrap();
        let retry_policy = &mut settings.network.retry_policy;
        retry_policy.connect_timeout = Duration::from_secs(5);
        retry_policy.read_timeout = Duration::from_secs(20);
        retry_policy.max_attempts = 4;
        retry_policy.initial_backoff = Duration::from_millis(1);
        Self {
            directory,
            settings,
        }
    }

    pub(crate) fn fetch(&self, name: &str) -> Result<FetchedWeights, DownloadError> {
        self.fetch_with_progress(name, &NoProgress)
    }

    pub(crate) fn fetch_with_progress(
        &self,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<FetchedWeights, DownloadError> {
        named(name).fetch_with_progress(&self.settings, FetchPurpose::Inspect, progress)
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.directory.path().join("hub/models--test--tiny")
    }

    pub(crate) fn incomplete(&self, bytes: &[u8]) -> PathBuf {
        self.repository()
            .join("blobs")
            .join(format!("{}.incomplete", sha256(bytes)))
    }

    /// Asserts that there is nothing next to the cache directory, and no incomplete or temporary
    /// file in it.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        let entries: Vec<_> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert!(
            entries
                .iter()
                .all(|entry| entry == "hub" || entry == "assets"),
            "{entries:?}"
        );
        let leftovers: Vec<_> = files_under(self.directory.path())
            .into_iter()
            .filter(|path| path.ends_with(".tmp") || path.ends_with(".incomplete"))
            .collect();
        assert!(leftovers.is_empty(), "{leftovers:?}");
    }

    /// Asserts that no file of that name is in the cache or next to it.
    #[track_caller]
    pub(crate) fn assert_clean_of(&self, name: &str) {
        self.assert_clean();
        assert!(
            files_under(self.directory.path())
                .iter()
                .all(|path| !path.contains(name))
        );
        assert!(!self.directory.path().with_file_name(name).exists());
    }
}

pub(crate) fn named(name: &str) -> WeightsName {
    WeightsName::parse(name, None).unwrap()
}

pub(crate) fn files_under(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_under(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

#[track_caller]
pub(crate) fn assert_content(fetched: &FetchedWeights, file: &str, bytes: &[u8]) {
    assert!(
        std::fs::read(fetched.path.join(file)).unwrap() == bytes,
        "{file} has unexpected content"
    );
}

#[track_caller]
pub(crate) fn expect_error(
    outcome: Result<FetchedWeights, DownloadError>,
    parts: &[&str],
) -> DownloadError {
    let error = outcome.unwrap_err();
    let text = format!("{error}; {}", error.hint().unwrap_or_default());
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    error
}

/// Starts a hub whose storage replies are replaced by `storage`, which receives the request number
/// (from 0), the request and the correct reply.
pub(crate) fn serve_with_storage(
    hub: Hub,
    storage: impl Fn(u32, &Request, Reply) -> Reply + Send + Sync + 'static,
) -> Server {
    let count = AtomicU32::new(0);
    Server::start(move |request| {
        let reply = hub.answer(request);
        if request.target.starts_with("/storage/") {
            storage(count.fetch_add(1, Ordering::SeqCst), request, reply)
        } else {
            reply
        }
    })
}

pub(crate) fn requested_ranges(server: &Server) -> Vec<Option<String>> {
    let requests = server
        .seen()
        .into_iter()
        .filter(|request| request.target.starts_with("/storage/"));
    requests
        .map(|request| request.header("range").map(str::to_owned))
        .collect()
}
