//! Weights by name from a local hub: which files are fetched, and how the cache is shared with
//! other programs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::local_hub::{
    CONFIG, MODEL, NAME, TestCache, WEIGHTS, assert_content, expect_error, files_under, named,
    repository, requested_ranges,
};
use clipn_hub::{DownloadError, FetchPurpose, HubName, WeightsName, fetch_url};
use clipn_testing::hub::{COMMIT, Hub, Reply, Server, content, noise, sha256};

#[test]
fn cache_layout_matches_huggingface_hub_and_the_token_stays_at_the_hub() {
    let storage = repository().serve();
    let server = Hub {
        storage: Some(storage.url()),
        ..repository()
    }
    .serve();
    let home = TestCache::with_variables(&server.url(), &[("HF_TOKEN", "hf_secret")]);
    let weights = noise(1, 300_000);

    let fetched = home.fetch(NAME).unwrap();
    let snapshot = home.repository().join("snapshots").join(COMMIT);
    assert_eq!(fetched.path, snapshot);
    assert_eq!((fetched.model, &fetched.notes), (None, &Vec::new()));
    assert_content(&fetched, WEIGHTS, &weights);
    assert_content(&fetched, CONFIG, MODEL.as_bytes());
    assert!(
        !snapshot.join("README.md").exists(),
        "an unneeded file was fetched"
    );
    assert_eq!(
        std::fs::read_to_string(home.repository().join("refs/main")).unwrap(),
        COMMIT
    );
    let target = std::fs::read_link(snapshot.join(WEIGHTS)).unwrap();
    assert_eq!(target, Path::new("../../blobs").join(sha256(&weights)));
    home.assert_clean();

    let (hub_requests, storage_requests) = (server.seen(), storage.seen());
    assert!(
        hub_requests
            .iter()
            .all(|request| request.header("authorization") == Some("Bearer hf_secret"))
    );
    assert_eq!(storage_requests.len(), 1);
    assert_eq!(storage_requests[0].header("authorization"), None);
    assert!(
        storage_requests[0]
            .header("user-agent")
            .unwrap()
            .starts_with("clipn/")
    );

    // On the second fetch, a branch is resolved again, a commit is not.
    assert_eq!(home.fetch(NAME).unwrap(), fetched);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(home.fetch(&format!("{NAME}@{COMMIT}")).unwrap(), fetched);
    assert_eq!((server.seen().len(), storage.seen().len()), (0, 0));

    // Other revisions that point to the same commit download nothing.
    for revision in ["v1.0", "refs/pr/1"] {
        assert_eq!(home.fetch(&format!("{NAME}@{revision}")).unwrap(), fetched);
        assert_eq!(
            std::fs::read_to_string(home.repository().join("refs").join(revision)).unwrap(),
            COMMIT
        );
    }
    assert_eq!(storage.seen().len(), 0);
}

#[test]
fn new_commits_share_unchanged_blobs() {
    let server = repository().serve();
    let home = TestCache::for_hub(&server.url());
    home.fetch(NAME).unwrap();
    let mut newer = Hub {
        commit: COMMIT.replace('0', "f"),
        ..repository()
    };
    newer
        .files
        .insert(CONFIG.to_owned(), MODEL.replace("16", "32").into_bytes());
    let commit = newer.commit.clone();
    let server = newer.serve();
    let mut settings = home.settings.clone();
    settings.network.endpoint = server.url();
    let fetched = named(NAME).fetch(&settings, FetchPurpose::Inspect).unwrap();
    assert!(fetched.path.ends_with(&commit));
    assert_content(&fetched, WEIGHTS, &noise(1, 300_000));
    assert_content(&fetched, CONFIG, MODEL.replace("16", "32").as_bytes());
    assert_eq!(
        requested_ranges(&server),
        [None; 0],
        "the weights were fetched again"
    );
    assert_eq!(
        std::fs::read_to_string(home.repository().join("refs/main")).unwrap(),
        commit
    );
}

#[test]
fn files_are_copied_without_symlinks() {
    let server = repository().serve();
    let home = TestCache::with_variables(&server.url(), &[("HF_HUB_DISABLE_SYMLINKS", "1")]);
    let fetched = home.fetch(NAME).unwrap();
    assert_content(&fetched, WEIGHTS, &noise(1, 300_000));
    assert!(!fetched.path.join(WEIGHTS).is_symlink());
    home.assert_clean();
}

#[test]
fn fetches_the_files_that_each_layout_needs() {
    let weights = noise(2, 5000);
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    let sharded: &[(&str, &[u8])] = &[
        ("config.json", b"{}"),
        ("preprocessor_config.json", b"{}"),
        ("processor_config.json", b"{\"image_processor\": {}}"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", &weights),
        ("model-2.safetensors", b"two"),
        ("model-3.safetensors", b"three"),
        ("pytorch_model.bin", b"bin"),
        ("tokenizer.json", b"{}"),
    ];
    let own: &[(&str, &[u8])] = &[
        ("README.md", b""),
        ("epoch_10.pt", &weights),
        ("old/epoch_1.pt", b"old"),
    ];
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let nested: &[(&str, &[u8])] = &[
        (
            "x/model.safetensors.index.json",
            br#"{"weight_map": {"a": "part.safetensors"}}"#,
        ),
        ("x/part.safetensors", &weights),
        ("x/other.safetensors", b"other"),
    ];
    let cases: [(Files<'_>, &str, Option<&str>, &[&str]); 4] = [
        (
            nested,
            "hf-hub:test/tiny/x/model.safetensors.index.json",
            Some("x/model.safetensors.index.json"),
            &["x/model.safetensors.index.json", "x/part.safetensors"],
        ),
        (
            sharded,
            NAME,
            None,
            &[
                "config.json",
                "model-1.safetensors",
                "model-2.safetensors",
                "model.safetensors.index.json",
                "preprocessor_config.json",
                "processor_config.json",
            ],
        ),
        (own, NAME, Some("epoch_10.pt"), &["epoch_10.pt"]),
        (
            own,
            "hf-hub:test/tiny/old/epoch_1.pt",
            Some("old/epoch_1.pt"),
            &["old/epoch_1.pt"],
        ),
    ];
    for (files, name, opened, kept) in cases {
        let server = Hub::new("test/tiny", files).serve();
        let home = TestCache::for_hub(&server.url());
        let fetched = home.fetch(name).unwrap();
        let snapshot = home.repository().join("snapshots").join(COMMIT);
        assert_eq!(
            fetched.path,
            opened.map_or(snapshot.clone(), |file| snapshot.join(file))
        );
        let mut found: Vec<_> = files_under(&snapshot)
            .into_iter()
            .map(|path| {
                Path::new(&path)
                    .strip_prefix(&snapshot)
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect();
        found.sort();
        assert_eq!(found, kept);
        for (file, bytes) in files.iter().filter(|(file, _)| kept.contains(file)) {
            assert!(
                std::fs::read(snapshot.join(file)).unwrap() == *bytes,
                "{file}"
            );
        }
        assert_eq!(
            TestCache {
                settings: home.settings.clone().without_downloads(),
                ..home
            }
            .fetch(name)
            .unwrap(),
            fetched
        );
    }
    let server = Hub::new("test/tiny", &[("a.pt", b"a"), ("b.pt", b"b")]).serve();
    expect_error(
        TestCache::for_hub(&server.url()).fetch(NAME),
        &[
            "several weights files",
            "hf-hub:test/tiny: a.pt, b.pt",
            "hf-hub:test/tiny/FILE",
        ],
    );
    let server = Hub::new("test/tiny", &[("README.md", b"a")]).serve();
    expect_error(
        TestCache::for_hub(&server.url()).fetch(NAME),
        &["no weights"],
    );
    let server = repository().serve();
    expect_error(
        TestCache::for_hub(&server.url()).fetch("hf-hub:test/tiny/none.pt"),
        &["test/tiny/none.pt does not exist"],
    );
}

#[test]
fn rejects_unsupported_models_before_fetching_weights() {
    let mut hub = repository();
    hub.files.insert(
        CONFIG.to_owned(),
        MODEL
            .replace("\"embed_dim\"", "\"init_logit_bias\": -10, \"embed_dim\"")
            .into_bytes(),
    );
    let server = hub.serve();
    let home = TestCache::for_hub(&server.url());
    let outcome = named(NAME).fetch(&home.settings, FetchPurpose::Compute);
    expect_error(outcome, &["init_logit_bias", "unsupported"]);
    assert_eq!(requested_ranges(&server), [None; 0]);
    home.fetch(NAME).unwrap();

    let weights = noise(2, 5000);
    let of_transformers = |config: &[u8]| {
        let server = Hub::new(
            "test/tiny",
            &[("config.json", config), ("model.safetensors", &weights)],
        )
        .serve();
        named(NAME).fetch(
            &TestCache::for_hub(&server.url()).settings,
            FetchPurpose::Compute,
        )
    };
    expect_error(
        of_transformers(br#"{"model_type": "siglip"}"#),
        &["config.json", "siglip"],
    );
    // A config that is not from `transformers` does not describe the weights.
    of_transformers(br#"{"epochs": 3}"#).unwrap();
}

#[test]
fn offline_mode_sends_no_requests() {
    let server = repository().serve();
    let mut home = TestCache::for_hub(&server.url());
    let online = home.settings.clone();
    home.settings = online.clone().without_downloads();
    expect_error(
        home.fetch(NAME),
        &[
            "hf-hub:test/tiny is not in the cache",
            "downloads are disabled: offline mode is on",
        ],
    );
    let variable = TestCache::with_variables(&server.url(), &[("HF_HUB_OFFLINE", "1")]);
    expect_error(variable.fetch(NAME), &["HF_HUB_OFFLINE is set"]);
    assert_eq!(server.seen().len(), 0);

    home.settings = online.clone();
    let fetched = home.fetch(NAME).unwrap();
    server.seen();
    home.settings = online.without_downloads();
    for name in [
        NAME.to_owned(),
        format!("{NAME}@{COMMIT}"),
        format!("{NAME}@main"),
    ] {
        assert_eq!(home.fetch(&name).unwrap(), fetched);
    }
    expect_error(
        home.fetch("hf-hub:test/tiny@v1.0"),
        &["hf-hub:test/tiny@v1.0 is not in the cache"],
    );
    assert_eq!(server.seen().len(), 0);

    // A snapshot without its blob is incomplete.
    std::fs::remove_file(
        home.repository()
            .join("blobs")
            .join(sha256(&noise(1, 300_000))),
    )
    .unwrap();
    #[cfg(unix)]
    expect_error(home.fetch(NAME), &["a link that leads nowhere"]);
}

#[test]
fn falls_back_to_the_cache_with_a_note() {
    let server = repository().serve();
    let mut home = TestCache::for_hub(&server.url());
    let fetched = home.fetch(NAME).unwrap();
    home.settings.network.endpoint = "http://127.0.0.1:1".to_owned();
    let again = home.fetch(NAME).unwrap();
    assert_eq!(again.path, fetched.path);
    assert!(
        again.notes[0].contains("using the cached copy") && again.notes[0].contains("127.0.0.1:1"),
        "{:?}",
        again.notes
    );
    // An error response of the hub is not a network failure.
    let server = Server::start(|_| Reply::new(404));
    home.settings.network.endpoint = server.url();
    expect_error(home.fetch(NAME), &["does not exist"]);
}

/// Creates a snapshot in the layout of huggingface_hub.
pub(crate) fn python_cache(home: &TestCache, files: &[(&str, &[u8])]) -> PathBuf {
    let root = home.repository();
    let snapshot = root.join("snapshots").join(COMMIT);
    for folder in [root.join("blobs"), root.join("refs"), snapshot.clone()] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(root.join("refs/main"), COMMIT).unwrap();
    for (file, bytes) in files {
        let blob = sha256(bytes);
        std::fs::write(root.join("blobs").join(&blob), bytes).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(format!("../../blobs/{blob}"), snapshot.join(file)).unwrap();
        #[cfg(not(unix))]
        std::fs::write(snapshot.join(file), bytes).unwrap();
    }
    snapshot
}

#[test]
fn uses_files_cached_by_huggingface_hub() {
    let server = repository().serve();
    let weights = noise(1, 300_000);
    let mut home = TestCache::for_hub(&server.url());
    let snapshot = python_cache(&home, &[(CONFIG, MODEL.as_bytes()), (WEIGHTS, &weights)]);
    let online = home.settings.clone();
    home.settings = online.clone().without_downloads();
    let fetched = home.fetch(NAME).unwrap();
    assert_eq!(fetched.path, snapshot);
    assert_eq!((fetched.model, fetched.notes), (None, Vec::new()));
    home.settings = online;
    home.fetch(&format!("{NAME}@{COMMIT}")).unwrap();
    assert_eq!(server.seen().len(), 0);
    home.fetch(NAME).unwrap();
    assert_eq!(requested_ranges(&server), [None; 0]);

    // open_clip fetches no config for its tags: offline that is a note, online the config is
    // fetched.
    let mut home = TestCache::for_hub(&server.url());
    let snapshot = python_cache(&home, &[(WEIGHTS, &weights)]);
    let online = home.settings.clone();
    home.settings = online.clone().without_downloads();
    let fetched = home.fetch(NAME).unwrap();
    assert!(
        fetched.notes[0].contains(CONFIG) && fetched.notes[0].contains("preprocessing"),
        "{:?}",
        fetched.notes
    );
    home.settings = online;
    assert_eq!(
        home.fetch(&format!("{NAME}@{COMMIT}")).unwrap().notes,
        Vec::<String>::new()
    );
    assert!(snapshot.join(CONFIG).is_file());
    assert_eq!(requested_ranges(&server), [None; 0]);

    // Sharded weights are incomplete if a shard is missing.
    let home = TestCache::for_hub(&server.url());
    python_cache(
        &home,
        &[
            ("config.json", b"{}"),
            (
                "model.safetensors.index.json",
                br#"{"weight_map": {"a": "x.safetensors"}}"#,
            ),
        ],
    );
    let home = TestCache {
        settings: home.settings.clone().without_downloads(),
        ..home
    };
    expect_error(home.fetch(NAME), &["is not in the cache"]);
}

#[test]
fn files_with_urls_are_stored_by_checksum() {
    let weights = noise(6, 200_000);
    let bytes = weights.clone();
    let count = AtomicU32::new(0);
    let server = Server::start(move |request| {
        let reply = content(request, &bytes, "elsewhere");
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.cut(70_000)
        } else {
            reply
        }
    });
    let home = TestCache::with_variables(&server.url(), &[("HF_TOKEN", "hf_secret")]);
    let other = Server::start(|_| Reply::new(200).body(b"something else"));
    let sha = sha256(&weights);
    let url = format!("{}/models/{sha}/ViT-T.pt", server.url());
    let path = fetch_url(&url, &sha, &home.settings).unwrap();
    assert_eq!(
        path,
        home.directory
            .path()
            .join("assets/clipn/weights")
            .join(&sha)
            .join("ViT-T.pt")
    );
    assert!(std::fs::read(&path).unwrap() == weights);
    let seen = server.seen();
    assert_eq!(
        seen.iter()
            .map(|request| request.header("range"))
            .collect::<Vec<_>>(),
        [None, Some("bytes=70000-")]
    );
    fetch_url(&url, &sha, &home.settings).unwrap();
    assert_eq!(server.seen(), []);
    home.assert_clean();
    // What is not cached is not requested without downloads, and no name leads out of the cache.
    let offline = home.settings.clone().without_downloads();
    assert_eq!(fetch_url(&url, &sha, &offline).unwrap(), path);
    let missing = fetch_url(&url, &sha256(b"y"), &offline).unwrap_err();
    assert!(
        matches!(missing, DownloadError::NotCached { .. }),
        "{missing}"
    );
    for (url, sha) in [
        (&*url, "../.."),
        (&format!("{}/", server.url()), &*sha),
        (&format!("{}/..", server.url()), &*sha),
    ] {
        let error = fetch_url(url, sha, &home.settings).unwrap_err();
        assert!(matches!(error, DownloadError::InvalidUrl { .. }), "{error}");
    }
    assert_eq!(server.seen(), []);

    let url = format!("{}/{}/x.pt", other.url(), sha256(b"x"));
    let error = fetch_url(&url, &sha256(b"x"), &home.settings)
        .unwrap_err()
        .to_string();
    assert!(error.contains("SHA-256 mismatch of x.pt"), "{error}");
    assert_eq!(other.seen()[0].header("authorization"), None);
    home.assert_clean();
    // A complete file that an earlier run did not rename is verified with one request.
    let directory = home
        .directory
        .path()
        .join("assets/clipn/weights")
        .join(&sha);
    std::fs::rename(
        directory.join("ViT-T.pt"),
        directory.join("ViT-T.pt.incomplete"),
    )
    .unwrap();
    let url = format!("{}/models/{sha}/ViT-T.pt", server.url());
    fetch_url(&url, &sha, &home.settings).unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn tags_resolve_to_repositories_and_urls() {
    let repository = Hub {
        repository: "laion/CLIP-ViT-B-16-laion2B-s34B-b88K".to_owned(),
        ..repository()
    };
    let server = repository.serve();
    let home = TestCache::for_hub(&server.url());
    let tag = |tag: &str| WeightsName::parse(tag, Some("ViT-B-16")).unwrap();
    let fetched = tag("laion2b_s34b_b88k")
        .fetch(&home.settings, FetchPurpose::Inspect)
        .unwrap();
    assert_eq!(fetched.model, Some("ViT-B-16"));
    assert_content(&fetched, WEIGHTS, &noise(1, 300_000));
    let settings = home.settings.without_downloads();
    let outcome = tag("openai").fetch(&settings, FetchPurpose::Inspect);
    expect_error(
        outcome,
        &[
            "ViT-B-16-quickgelu openai",
            "ViT-B-16.pt",
            "is not in the cache",
            "offline mode",
        ],
    );
}

#[test]
fn parses_repository_names() {
    let name = HubName::parse("hf-hub:test/tiny@v1.0").unwrap();
    assert_eq!(named("hf-hub:test/tiny@v1.0"), WeightsName::Hub(name));
}
