//! Download tests: a temporary cache, and local hubs to fill it from.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clipn_base::progress::{NoProgress, Progress};
use clipn_hub::{DownloadError, FetchedWeights, Name, Purpose, RetryPolicy, Settings};
use clipn_testing::hub::{Hub, Reply, Request, Server, noise, sha256};
use tempfile::TempDir;

pub const NAME: &str = "hf-hub:test/tiny";
pub const WEIGHTS: &str = "open_clip_model.safetensors";
pub const CONFIG: &str = "open_clip_config.json";
pub const MODEL: &str = r#"{"model_cfg": {"embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 1},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1}}}"#;

/// Hub with one repository in the layout of open_clip.
pub fn repository() -> Hub {
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
pub struct Home {
    pub folder: TempDir,
    pub settings: Settings,
}

impl Home {
    pub fn at(url: &str) -> Self {
        Self::with(url, &[])
    }

    pub fn with(url: &str, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let get = |name: &str| match name {
            "HF_HOME" => Some(folder.path().into()),
            "HF_ENDPOINT" => Some(url.into()),
            _ => more
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.into()),
        };
        let mut settings = Settings::from_variables(&get).unwrap();
        settings.network.retry_policy = RetryPolicy {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(20),
            tries: 4,
            pause: Duration::from_millis(1),
        };
        Self { folder, settings }
    }

    pub fn fetch(&self, name: &str) -> Result<FetchedWeights, DownloadError> {
        self.watched(name, &NoProgress)
    }

    pub fn watched(
        &self,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<FetchedWeights, DownloadError> {
        named(name).fetch(&self.settings, Purpose::Look, progress)
    }

    pub fn repository(&self) -> PathBuf {
        self.folder.path().join("hub/models--test--tiny")
    }

    pub fn incomplete(&self, bytes: &[u8]) -> PathBuf {
        self.repository()
            .join("blobs")
            .join(format!("{}.incomplete", sha256(bytes)))
    }

    /// Asserts that there is nothing next to the cache directory, and no incomplete or temporary
    /// file in it.
    #[track_caller]
    pub fn assert_clean(&self) {
        let entries: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert!(
            entries
                .iter()
                .all(|entry| entry == "hub" || entry == "assets"),
            "{entries:?}"
        );
        let leftovers: Vec<_> = files_under(self.folder.path())
            .into_iter()
            .filter(|path| path.ends_with(".tmp") || path.ends_with(".incomplete"))
            .collect();
        assert!(leftovers.is_empty(), "{leftovers:?}");
    }

    /// Asserts that no file of that name is in the cache or next to it.
    #[track_caller]
    pub fn assert_clean_of(&self, name: &str) {
        self.assert_clean();
        assert!(
            files_under(self.folder.path())
                .iter()
                .all(|path| !path.contains(name))
        );
        assert!(!self.folder.path().with_file_name(name).exists());
    }
}

pub fn named(name: &str) -> Name {
    Name::of(Path::new(name), None).unwrap()
}

pub fn files_under(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
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
pub fn holds(fetched: &FetchedWeights, file: &str, bytes: &[u8]) {
    assert!(
        std::fs::read(fetched.path.join(file)).unwrap() == bytes,
        "{file} has unexpected content"
    );
}

#[track_caller]
pub fn fails(outcome: Result<FetchedWeights, DownloadError>, parts: &[&str]) -> DownloadError {
    let error = outcome.unwrap_err();
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    error
}

/// Starts a hub whose storage replies are replaced by `storage`, which receives the request number
/// (from 0), the request and the correct reply.
pub fn with_storage(
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

pub fn ranges(server: &Server) -> Vec<Option<String>> {
    let requests = server
        .seen()
        .into_iter()
        .filter(|request| request.target.starts_with("/storage/"));
    requests
        .map(|request| request.header("range").map(str::to_owned))
        .collect()
}
