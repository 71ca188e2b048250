//! Faults during downloads: broken connections, stalls, changed files and wrong content.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::local_hub::{
    NAME, TestCache, WEIGHTS, assert_content, expect_error, repository, requested_ranges,
    serve_with_storage,
};
use clipn_base::progress::Progress;
use clipn_hub::DownloadError;
use clipn_testing::hub::{COMMIT, Hub, Reply, Server, noise, sha256};

#[test]
fn resumes_broken_connections() {
    let server = serve_with_storage(repository(), |request, _, reply| match request {
        0 => reply.cut(100_000),
        1 => reply.cut(50_000),
        2 => reply.cut(0),
        _ => reply,
    });
    let home = TestCache::for_hub(&server.url());
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    let at = |start: u32| Some(format!("bytes={start}-"));
    assert_eq!(
        requested_ranges(&server),
        [None, at(100_000), at(150_000), at(150_000)]
    );
    home.assert_clean();
}

#[test]
fn retries_after_a_read_timeout() {
    let server = serve_with_storage(repository(), |request, _, reply| match request {
        0 => Reply {
            stall: Duration::from_secs(3),
            ..reply.cut(1000)
        },
        _ => reply,
    });
    let mut home = TestCache::for_hub(&server.url());
    home.settings.network.retry_policy.read_timeout = Duration::from_millis(500);
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(
        requested_ranges(&server),
        [None, Some("bytes=1000-".to_owned())]
    );
}

#[test]
fn next_run_resumes_the_download() {
    let server = serve_with_storage(
        repository(),
        |request, _, reply| if request < 4 { reply.cut(0) } else { reply },
    );
    let server_cut = serve_with_storage(repository(), |request, _, reply| match request {
        0 => reply.cut(120_000),
        _ => Reply::new(503),
    });
    let mut home = TestCache::for_hub(&server_cut.url());
    let error = expect_error(home.fetch(NAME), &["503"]);
    assert!(error.is_transient());
    let incomplete = home.incomplete(&noise(1, 300_000));
    assert_eq!(std::fs::metadata(&incomplete).unwrap().len(), 120_000);
    assert!(
        !home.repository().join("refs/main").exists(),
        "the branch points to an incomplete snapshot"
    );

    home.settings.network.endpoint = server.url();
    expect_error(
        home.fetch(NAME),
        &["closed after 120000 bytes of open_clip_model.safetensors"],
    );
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(
        requested_ranges(&server),
        [const { Some("bytes=120000-") }; 5].map(|range| range.map(str::to_owned))
    );
    home.assert_clean();
}

#[test]
fn verifies_partial_files_of_earlier_runs() {
    let weights = noise(1, 300_000);
    for (left, wanted) in [
        // Other content of the same length, longer and shorter; and the complete file.
        (noise(9, 300_000), vec![None]),
        (noise(9, 400_000), vec![None]),
        (noise(9, 1000), vec![Some("bytes=1000-".to_owned()), None]),
        (weights.clone(), vec![]),
    ] {
        let server = repository().serve();
        let home = TestCache::for_hub(&server.url());
        let incomplete = home.incomplete(&weights);
        std::fs::create_dir_all(incomplete.parent().unwrap()).unwrap();
        std::fs::write(&incomplete, &left).unwrap();
        assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &weights);
        assert_eq!(requested_ranges(&server), wanted);
        home.assert_clean();
    }
}

#[test]
fn restarts_if_the_server_ignores_ranges() {
    let whole = |reply: Reply| {
        Reply::new(200)
            .header("ETag", "\"x\"")
            .body(&noise(1, 300_000))
            .cut(reply.cut.unwrap_or(300_000))
    };
    let server = serve_with_storage(repository(), move |request, _, reply| match request {
        0 => reply.cut(100_000),
        1 => whole(reply.cut(200_000)),
        _ => whole(reply),
    });
    let home = TestCache::for_hub(&server.url());
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(requested_ranges(&server).len(), 3);

    // A server that returns a different range than requested.
    let server = serve_with_storage(repository(), |request, _, reply| match request {
        0 => reply.cut(100_000),
        1 => reply
            .header("Content-Range", "bytes 0-299999/300000")
            .body(&noise(1, 300_000)),
        _ => reply,
    });
    let home = TestCache::for_hub(&server.url());
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(
        requested_ranges(&server),
        [None, Some("bytes=100000-".to_owned()), None]
    );
}

#[test]
fn restarts_if_the_file_changes_during_the_download() {
    // A large file, which is verified by its checksum.
    let server = serve_with_storage(repository(), |request, _, reply| match request {
        0 => reply.header("ETag", "\"other\"").cut(1000),
        1 => Reply::new(206)
            .header("ETag", "\"new\"")
            .header("Content-Range", "bytes 1000-299999/300000")
            .body(&noise(8, 299_000)),
        _ => reply,
    });
    let home = TestCache::for_hub(&server.url());
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(requested_ranges(&server).last(), Some(&None));

    // A small file without a checksum: its metadata are requested again too.
    for honors_ranges in [true, false] {
        let (old, new) = (noise(3, 1500), noise(4, 1500));
        let mut hub = repository();
        hub.files.insert(WEIGHTS.to_owned(), new.clone());
        let before = Hub {
            files: [(WEIGHTS.to_owned(), old)].into(),
            ..hub.clone()
        };
        let gets = AtomicU32::new(0);
        let server = Server::start(move |request| {
            if request.target.ends_with(WEIGHTS) {
                if request.method == "HEAD" && gets.load(Ordering::SeqCst) == 0 {
                    return before.answer(request);
                }
                if request.method == "GET" && gets.fetch_add(1, Ordering::SeqCst) == 0 {
                    return before.answer(request).cut(700);
                }
                if request.method == "GET" && honors_ranges && request.header("range").is_some() {
                    return hub.answer(&request.clone().without("if-range"));
                }
            }
            hub.answer(request)
        });
        let home = TestCache::for_hub(&server.url());
        let fetched = home.fetch(NAME).unwrap();
        assert_content(&fetched, WEIGHTS, &new);
        let blob = std::fs::read_link(fetched.path.join(WEIGHTS)).unwrap();
        assert!(
            blob.ends_with(&sha256(&new)[..40]),
            "the new content is stored under the old ETag"
        );
    }
}

#[test]
fn moved_branch_does_not_mix_two_versions() {
    let cut = serve_with_storage(repository(), |request, _, reply| match request {
        0 => reply.cut(150_000),
        _ => Reply::new(403),
    });
    let mut home = TestCache::for_hub(&cut.url());
    expect_error(home.fetch(NAME), &["403"]);
    let mut newer = Hub {
        commit: COMMIT.replace('0', "f"),
        ..repository()
    };
    newer.files.insert(WEIGHTS.to_owned(), noise(5, 300_000));
    let server = newer.serve();
    home.settings.network.endpoint = server.url();
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(5, 300_000));
    assert_eq!(requested_ranges(&server), [None]);
}

#[test]
fn rejects_and_deletes_wrong_content() {
    let server = serve_with_storage(repository(), |_, _, reply| reply.body(&noise(7, 300_000)));
    let home = TestCache::for_hub(&server.url());
    let error = expect_error(
        home.fetch(NAME),
        &[
            WEIGHTS,
            &sha256(&noise(1, 300_000)),
            &sha256(&noise(7, 300_000)),
            "deleted",
        ],
    );
    assert!(matches!(error, DownloadError::Checksum { .. }));
    assert!(!home.incomplete(&noise(1, 300_000)).exists());
    assert!(
        !home
            .repository()
            .join("snapshots")
            .join(COMMIT)
            .join(WEIGHTS)
            .exists()
    );

    for (announced, body) in [(299_999, 300_000), (300_001, 300_000), (100, 100)] {
        let server = serve_with_storage(repository(), move |_, _, reply| Reply {
            length: Some(announced),
            ..reply.body(&noise(1, body))
        });
        let error = expect_error(
            TestCache::for_hub(&server.url()).fetch(NAME),
            &[WEIGHTS, &announced.to_string(), "300000"],
        );
        assert!(
            matches!(error, DownloadError::LengthMismatch { .. }),
            "{error}"
        );
    }
    // A chunked response without a length that exceeds the size of the file.
    let server = serve_with_storage(repository(), |_, _, reply| {
        let chunk = format!("{:x}\r\n", 400_000);
        let body = [chunk.as_bytes(), &noise(1, 400_000), b"\r\n0\r\n\r\n"].concat();
        Reply {
            length: Some(0),
            ..reply.body(&body).header("Transfer-Encoding", "chunked")
        }
    });
    expect_error(TestCache::for_hub(&server.url()).fetch(NAME), &[WEIGHTS]);
}

#[test]
fn access_errors_name_cause_and_remedy() {
    let refusal = |status: u16, code: &'static str, token: &str| {
        let server = Server::start(move |_| Reply::new(status).header("X-Error-Code", code));
        let variables: &[(&str, &str)] = if token.is_empty() {
            &[]
        } else {
            &[("HF_TOKEN", token)]
        };
        let error = TestCache::with_variables(&server.url(), variables)
            .fetch(NAME)
            .unwrap_err();
        assert_eq!(server.seen().len(), 1, "{error}");
        let text = format!("{error}; {}", error.hint().unwrap_or_default());
        assert!(!text.contains("hf_secret"), "{text}");
        text
    };
    for (status, code, token, parts) in [
        (
            401,
            "",
            "",
            ["no such repository, or it is private", "HF_TOKEN"],
        ),
        (
            401,
            "RepoNotFound",
            "",
            ["no such repository", "check the name"],
        ),
        (401, "", "hf_secret", ["token is invalid", "HF_TOKEN"]),
        (
            401,
            "GatedRepo",
            "",
            ["accept the conditions at http://127.0.0.1", "HF_TOKEN"],
        ),
        (
            403,
            "GatedRepo",
            "hf_secret",
            ["accept the conditions", "the token has read access"],
        ),
        (403, "", "hf_secret", ["access to", "no read access"]),
        (
            404,
            "RepoNotFound",
            "hf_secret",
            ["test/tiny does not exist", "check the name of the model"],
        ),
        (
            404,
            "RevisionNotFound",
            "",
            ["revision `main` of hf-hub:test/tiny", "give a branch"],
        ),
        (418, "", "", ["418", "test/tiny"]),
    ] {
        let error = refusal(status, code, token);
        assert!(
            parts.iter().all(|part| error.contains(part)),
            "{status} {code}: {error}"
        );
    }
    let server = repository().serve();
    expect_error(
        TestCache::for_hub(&server.url()).fetch("hf-hub:test/tiny@v9"),
        &["revision `v9`"],
    );
    expect_error(
        TestCache::for_hub(&server.url()).fetch("hf-hub:test/other"),
        &["hf-hub:test/other does not exist"],
    );
}

#[test]
fn retries_transient_errors() {
    let hub = repository();
    let faults = AtomicU32::new(0);
    let server = Server::start(move |request| match faults.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(500),
        1 => Reply::new(429).header("Retry-After", "0"),
        3 => Reply::new(503),
        5 => Reply::new(502),
        8 => Reply::new(504),
        _ => hub.answer(request),
    });
    let home = TestCache::for_hub(&server.url());
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));

    let down = Server::start(|_| Reply::new(500));
    expect_error(
        TestCache::for_hub(&down.url()).fetch(NAME),
        &["returned status 500"],
    );
    assert_eq!(down.seen().len(), 3);
    expect_error(
        TestCache::for_hub("http://127.0.0.1:1").fetch(NAME),
        &["cannot reach 127.0.0.1:1"],
    );
}

/// Progress that cancels the download after `limit` bytes.
#[derive(Default)]
struct CancelAfter {
    bytes: AtomicU64,
    limit: u64,
    saw_total: AtomicBool,
}

impl Progress for CancelAfter {
    fn begin_bytes(&self, stage: &str, total: u64) {
        assert!(!stage.is_empty());
        self.saw_total.fetch_or(total == 300_000, Ordering::SeqCst);
    }

    fn advance(&self, units: u64) {
        self.bytes.fetch_add(units, Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) >= self.limit
    }
}

#[test]
fn reports_progress_and_keeps_data_when_cancelled() {
    let server = repository().serve();
    let home = TestCache::for_hub(&server.url());
    let progress = CancelAfter {
        limit: 60_000,
        ..CancelAfter::default()
    };
    let error = expect_error(
        home.fetch_with_progress(NAME, &progress),
        &["interrupted", "kept"],
    );
    assert!(matches!(error, DownloadError::Cancelled { .. }));
    assert!(progress.saw_total.load(Ordering::SeqCst));
    let left = std::fs::metadata(home.incomplete(&noise(1, 300_000)))
        .unwrap()
        .len();
    assert!((1..300_000).contains(&left), "{left}");
    server.seen();
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(requested_ranges(&server), [Some(format!("bytes={left}-"))]);
}

#[test]
fn unwritable_cache_is_an_error() {
    let server = repository().serve();
    let home = TestCache::for_hub(&server.url());
    std::fs::write(
        home.directory.path().join("hub"),
        "a file instead of a directory",
    )
    .unwrap();
    expect_error(home.fetch(NAME), &["cannot create directory", "hub"]);
    let certificates =
        TestCache::with_variables(&server.url(), &[("SSL_CERT_FILE", "/nowhere/ca.pem")]);
    expect_error(
        certificates.fetch(NAME),
        &["cannot read certificates /nowhere/ca.pem"],
    );
}

#[test]
fn concurrent_downloads_fetch_once() {
    let server = Arc::new(serve_with_storage(repository(), |_, _, reply| Reply {
        stall: Duration::from_millis(300),
        ..reply
    }));
    let home = Arc::new(TestCache::for_hub(&server.url()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let home = Arc::clone(&home);
            std::thread::spawn(move || home.fetch(NAME).unwrap())
        })
        .collect();
    for thread in threads {
        assert_content(&thread.join().unwrap(), WEIGHTS, &noise(1, 300_000));
    }
    assert_eq!(requested_ranges(&server), [None]);
    home.assert_clean();
}

#[test]
fn concurrent_downloads_without_locks_stay_intact() {
    // Each has its own lock directory, as on file systems without working locks; the blobs are
    // shared.
    let server = Arc::new(serve_with_storage(repository(), |request, _, reply| {
        if request < 2 {
            reply.cut(40_000 * (request as usize + 1))
        } else {
            reply
        }
    }));
    let shared = TestCache::for_hub(&server.url());
    let blobs = shared.repository().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let homes: Vec<_> = (0..3).map(|_| TestCache::for_hub(&server.url())).collect();
    #[cfg(unix)]
    for home in &homes {
        std::fs::create_dir_all(home.repository()).unwrap();
        std::os::unix::fs::symlink(&blobs, home.repository().join("blobs")).unwrap();
    }
    std::thread::scope(|scope| {
        let runs: Vec<_> = homes
            .iter()
            .map(|home| scope.spawn(|| home.fetch(NAME)))
            .collect();
        for run in runs {
            // A download may fail because of the race, but never returns wrong content.
            if let Ok(fetched) = run.join().unwrap() {
                assert_content(&fetched, WEIGHTS, &noise(1, 300_000));
            }
        }
    });
    let home = &homes[0];
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
}
