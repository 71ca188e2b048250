//! Inventory of the cache: complete and partial layouts of Hugging Face, and foreign files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clipn_hub::{CacheInventory, DownloadSettings, PretrainedSource, pretrained_tags};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";

/// Cache in a temporary directory.
struct Cache(TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn settings(&self) -> DownloadSettings {
        let home = self.0.path().as_os_str().to_owned();
        DownloadSettings::from_lookup(&|name| (name == "HF_HOME").then(|| OsString::clone(&home)))
            .unwrap()
    }

    fn look(&self) -> CacheInventory {
        CacheInventory::scan(&self.settings()).unwrap()
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Creates a file of a snapshot, on Unix as a symbolic link to its blob.
    fn link(&self, repository: &str, commit: &str, file: &str, bytes: &[u8]) {
        let blob = self.write(
            &format!(
                "hub/{repository}/blobs/{}-{}",
                bytes.len(),
                file.replace('/', "-")
            ),
            bytes,
        );
        let pointer = self
            .0
            .path()
            .join(format!("hub/{repository}/snapshots/{commit}/{file}"));
        std::fs::create_dir_all(pointer.parent().unwrap()).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(blob, pointer).unwrap();
        #[cfg(not(unix))]
        std::fs::copy(blob, pointer).map(drop).unwrap();
    }

    /// Contents of the cache for comparison, without following links.
    fn tree(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        let mut directories = vec![self.0.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    directories.push(entry.path());
                }
                let bytes = kind.is_file().then(|| std::fs::read(entry.path()).unwrap());
                found.insert(entry.path(), bytes);
            }
        }
        found
    }
}

#[test]
fn missing_cache_is_empty() {
    let cache = Cache::new();
    assert_eq!(cache.look(), CacheInventory::default());
    std::fs::create_dir_all(cache.0.path().join("hub/models--a--b/snapshots")).unwrap();
    assert_eq!(cache.look(), CacheInventory::default());
    let cache = Cache::new();
    cache.write("hub", "a file instead of the cache directory");
    cache.write("assets", "a file instead of the assets directory");
    assert_eq!(cache.look(), CacheInventory::default());
}

#[test]
fn lists_revisions_and_files_with_their_tags() {
    let cache = Cache::new();
    let laion = "models--laion--CLIP-ViT-B-16-laion2B-s34B-b88K";
    cache.link(laion, COMMIT, "open_clip_model.safetensors", &[1; 1000]);
    cache.link(laion, COMMIT, "open_clip_config.json", b"{}");
    cache.link(laion, OTHER, "docs/deep/README.md", b"no weights");
    cache.write(&format!("hub/{laion}/refs/main"), COMMIT);
    cache.write(
        &format!("hub/{laion}/refs/refs/pr/1"),
        format!("{COMMIT}\n"),
    );
    cache.write(&format!("hub/{laion}/blobs/abc.incomplete"), [0; 70]);
    cache.link(
        "models--me--mine",
        OTHER,
        "model.safetensors.index.json",
        br#"{"weight_map": {"a": "gone.safetensors"}}"#,
    );
    let openai = pretrained_tags()
        .iter()
        .find(|row| (row.model, row.tag) == ("ViT-B-32-quickgelu", "openai"))
        .unwrap();
    let PretrainedSource::Url { url, sha256 } = openai.source else {
        panic!()
    };
    let name = url.rsplit('/').next().unwrap();
    let file = cache.write(&format!("assets/clipn/weights/{sha256}/{name}"), [3; 30]);
    cache.write(
        &format!("assets/clipn/weights/{sha256}/{name}.incomplete"),
        [3; 5],
    );
    // What a failed download leaves is no weights file.
    cache.write(&format!("assets/clipn/weights/{sha256}/.lock"), []);

    let before = cache.tree();
    let inventory = cache.look();
    assert_eq!(cache.tree(), before, "the scan changed the cache");
    let listed: Vec<_> = inventory
        .weights
        .iter()
        .map(|w| {
            (
                &*w.name,
                &*w.revision,
                w.refs.join(" "),
                w.files,
                w.bytes,
                w.is_complete,
                w.tags.join(", "),
            )
        })
        .collect();
    let repository = "laion/CLIP-ViT-B-16-laion2B-s34B-b88K";
    let openai_tag = "ViT-B-32-quickgelu openai".to_owned();
    assert_eq!(
        listed,
        [
            (name, sha256, String::new(), 1, 30, true, openai_tag),
            (
                repository,
                COMMIT,
                "main refs/pr/1".to_owned(),
                2,
                1002,
                true,
                "ViT-B-16 laion2b_s34b_b88k".to_owned()
            ),
            (
                repository,
                OTHER,
                String::new(),
                1,
                10,
                false,
                String::new()
            ),
            ("me/mine", OTHER, String::new(), 1, 41, false, String::new()),
        ]
    );
    let incomplete = inventory.incomplete;
    assert_eq!((incomplete.files, incomplete.bytes), (2, 75));
    assert_eq!(inventory.weights[0].path, file);
    assert!(
        inventory.weights[1]
            .path
            .join("open_clip_config.json")
            .is_file()
    );

    let cached: Vec<_> = pretrained_tags()
        .iter()
        .filter_map(|row| Some((row.tag, row.cached(&cache.settings())?)))
        .collect();
    assert_eq!(
        cached,
        [
            ("openai", file),
            ("laion2b_s34b_b88k", inventory.weights[1].path.clone())
        ]
    );
}

#[test]
fn ignores_files_outside_the_layout() {
    let cache = Cache::new();
    for folder in [
        "models--a",
        "models--..--..",
        "models----b",
        "models--a--b--c",
        "datasets--a--b",
        "models--a b--c",
        "x",
    ] {
        cache.link(folder, COMMIT, "model.safetensors", b"1234567890");
    }
    for commit in ["main", "..x", &COMMIT[1..], &COMMIT.to_uppercase()] {
        cache.link("models--a--b", commit, "model.safetensors", b"1234567890");
    }
    cache.write("hub/models--c--d", "a file");
    cache.write("hub/models--e--f/snapshots", "a file");
    cache.write(&format!("hub/models--g--h/snapshots/{COMMIT}"), "a file");
    cache.write("hub/version.txt", "1");
    for folder in ["short", "z".repeat(64).as_str(), COMMIT] {
        cache.write(&format!("assets/clipn/weights/{folder}/w.pt"), "1");
    }
    let names: Vec<_> = cache
        .look()
        .weights
        .into_iter()
        .map(|w| (w.name, w.files, w.is_complete))
        .collect();
    assert_eq!(names, [("g/h".to_owned(), 0, false)]);
}

#[test]
fn accepts_only_refs_that_contain_a_commit() {
    let cache = Cache::new();
    cache.link("models--a--b", COMMIT, "model.safetensors", b"1234567890");
    for (name, text) in [
        ("main", COMMIT.to_owned()),
        ("long", COMMIT.repeat(100_000)),
        ("path", "../../etc/passwd".to_owned()),
        ("empty", String::new()),
        ("tail.", COMMIT.to_owned()),
        ("gone", OTHER.to_owned()),
    ] {
        cache.write(&format!("hub/models--a--b/refs/{name}"), text);
    }
    std::fs::create_dir_all(cache.0.path().join("hub/models--a--b/refs/folder/folder")).unwrap();
    assert_eq!(cache.look().weights[0].refs, ["main"]);
}

#[cfg(unix)]
#[test]
fn tolerates_broken_and_cyclic_links() {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;

    let cache = Cache::new();
    cache.link("models--a--b", COMMIT, "model.safetensors", b"1234567890");
    let snapshot = cache
        .0
        .path()
        .join("hub/models--a--b/snapshots")
        .join(COMMIT);
    symlink(&snapshot, snapshot.join("round")).unwrap();
    symlink("/", snapshot.join("root")).unwrap();
    symlink("/dev/zero", snapshot.join("endless.bin")).unwrap();
    symlink("nowhere", snapshot.join("gone.bin")).unwrap();
    symlink("itself", snapshot.join("itself")).unwrap();
    std::fs::write(
        snapshot.join(OsString::from_vec(b"\xff\n\x1b[2J.txt".to_vec())),
        "x",
    )
    .unwrap();
    symlink(
        cache.0.path().join("hub/models--a--b"),
        cache.0.path().join("hub/models--c--d"),
    )
    .unwrap();
    symlink("models--e--f", cache.0.path().join("hub/models--e--f")).unwrap();
    let deep = snapshot.join("d/".repeat(200));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("deep.txt"), "x").unwrap();

    let inventory = cache.look();
    assert_eq!(
        inventory.unreadable,
        [cache.0.path().join("hub/models--e--f/snapshots")]
    );
    let listed: Vec<_> = inventory
        .weights
        .iter()
        .map(|w| (&*w.name, w.files, w.bytes, w.is_complete))
        .collect();
    assert_eq!(listed, [("a/b", 2, 11, true), ("c/d", 2, 11, true)]);
}
