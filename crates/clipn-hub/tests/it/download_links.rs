//! Links in the cache: the shared store of huggingface_hub 2, copies without it, and what is said of
//! links that lead nowhere.
//!
//! The layout is that of huggingface_hub 2.4.0 (`utils/_shared_blobs.py`): a marked directory `blobs/`
//! beside the repositories with `XX/HASH`, read-only, and `XX/HASH.refs`, the list of links to it. The
//! blob of a repository is a relative link to the file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use clipn_hub::{CacheInventory, CachedWeights, DownloadError};
use clipn_testing::hub::{COMMIT, Hub, noise, sha256};

use crate::download::python_cache;
use crate::local_hub::{
    CONFIG, MODEL, NAME, TestCache, WEIGHTS, assert_content, expect_error, repository,
    requested_ranges,
};

/// Hash by which the shared store names the weights, which is not their SHA-256.
const XET_HASH: &str = "5ea1ed000000000000000000000000000000000000000000000000000000beef";

/// Moves a blob of the repository to the shared store, and leaves a link.
fn share(home: &TestCache, bytes: &[u8]) -> PathBuf {
    let store = home.directory.path().join("hub/blobs");
    let prefix = store.join(&XET_HASH[..2]);
    fs::create_dir_all(&prefix).unwrap();
    fs::write(store.join(".huggingface-shared-blobs"), "1\n").unwrap();
    let etag = sha256(bytes);
    let (blob, shared) = (
        home.repository().join("blobs").join(&etag),
        prefix.join(XET_HASH),
    );
    fs::rename(&blob, &shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o444)).unwrap();
    let manifest = format!("models--test--tiny/blobs/{etag}\n");
    fs::write(prefix.join(format!("{XET_HASH}.refs")), manifest).unwrap();
    symlink(format!("../../blobs/{}/{XET_HASH}", &XET_HASH[..2]), &blob).unwrap();
    shared
}

fn offline(home: &TestCache) -> TestCache {
    TestCache {
        directory: tempfile::tempdir().unwrap(),
        settings: home.settings.clone().without_downloads(),
    }
}

fn listed(home: &TestCache) -> Vec<CachedWeights> {
    CacheInventory::scan(&home.settings).unwrap().weights
}

/// Copies a directory as `cp -r` does: links stay links.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn reads_weights_in_the_shared_store_and_never_writes_to_it() {
    let server = repository().serve();
    let weights = noise(1, 300_000);
    let home = TestCache::for_hub(&server.url());
    python_cache(&home, &[(CONFIG, MODEL.as_bytes()), (WEIGHTS, &weights)]);
    let shared = share(&home, &weights);

    let fetched = offline(&home).fetch(NAME).unwrap();
    assert_content(&fetched, WEIGHTS, &weights);
    let found = &listed(&home)[0];
    let bytes = (weights.len() + MODEL.len()) as u64;
    assert_eq!(listed(&home).len(), 1, "the store is no repository");
    assert_eq!(
        (found.files, found.bytes, found.is_complete),
        (2, bytes, true)
    );
    assert_eq!(found.broken_links, 0);

    // Online the link is a complete blob.
    home.fetch(NAME).unwrap();
    assert_eq!(requested_ranges(&server), [None; 0]);

    // A file of the wrong size in the store is not used, and not overwritten.
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&shared, b"of another repository").unwrap();
    fs::remove_file(fetched.path.join(WEIGHTS)).unwrap();
    let again = home.fetch(NAME).unwrap();
    assert_content(&again, WEIGHTS, &weights);
    assert_eq!(fs::read(&shared).unwrap(), b"of another repository");
}

#[test]
fn a_copy_without_the_shared_store_is_named_and_repaired_by_a_download() {
    let server = repository().serve();
    let weights = noise(1, 300_000);
    let home = TestCache::for_hub(&server.url());
    python_cache(&home, &[(CONFIG, MODEL.as_bytes()), (WEIGHTS, &weights)]);
    share(&home, &weights);
    let copied = TestCache::for_hub(&server.url());
    copy(&home.repository(), &copied.repository());

    let error = expect_error(
        offline(&copied).fetch(NAME),
        &[
            "hf-hub:test/tiny: ",
            WEIGHTS,
            "in the cache is a link that leads nowhere: ",
            &format!("/hub/blobs/5e/{XET_HASH} does not exist; downloads are disabled"),
            "cp -rL",
        ],
    );
    let missing = copied.directory.path().join("hub/blobs/5e").join(XET_HASH);
    assert!(
        matches!(&error, DownloadError::BrokenLinks { target, count: 1, .. } if *target == missing),
        "{error:?}"
    );
    let found = &listed(&copied)[0];
    assert_eq!(
        (found.is_complete, found.broken_links, found.files),
        (false, 1, 1)
    );

    let fetched = copied.fetch(NAME).unwrap();
    assert_content(&fetched, WEIGHTS, &weights);
    assert!(!missing.exists(), "the download went through the link");
    assert_eq!(offline(&copied).fetch(NAME).unwrap().path, fetched.path);
    assert!(listed(&copied)[0].is_complete);
}

#[test]
fn a_broken_link_is_not_replaced_by_other_weights_or_another_config() {
    let home = TestCache::for_hub("http://127.0.0.1:1");
    let snapshot = python_cache(
        &home,
        &[
            ("config.json", b"{}"),
            ("processor_config.json", b"{\"image_processor\": {}}"),
            ("pytorch_model.bin", b"older"),
            ("model.safetensors", b"weights"),
        ],
    );
    assert_eq!(offline(&home).fetch(NAME).unwrap().notes, [""; 0]);
    for (file, bytes) in [
        ("model.safetensors", &b"weights"[..]),
        ("processor_config.json", b"{\"image_processor\": {}}"),
    ] {
        let blob = home.repository().join("blobs").join(sha256(bytes));
        fs::remove_file(&blob).unwrap();
        expect_error(
            offline(&home).fetch(NAME),
            &[&format!("{} in the cache", snapshot.join(file).display())],
        );
        let found = &listed(&home)[0];
        assert_eq!(
            (found.is_complete, found.broken_links),
            (false, 1),
            "{file}"
        );
        fs::write(&blob, bytes).unwrap();
    }
}

#[test]
fn the_inventory_agrees_with_offline_use() {
    let home = TestCache::for_hub("http://127.0.0.1:1");
    python_cache(&home, &[(CONFIG, MODEL.as_bytes()), (WEIGHTS, b"weights")]);
    let usable = |name: &str| offline(&home).fetch(name).is_ok();
    assert!(listed(&home)[0].is_complete && usable(NAME));

    // Without `refs` the weights are whole, and their commit is the only name for them.
    fs::remove_dir_all(home.repository().join("refs")).unwrap();
    let found = &listed(&home)[0];
    assert_eq!((found.is_complete, found.refs.len()), (true, 0));
    assert!(usable(&format!("{NAME}@{COMMIT}")));
    let error = expect_error(
        offline(&home).fetch(NAME),
        &[
            "hf-hub:test/tiny is not in the cache",
            &format!("which has the weights of commit {COMMIT}"),
            "OWNER/NAME@COMMIT",
        ],
    );
    assert!(matches!(error, DownloadError::RevisionNotCached { .. }));
}

#[test]
fn the_preprocessing_of_transformers_5_is_missed_when_it_was_never_requested() {
    let older: &[(&str, &[u8])] = &[
        ("config.json", b"{}"),
        ("preprocessor_config.json", b"{}"),
        ("model.safetensors", b"weights"),
    ];
    let server = Hub::new("test/tiny", older).serve();
    let home = TestCache::for_hub(&server.url());
    python_cache(&home, older);
    let notes = offline(&home).fetch(NAME).unwrap().notes;
    assert_eq!(
        notes,
        [
            "processor_config.json is not in the cache; using preprocessor_config.json, which it may \
          override, until it is fetched online"
        ]
    );
    // The list of files that huggingface_hub 2 keeps says that there is none.
    let trees = home.repository().join("trees");
    fs::create_dir(&trees).unwrap();
    let list = |files: &str| {
        let text = format!(r#"{{"format_version": 1, "files": {{{files}}}}}"#);
        fs::write(trees.join(format!("{COMMIT}.json")), text).unwrap();
        offline(&home).fetch(NAME).unwrap().notes.len()
    };
    assert_eq!(list(r#""config.json": {"size": 2}"#), 0);
    assert_eq!(list(r#""processor_config.json": {"size": 2}"#), 1);
    fs::remove_dir_all(trees).unwrap();
    // Neither does the hub have it, which is recorded.
    assert_eq!(home.fetch(NAME).unwrap().notes, [""; 0]);
    assert_eq!(offline(&home).fetch(NAME).unwrap().notes, [""; 0]);

    // A file of that name without an image processor does not stand for the missing one.
    let home = TestCache::for_hub(&server.url());
    let files: &[(&str, &[u8])] = &[
        ("config.json", b"{}"),
        (
            "processor_config.json",
            b"{\"processor_class\": \"CLIPProcessor\"}",
        ),
        ("model.safetensors", b"weights"),
    ];
    python_cache(&home, files);
    assert_eq!(
        offline(&home).fetch(NAME).unwrap().notes,
        [
            "preprocessor_config.json is not in the cache; using the preprocessing of CLIP until it is \
          fetched online"
        ]
    );
}

#[test]
fn leftovers_of_a_killed_download_leave_the_blob_whole() {
    let server = repository().serve();
    let home = TestCache::for_hub(&server.url());
    let fetched = home.fetch(NAME).unwrap();
    let pointer = fetched.path.join(WEIGHTS);
    let weights = fs::read(&pointer).unwrap();
    let target = fs::read_link(&pointer).unwrap();
    fs::remove_file(&pointer).unwrap();
    // Names of earlier versions, which began again with each process of the same id.
    for count in 0..3 {
        let leftover = format!(".{WEIGHTS}.{}.{count}.tmp", std::process::id());
        symlink(&target, fetched.path.join(leftover)).unwrap();
    }
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &weights);
    assert_eq!(fs::read_link(&pointer).unwrap(), target);
    // A file of another origin has the name: it is replaced, not written to.
    let other = home.directory.path().join("other");
    fs::write(&other, "").unwrap();
    fs::remove_file(&pointer).unwrap();
    symlink(&other, &pointer).unwrap();
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &weights);
    assert_eq!(fs::read(&other).unwrap(), b"");
}

#[test]
fn a_blob_that_was_emptied_is_downloaded_again() {
    let server = repository().serve();
    let home = TestCache::for_hub(&server.url());
    let fetched = home.fetch(NAME).unwrap();
    let pointer = fetched.path.join(WEIGHTS);
    let weights = fs::read(&pointer).unwrap();
    fs::File::create(&pointer).map(drop).unwrap();
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &weights);
    assert!(pointer.is_symlink());
}
