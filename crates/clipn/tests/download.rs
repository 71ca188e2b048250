//! Weights by name, from a hub on this machine: what is fetched, where it lies, and what goes wrong on the way.
#![allow(clippy::unwrap_used)]

#[path = "common/hub.rs"]
mod hub;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use clipn::download::{DownloadError, Fetched, HubName, Name, Patience, Purpose, Settings, fetch_url};
use clipn::progress::{Progress, Silent};
use hub::{COMMIT, Hub, Reply, Request, Server, content, noise, sha256};
use tempfile::TempDir;

const NAME: &str = "hf-hub:test/tiny";
const WEIGHTS: &str = "open_clip_model.safetensors";
const CONFIG: &str = "open_clip_config.json";
const MODEL: &str = r#"{"model_cfg": {"embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 1},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1}}}"#;

/// A repository of open_clip.
fn repository() -> Hub {
    Hub::new(
        "test/tiny",
        &[("README.md", b"# tiny"), (CONFIG, MODEL.as_bytes()), (WEIGHTS, &noise(1, 300_000))],
    )
}

/// A cache of its own, and a way to a hub.
struct Home {
    folder: TempDir,
    settings: Settings,
}

impl Home {
    fn at(url: &str) -> Self {
        Self::with(url, &[])
    }

    fn with(url: &str, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let get = |name: &str| match name {
            "HF_HOME" => Some(folder.path().into()),
            "HF_ENDPOINT" => Some(url.into()),
            _ => more.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
        };
        let mut settings = Settings::from_variables(&get).unwrap();
        settings.network.patience = Patience {
            connect: Duration::from_secs(5),
            read: Duration::from_millis(500),
            tries: 4,
            pause: Duration::from_millis(1),
        };
        Self { folder, settings }
    }

    fn fetch(&self, name: &str) -> Result<Fetched, DownloadError> {
        self.watched(name, &Silent)
    }

    fn watched(&self, name: &str, progress: &dyn Progress) -> Result<Fetched, DownloadError> {
        named(name).fetch(&self.settings, Purpose::Look, progress)
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("hub/models--test--tiny")
    }

    fn incomplete(&self, bytes: &[u8]) -> PathBuf {
        self.repository().join("blobs").join(format!("{}.incomplete", sha256(bytes)))
    }

    /// Nothing lies beside the cache's folder, and nothing half done or temporary in it.
    #[track_caller]
    fn is_clean(&self) {
        let entries: Vec<_> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(entries.iter().all(|entry| entry == "hub" || entry == "assets"), "{entries:?}");
        let left: Vec<_> = files_below(self.folder.path())
            .into_iter()
            .filter(|path| path.ends_with(".tmp") || path.ends_with(".incomplete"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn named(name: &str) -> Name {
    Name::of(Path::new(name), None).unwrap()
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_below(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

#[track_caller]
fn holds(fetched: &Fetched, file: &str, bytes: &[u8]) {
    assert!(std::fs::read(fetched.path.join(file)).unwrap() == bytes, "{file} has other content");
}

#[track_caller]
fn fails(outcome: Result<Fetched, DownloadError>, parts: &[&str]) -> DownloadError {
    let error = outcome.unwrap_err();
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    error
}

/// A hub whose storage answers as `storage` wants: by the number of the request, from 0, and the right answer.
fn with_storage(hub: Hub, storage: impl Fn(u32, &Request, Reply) -> Reply + Send + Sync + 'static) -> Server {
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

fn ranges(server: &Server) -> Vec<Option<String>> {
    let asked = server.seen().into_iter().filter(|request| request.target.starts_with("/storage/"));
    asked.map(|request| request.header("range").map(str::to_owned)).collect()
}

#[test]
fn a_repository_is_laid_out_as_python_does_and_the_token_stays_at_the_hub() {
    let storage = repository().serve();
    let server = Hub { storage: Some(storage.url()), ..repository() }.serve();
    let home = Home::with(&server.url(), &[("HF_TOKEN", "hf_secret")]);
    let weights = noise(1, 300_000);

    let fetched = home.fetch(NAME).unwrap();
    let snapshot = home.repository().join("snapshots").join(COMMIT);
    assert_eq!(fetched, Fetched { path: snapshot.clone(), model: None, notes: Vec::new() });
    holds(&fetched, WEIGHTS, &weights);
    holds(&fetched, CONFIG, MODEL.as_bytes());
    assert!(!snapshot.join("README.md").exists(), "more was fetched than is needed");
    assert_eq!(std::fs::read_to_string(home.repository().join("refs/main")).unwrap(), COMMIT);
    let target = std::fs::read_link(snapshot.join(WEIGHTS)).unwrap();
    assert_eq!(target, Path::new("../../blobs").join(sha256(&weights)));
    home.is_clean();

    let (of_hub, of_storage) = (server.seen(), storage.seen());
    assert!(of_hub.iter().all(|request| request.header("authorization") == Some("Bearer hf_secret")));
    assert_eq!(of_storage.len(), 1);
    assert_eq!(of_storage[0].header("authorization"), None);
    assert!(of_storage[0].header("user-agent").unwrap().starts_with("clipn/"));

    // Once more: a branch is asked for its commit, a commit is not.
    assert_eq!(home.fetch(NAME).unwrap(), fetched);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(home.fetch(&format!("{NAME}@{COMMIT}")).unwrap(), fetched);
    assert_eq!((server.seen().len(), storage.seen().len()), (0, 0));

    // Other revisions of the same commit fetch nothing again.
    for revision in ["v1.0", "refs/pr/1"] {
        assert_eq!(home.fetch(&format!("{NAME}@{revision}")).unwrap(), fetched);
        assert_eq!(std::fs::read_to_string(home.repository().join("refs").join(revision)).unwrap(), COMMIT);
    }
    assert_eq!(storage.seen().len(), 0);
}

#[test]
fn a_new_commit_shares_what_did_not_change() {
    let server = repository().serve();
    let home = Home::at(&server.url());
    home.fetch(NAME).unwrap();
    let mut newer = Hub { commit: COMMIT.replace('0', "f"), ..repository() };
    newer.files.insert(CONFIG.to_owned(), MODEL.replace("16", "32").into_bytes());
    let commit = newer.commit.clone();
    let server = newer.serve();
    let mut settings = home.settings.clone();
    settings.network.endpoint = server.url();
    let fetched = named(NAME).fetch(&settings, Purpose::Look, &Silent).unwrap();
    assert!(fetched.path.ends_with(&commit));
    holds(&fetched, WEIGHTS, &noise(1, 300_000));
    holds(&fetched, CONFIG, MODEL.replace("16", "32").as_bytes());
    assert_eq!(ranges(&server), [None; 0], "the weights were fetched again");
    assert_eq!(std::fs::read_to_string(home.repository().join("refs/main")).unwrap(), commit);
}

#[test]
fn files_are_copied_where_there_are_no_links() {
    let server = repository().serve();
    let home = Home::with(&server.url(), &[("HF_HUB_DISABLE_SYMLINKS", "1")]);
    let fetched = home.fetch(NAME).unwrap();
    holds(&fetched, WEIGHTS, &noise(1, 300_000));
    assert!(!fetched.path.join(WEIGHTS).is_symlink());
    home.is_clean();
}

#[test]
fn every_kind_of_repository_gives_what_its_weights_need() {
    let weights = noise(2, 5000);
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    let sharded: &[(&str, &[u8])] = &[
        ("config.json", b"{}"),
        ("preprocessor_config.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", &weights),
        ("model-2.safetensors", b"two"),
        ("model-3.safetensors", b"three"),
        ("pytorch_model.bin", b"bin"),
        ("tokenizer.json", b"{}"),
    ];
    let own: &[(&str, &[u8])] = &[("README.md", b""), ("epoch_10.pt", &weights), ("old/epoch_1.pt", b"old")];
    let cases: [(&[(&str, &[u8])], &str, Option<&str>, &[&str]); 3] = [
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
            ],
        ),
        (own, NAME, Some("epoch_10.pt"), &["epoch_10.pt"]),
        (own, "hf-hub:test/tiny/old/epoch_1.pt", Some("old/epoch_1.pt"), &["old/epoch_1.pt"]),
    ];
    for (files, name, opened, kept) in cases {
        let server = Hub::new("test/tiny", files).serve();
        let home = Home::at(&server.url());
        let fetched = home.fetch(name).unwrap();
        let snapshot = home.repository().join("snapshots").join(COMMIT);
        assert_eq!(fetched.path, opened.map_or(snapshot.clone(), |file| snapshot.join(file)));
        let mut found: Vec<_> = files_below(&snapshot)
            .into_iter()
            .map(|path| Path::new(&path).strip_prefix(&snapshot).unwrap().display().to_string())
            .collect();
        found.sort();
        assert_eq!(found, kept);
        for (file, bytes) in files.iter().filter(|(file, _)| kept.contains(file)) {
            assert!(std::fs::read(snapshot.join(file)).unwrap() == *bytes, "{file}");
        }
        assert_eq!(Home { settings: home.settings.clone().offline(), ..home }.fetch(name).unwrap(), fetched);
    }
    let server = Hub::new("test/tiny", &[("a.pt", b"a"), ("b.pt", b"b")]).serve();
    fails(
        Home::at(&server.url()).fetch(NAME),
        &["several weights files", "hf-hub:test/tiny/FILE: a.pt, b.pt"],
    );
    let server = Hub::new("test/tiny", &[("README.md", b"a")]).serve();
    fails(Home::at(&server.url()).fetch(NAME), &["no weights"]);
    let server = repository().serve();
    fails(Home::at(&server.url()).fetch("hf-hub:test/tiny/none.pt"), &["test/tiny/none.pt is not there"]);
}

#[test]
fn what_cannot_be_computed_is_told_before_its_weights_are_fetched() {
    let mut hub = repository();
    hub.files.insert(
        CONFIG.to_owned(),
        MODEL.replace("\"embed_dim\"", "\"init_logit_bias\": -10, \"embed_dim\"").into_bytes(),
    );
    let server = hub.serve();
    let home = Home::at(&server.url());
    let outcome = named(NAME).fetch(&home.settings, Purpose::Compute, &Silent);
    fails(outcome, &["init_logit_bias", "does not compute"]);
    assert_eq!(ranges(&server), [None; 0]);
    home.fetch(NAME).unwrap();
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let server = with_storage(repository(), |request, _, reply| match request {
        0 => reply.cut(100_000),
        1 => reply.cut(50_000),
        2 => reply.cut(0),
        _ => reply,
    });
    let home = Home::at(&server.url());
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    let at = |start: u32| Some(format!("bytes={start}-"));
    assert_eq!(ranges(&server), [None, at(100_000), at(150_000), at(150_000)]);
    home.is_clean();
}

#[test]
fn a_server_that_falls_silent_is_left_and_asked_again() {
    let server = with_storage(repository(), |request, _, reply| match request {
        0 => Reply { stall: Duration::from_secs(3), ..reply.cut(1000) },
        _ => reply,
    });
    let home = Home::at(&server.url());
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(ranges(&server), [None, Some("bytes=1000-".to_owned())]);
}

#[test]
fn the_next_run_goes_on_where_the_last_one_ended() {
    let server =
        with_storage(repository(), |request, _, reply| if request < 4 { reply.cut(0) } else { reply });
    let server_cut = with_storage(repository(), |request, _, reply| match request {
        0 => reply.cut(120_000),
        _ => Reply::new(503),
    });
    let mut home = Home::at(&server_cut.url());
    let error = fails(home.fetch(NAME), &["503"]);
    assert!(error.may_pass());
    let incomplete = home.incomplete(&noise(1, 300_000));
    assert_eq!(std::fs::metadata(&incomplete).unwrap().len(), 120_000);
    assert!(
        !home.repository().join("refs/main").exists(),
        "a snapshot that is not whole is not the branch's"
    );

    home.settings.network.endpoint = server.url();
    fails(home.fetch(NAME), &["broke after 120000 bytes of open_clip_model.safetensors", "try again"]);
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(ranges(&server), [const { Some("bytes=120000-") }; 5].map(|range| range.map(str::to_owned)));
    home.is_clean();
}

#[test]
fn what_an_earlier_run_left_is_not_believed() {
    let weights = noise(1, 300_000);
    for (left, wanted) in [
        // Another content, as long as the whole, longer, shorter; and the whole itself.
        (noise(9, 300_000), vec![None]),
        (noise(9, 400_000), vec![None]),
        (noise(9, 1000), vec![Some("bytes=1000-".to_owned()), None]),
        (weights.clone(), vec![]),
    ] {
        let server = repository().serve();
        let home = Home::at(&server.url());
        let incomplete = home.incomplete(&weights);
        std::fs::create_dir_all(incomplete.parent().unwrap()).unwrap();
        std::fs::write(&incomplete, &left).unwrap();
        holds(&home.fetch(NAME).unwrap(), WEIGHTS, &weights);
        assert_eq!(ranges(&server), wanted);
        home.is_clean();
    }
}

#[test]
fn servers_without_ranges_are_begun_anew() {
    let whole = |reply: Reply| {
        Reply::new(200).header("ETag", "\"x\"").body(&noise(1, 300_000)).cut(reply.cut.unwrap_or(300_000))
    };
    let server = with_storage(repository(), move |request, _, reply| match request {
        0 => reply.cut(100_000),
        1 => whole(reply.cut(200_000)),
        _ => whole(reply),
    });
    let home = Home::at(&server.url());
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(ranges(&server).len(), 3);

    // One that answers with another range than was asked for.
    let server = with_storage(repository(), |request, _, reply| match request {
        0 => reply.cut(100_000),
        1 => reply.header("Content-Range", "bytes 0-299999/300000").body(&noise(1, 300_000)),
        _ => reply,
    });
    let home = Home::at(&server.url());
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(ranges(&server), [None, Some("bytes=100000-".to_owned()), None]);
}

#[test]
fn a_file_that_changes_between_two_parts_is_begun_anew() {
    // A large one, whose checksum decides.
    let server = with_storage(repository(), |request, _, reply| match request {
        0 => reply.header("ETag", "\"other\"").cut(1000),
        1 => Reply::new(206)
            .header("ETag", "\"new\"")
            .header("Content-Range", "bytes 1000-299999/300000")
            .body(&noise(8, 299_000)),
        _ => reply,
    });
    let home = Home::at(&server.url());
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(ranges(&server).last(), Some(&None));

    // A small one, which has no checksum: it is described anew too.
    for honours_ranges in [true, false] {
        let (old, new) = (noise(3, 1500), noise(4, 1500));
        let mut hub = repository();
        hub.files.insert(WEIGHTS.to_owned(), new.clone());
        let before = Hub { files: [(WEIGHTS.to_owned(), old)].into(), ..hub.clone() };
        let gets = AtomicU32::new(0);
        let server = Server::start(move |request| {
            if request.target.ends_with(WEIGHTS) {
                if request.method == "HEAD" && gets.load(Ordering::SeqCst) == 0 {
                    return before.answer(request);
                }
                if request.method == "GET" && gets.fetch_add(1, Ordering::SeqCst) == 0 {
                    return before.answer(request).cut(700);
                }
                if request.method == "GET" && honours_ranges && request.header("range").is_some() {
                    return hub.answer(&request.clone().without("if-range"));
                }
            }
            hub.answer(request)
        });
        let home = Home::at(&server.url());
        let fetched = home.fetch(NAME).unwrap();
        holds(&fetched, WEIGHTS, &new);
        let blob = std::fs::read_link(fetched.path.join(WEIGHTS)).unwrap();
        assert!(blob.ends_with(&sha256(&new)[..40]), "the new content lies under the old name");
    }
}

#[test]
fn a_branch_that_moves_between_two_runs_does_not_mix_them() {
    let cut = with_storage(repository(), |request, _, reply| match request {
        0 => reply.cut(150_000),
        _ => Reply::new(403),
    });
    let mut home = Home::at(&cut.url());
    fails(home.fetch(NAME), &["403"]);
    let mut newer = Hub { commit: COMMIT.replace('0', "f"), ..repository() };
    newer.files.insert(WEIGHTS.to_owned(), noise(5, 300_000));
    let server = newer.serve();
    home.settings.network.endpoint = server.url();
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(5, 300_000));
    assert_eq!(ranges(&server), [None]);
}

#[test]
fn wrong_content_is_told_and_not_kept() {
    let server = with_storage(repository(), |_, _, reply| reply.body(&noise(7, 300_000)));
    let home = Home::at(&server.url());
    let error = fails(
        home.fetch(NAME),
        &[WEIGHTS, &sha256(&noise(1, 300_000)), &sha256(&noise(7, 300_000)), "deleted"],
    );
    assert!(matches!(error, DownloadError::Checksum { .. }));
    assert!(!home.incomplete(&noise(1, 300_000)).exists());
    assert!(!home.repository().join("snapshots").join(COMMIT).join(WEIGHTS).exists());

    for (announced, body) in [(299_999, 300_000), (300_001, 300_000), (100, 100)] {
        let server = with_storage(repository(), move |_, _, reply| Reply {
            length: Some(announced),
            ..reply.body(&noise(1, body))
        });
        let error = fails(Home::at(&server.url()).fetch(NAME), &[WEIGHTS, &announced.to_string(), "300000"]);
        assert!(matches!(error, DownloadError::Length { .. }), "{error}");
    }
    // Longer than it says, without a length.
    let server = with_storage(repository(), |_, _, reply| {
        let chunk = format!("{:x}\r\n", 400_000);
        let body = [chunk.as_bytes(), &noise(1, 400_000), b"\r\n0\r\n\r\n"].concat();
        Reply { length: Some(0), ..reply.body(&body).header("Transfer-Encoding", "chunked") }
    });
    fails(Home::at(&server.url()).fetch(NAME), &[WEIGHTS]);
}

#[test]
fn refusals_say_what_to_do() {
    let refusal = |status: u16, code: &'static str, token: &str| {
        let server = Server::start(move |_| Reply::new(status).header("X-Error-Code", code));
        let variables: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("HF_TOKEN", token)] };
        let error = Home::with(&server.url(), variables).fetch(NAME).unwrap_err();
        assert_eq!(server.seen().len(), 1, "{error}");
        assert!(!error.to_string().contains("hf_secret"));
        error.to_string()
    };
    for (status, code, token, parts) in [
        (401, "", "", ["no such repository, or it is private", "HF_TOKEN"]),
        (401, "RepoNotFound", "", ["no such repository", "check the name"]),
        (401, "", "hf_secret", ["not accepted", "HF_TOKEN"]),
        (401, "GatedRepo", "", ["accept the conditions at http://127.0.0.1", "HF_TOKEN"]),
        (403, "GatedRepo", "hf_secret", ["accept the conditions", "your token may read it"]),
        (403, "", "hf_secret", ["does not allow", "read access"]),
        (404, "RepoNotFound", "hf_secret", ["test/tiny is not there", "no model of that name"]),
        (404, "RevisionNotFound", "", ["the revision `main` of hf-hub:test/tiny", "after the @"]),
        (418, "", "", ["418", "test/tiny"]),
    ] {
        let error = refusal(status, code, token);
        assert!(parts.iter().all(|part| error.contains(part)), "{status} {code}: {error}");
    }
    let server = repository().serve();
    fails(Home::at(&server.url()).fetch("hf-hub:test/tiny@v9"), &["the revision `v9`"]);
    fails(Home::at(&server.url()).fetch("hf-hub:test/other"), &["hf-hub:test/other is not there"]);
}

#[test]
fn passing_faults_pass() {
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
    let home = Home::at(&server.url());
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));

    let down = Server::start(|_| Reply::new(500));
    fails(Home::at(&down.url()).fetch(NAME), &["answered 500", "try again later"]);
    assert_eq!(down.seen().len(), 3);
    fails(Home::at("http://127.0.0.1:1").fetch(NAME), &["cannot reach 127.0.0.1:1", "check the connection"]);
}

#[test]
fn redirects_end_and_keep_to_the_web() {
    for (location, part) in [
        ("/api/models/test/tiny/revision/main", "too many"),
        ("ftp://127.0.0.1/x", "no web address"),
        ("file:///etc/passwd", "cannot be read"),
        ("http://user:word@127.0.0.1/x", "user name"),
    ] {
        let server = Server::start(move |_| Reply::new(302).header("Location", location));
        fails(Home::at(&server.url()).fetch(NAME), &["redirects to", part]);
        assert!(server.seen().len() <= 11);
    }
    // A renamed repository.
    let hub = Hub { repository: "test/new".to_owned(), ..repository() };
    let server = Server::start(move |request| match request.target.contains("test/tiny") {
        true => Reply::new(307).header("Location", &request.target.replace("test/tiny", "test/new")),
        false => hub.answer(request),
    });
    holds(&Home::at(&server.url()).fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
}

#[test]
fn a_token_does_not_come_back_from_elsewhere() {
    let hub = repository();
    let server = Server::start(move |request| match request.target.strip_prefix("/back") {
        Some(target) => hub.answer(&Request { target: target.to_owned(), ..request.clone() }),
        None => hub.answer(request),
    });
    let url = server.url();
    let elsewhere = Server::start(move |request| {
        Reply::new(302).header("Location", &format!("{url}/back{}", request.target))
    });
    let hub = Hub { storage: Some(elsewhere.url()), ..repository() };
    let first = Server::start(move |request| hub.answer(request));
    let home = Home::with(&first.url(), &[("HF_TOKEN", "hf_secret")]);
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    let seen = elsewhere.seen().into_iter().chain(server.seen()).collect::<Vec<_>>();
    assert!(
        seen.len() == 2 && seen.iter().all(|request| request.header("authorization").is_none()),
        "{seen:?}"
    );
}

#[test]
fn offline_asks_nobody() {
    let server = repository().serve();
    let mut home = Home::at(&server.url());
    let online = home.settings.clone();
    home.settings = online.clone().offline();
    fails(
        home.fetch(NAME),
        &["hf-hub:test/tiny is not in the cache", "--offline is given", "leave it out once"],
    );
    let variable = Home::with(&server.url(), &[("HF_HUB_OFFLINE", "1")]);
    fails(variable.fetch(NAME), &["HF_HUB_OFFLINE is set"]);
    assert_eq!(server.seen().len(), 0);

    home.settings = online.clone();
    let fetched = home.fetch(NAME).unwrap();
    server.seen();
    home.settings = online.offline();
    for name in [NAME.to_owned(), format!("{NAME}@{COMMIT}"), format!("{NAME}@main")] {
        assert_eq!(home.fetch(&name).unwrap(), fetched);
    }
    fails(home.fetch("hf-hub:test/tiny@v1.0"), &["hf-hub:test/tiny@v1.0 is not in the cache"]);
    assert_eq!(server.seen().len(), 0);

    // Its blob is gone.
    std::fs::remove_file(home.repository().join("blobs").join(sha256(&noise(1, 300_000)))).unwrap();
    fails(home.fetch(NAME), &["is not in the cache"]);
}

#[test]
fn without_a_net_the_cache_serves_and_says_so() {
    let server = repository().serve();
    let mut home = Home::at(&server.url());
    let fetched = home.fetch(NAME).unwrap();
    home.settings.network.endpoint = "http://127.0.0.1:1".to_owned();
    let again = home.fetch(NAME).unwrap();
    assert_eq!(again.path, fetched.path);
    assert!(
        again.notes[0].contains("from the cache") && again.notes[0].contains("127.0.0.1:1"),
        "{:?}",
        again.notes
    );
    // A refusal is no lack of a net.
    let server = Server::start(|_| Reply::new(404));
    home.settings.network.endpoint = server.url();
    fails(home.fetch(NAME), &["is not there"]);
}

/// Lays out a snapshot as huggingface_hub leaves it.
fn python_cache(home: &Home, files: &[(&str, &[u8])]) -> PathBuf {
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
fn what_python_fetched_is_used() {
    let server = repository().serve();
    let weights = noise(1, 300_000);
    let mut home = Home::at(&server.url());
    let snapshot = python_cache(&home, &[(CONFIG, MODEL.as_bytes()), (WEIGHTS, &weights)]);
    let online = home.settings.clone();
    home.settings = online.clone().offline();
    assert_eq!(home.fetch(NAME).unwrap(), Fetched { path: snapshot.clone(), model: None, notes: Vec::new() });
    home.settings = online;
    home.fetch(&format!("{NAME}@{COMMIT}")).unwrap();
    assert_eq!(server.seen().len(), 0);
    home.fetch(NAME).unwrap();
    assert_eq!(ranges(&server), [None; 0]);

    // open_clip fetches no config for its tags: that is told, and made up for.
    let mut home = Home::at(&server.url());
    let snapshot = python_cache(&home, &[(WEIGHTS, &weights)]);
    let online = home.settings.clone();
    home.settings = online.clone().offline();
    let fetched = home.fetch(NAME).unwrap();
    assert!(
        fetched.notes[0].contains(CONFIG) && fetched.notes[0].contains("preprocessing"),
        "{:?}",
        fetched.notes
    );
    home.settings = online;
    assert_eq!(home.fetch(&format!("{NAME}@{COMMIT}")).unwrap().notes, Vec::<String>::new());
    assert!(snapshot.join(CONFIG).is_file());
    assert_eq!(ranges(&server), [None; 0]);

    // Nor is a part of weights in parts all of them.
    let home = Home::at(&server.url());
    python_cache(
        &home,
        &[
            ("config.json", b"{}"),
            ("model.safetensors.index.json", br#"{"weight_map": {"a": "x.safetensors"}}"#),
        ],
    );
    let home = Home { settings: home.settings.clone().offline(), ..home };
    fails(home.fetch(NAME), &["is not in the cache"]);
}

#[test]
fn two_that_want_the_same_fetch_it_once() {
    let server = Arc::new(with_storage(repository(), |_, _, reply| Reply {
        stall: Duration::from_millis(300),
        ..reply
    }));
    let home = Arc::new(Home::at(&server.url()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let home = Arc::clone(&home);
            std::thread::spawn(move || home.fetch(NAME).unwrap())
        })
        .collect();
    for thread in threads {
        holds(&thread.join().unwrap(), WEIGHTS, &noise(1, 300_000));
    }
    assert_eq!(ranges(&server), [None]);
    home.is_clean();
}

#[test]
fn two_without_locks_do_not_mix_what_they_write() {
    // Each has a lock folder of its own, as on file systems whose locks do not hold; the blobs are the same.
    let server = Arc::new(with_storage(repository(), |request, _, reply| {
        if request < 2 { reply.cut(40_000 * (request as usize + 1)) } else { reply }
    }));
    let shared = Home::at(&server.url());
    let blobs = shared.repository().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let homes: Vec<_> = (0..3).map(|_| Home::at(&server.url())).collect();
    #[cfg(unix)]
    for home in &homes {
        std::fs::create_dir_all(home.repository()).unwrap();
        std::os::unix::fs::symlink(&blobs, home.repository().join("blobs")).unwrap();
    }
    std::thread::scope(|scope| {
        let runs: Vec<_> = homes.iter().map(|home| scope.spawn(|| home.fetch(NAME))).collect();
        for run in runs {
            // One that loses the race may have to say so, but never gives wrong content.
            if let Ok(fetched) = run.join().unwrap() {
                holds(&fetched, WEIGHTS, &noise(1, 300_000));
            }
        }
    });
    let home = &homes[0];
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
}

#[test]
fn proxies_are_asked_where_variables_name_them() {
    let server = repository().serve();
    let proxy = Server::proxy();
    let through = Home::with(&server.url(), &[("HTTP_PROXY", &proxy.url())]);
    holds(&through.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    let seen = proxy.seen();
    assert!(!seen.is_empty() && seen.iter().all(|request| request.method == "CONNECT"), "{seen:?}");
    let past =
        Home::with(&server.url(), &[("ALL_PROXY", &proxy.url()), ("NO_PROXY", "localhost,127.0.0.0/8")]);
    past.fetch(NAME).unwrap();
    assert_eq!(proxy.seen(), []);
    let dead = Home::with(&server.url(), &[("all_proxy", "http://127.0.0.1:1")]);
    server.seen();
    fails(dead.fetch(NAME), &["cannot reach", "HTTPS_PROXY"]);
    assert_eq!(server.seen(), []);
}

#[test]
fn hostile_answers_write_nothing_outside_the_cache() {
    let listing = |sha: &str, file: &str| {
        serde_json::json!({ "sha": sha, "siblings": [{ "rfilename": file }, { "rfilename": WEIGHTS }] })
            .to_string()
    };
    // Names of files and commits.
    for (sha, file) in [
        (COMMIT, "../../../../evil.safetensors"),
        (COMMIT, "/tmp/evil.safetensors"),
        (COMMIT, "..\\evil.safetensors"),
        ("../../../evil", WEIGHTS),
        ("..", WEIGHTS),
        ("", WEIGHTS),
        ("0123", WEIGHTS),
    ] {
        let body = listing(sha, file);
        let hub = repository();
        let server = Server::start(move |request| match request.target.starts_with("/api/") {
            true => Reply::new(200).body(body.as_bytes()),
            false => hub.answer(request),
        });
        let home = Home::at(&server.url());
        match home.fetch(NAME) {
            Ok(fetched) => holds(&fetched, WEIGHTS, &noise(1, 300_000)),
            Err(error) => assert!(matches!(error, DownloadError::NotAHub { .. }), "{error}"),
        }
        assert!(server.seen().iter().all(|request| !request.target.contains("evil")));
        home.is_clean_of("evil");
    }
    // Etags, which name blobs.
    for etag in ["../../../evil", "/tmp/evil", "..", ".", "", "a/b", "evil\\x", &"a".repeat(400)] {
        let etag = format!("\"{etag}\"");
        let hub = repository();
        let server = Server::start(move |request| match request.method.as_str() {
            "HEAD" => Reply::new(200).header("ETag", &etag),
            _ => hub.answer(request),
        });
        let home = Home::at(&server.url());
        fails(home.fetch(NAME), &["no usable ETag"]);
        home.is_clean_of("evil");
    }
    // Parts of weights.
    for part in ["../../../evil.safetensors", "/tmp/evil.safetensors", "sub/evil.safetensors"] {
        let index = serde_json::json!({ "weight_map": { "a": part } }).to_string();
        let server = Hub::new(
            "test/tiny",
            &[("config.json", b"{}"), ("model.safetensors.index.json", index.as_bytes())],
        )
        .serve();
        let home = Home::at(&server.url());
        fails(home.fetch(NAME), &["must be a file in the same folder"]);
        home.is_clean_of("evil");
    }
    // What is larger than it can be.
    let big = vec![b' '; (4 << 20) + 1];
    let mut hub = repository();
    hub.files.insert(CONFIG.to_owned(), big);
    let server = Hub { large: usize::MAX, ..hub }.serve();
    fails(Home::at(&server.url()).fetch(NAME), &[CONFIG, "may have 4194304"]);
    let server = Server::start(|_| Reply::new(200).body(&vec![b' '; (32 << 20) + 1]));
    fails(Home::at(&server.url()).fetch(NAME), &["may have 33554432"]);
    let server = Server::start(|_| Reply::new(200).body(b"<html>"));
    fails(
        Home::at(&server.url()).fetch(NAME),
        &["does not answer as Hugging Face's hub does", "HF_ENDPOINT"],
    );
}

impl Home {
    #[track_caller]
    fn is_clean_of(&self, name: &str) {
        self.is_clean();
        assert!(files_below(self.folder.path()).iter().all(|path| !path.contains(name)));
        assert!(!self.folder.path().with_file_name(name).exists());
    }
}

#[test]
fn files_from_elsewhere_are_kept_by_their_checksum() {
    let weights = noise(6, 200_000);
    let bytes = weights.clone();
    let count = AtomicU32::new(0);
    let server = Server::start(move |request| {
        let reply = content(request, &bytes, "elsewhere");
        if count.fetch_add(1, Ordering::SeqCst) == 0 { reply.cut(70_000) } else { reply }
    });
    let home = Home::with(&server.url(), &[("HF_TOKEN", "hf_secret")]);
    let other = Server::start(|_| Reply::new(200).body(b"something else"));
    let sha = sha256(&weights);
    let url = format!("{}/models/{sha}/ViT-T.pt", server.url());
    let path = fetch_url(&url, &sha, &home.settings, &Silent).unwrap();
    assert_eq!(path, home.folder.path().join("assets/clipn/weights").join(&sha).join("ViT-T.pt"));
    assert!(std::fs::read(&path).unwrap() == weights);
    let seen = server.seen();
    assert_eq!(
        seen.iter().map(|request| request.header("range")).collect::<Vec<_>>(),
        [None, Some("bytes=70000-")]
    );
    fetch_url(&url, &sha, &home.settings, &Silent).unwrap();
    assert_eq!(server.seen(), []);
    home.is_clean();

    let url = format!("{}/{}/x.pt", other.url(), sha256(b"x"));
    let error = fetch_url(&url, &sha256(b"x"), &home.settings, &Silent).unwrap_err().to_string();
    assert!(error.contains("x.pt came damaged"), "{error}");
    assert_eq!(other.seen()[0].header("authorization"), None);
    home.is_clean();
    // All of it is there, but an earlier run could not say so.
    let place = home.folder.path().join("assets/clipn/weights").join(&sha);
    std::fs::rename(place.join("ViT-T.pt"), place.join("ViT-T.pt.incomplete")).unwrap();
    let url = format!("{}/models/{sha}/ViT-T.pt", server.url());
    fetch_url(&url, &sha, &home.settings, &Silent).unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn tags_are_repositories_and_files() {
    let repository = Hub { repository: "laion/CLIP-ViT-B-16-laion2B-s34B-b88K".to_owned(), ..repository() };
    let server = repository.serve();
    let home = Home::at(&server.url());
    let tag = |tag: &str| Name::of(Path::new(tag), Some("ViT-B-16")).unwrap();
    let fetched = tag("laion2b_s34b_b88k").fetch(&home.settings, Purpose::Look, &Silent).unwrap();
    assert_eq!(fetched.model, Some("ViT-B-16"));
    holds(&fetched, WEIGHTS, &noise(1, 300_000));
    let settings = home.settings.clone().offline();
    let outcome = tag("openai").fetch(&settings, Purpose::Look, &Silent);
    fails(outcome, &["ViT-B-16-quickgelu openai", "ViT-B-16.pt", "is not in the cache", "--offline"]);
}

/// Stops after so many bytes.
#[derive(Default)]
struct Impatient {
    bytes: AtomicU64,
    patience: u64,
    saw_total: AtomicBool,
}

impl Progress for Impatient {
    fn begin_bytes(&self, stage: &str, total: u64) {
        assert!(!stage.is_empty());
        self.saw_total.fetch_or(total == 300_000, Ordering::SeqCst);
    }

    fn advance(&self, units: u64) {
        self.bytes.fetch_add(units, Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) >= self.patience
    }
}

#[test]
fn progress_is_told_and_a_stop_keeps_what_came() {
    let server = repository().serve();
    let home = Home::at(&server.url());
    let impatient = Impatient { patience: 60_000, ..Impatient::default() };
    let error = fails(home.watched(NAME, &impatient), &["interrupted", "kept"]);
    assert!(matches!(error, DownloadError::Cancelled { .. }));
    assert!(impatient.saw_total.load(Ordering::SeqCst));
    let left = std::fs::metadata(home.incomplete(&noise(1, 300_000))).unwrap().len();
    assert!((1..300_000).contains(&left), "{left}");
    server.seen();
    holds(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    assert_eq!(ranges(&server), [Some(format!("bytes={left}-"))]);
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let server = repository().serve();
    let home = Home::at(&server.url());
    std::fs::write(home.folder.path().join("hub"), "a file where a folder should be").unwrap();
    fails(home.fetch(NAME), &["hub", "HF_HOME"]);
    let certificates = Home::with(&server.url(), &[("SSL_CERT_FILE", "/nowhere/ca.pem")]);
    fails(certificates.fetch(NAME), &["read the certificates /nowhere/ca.pem"]);
}

#[test]
fn names_stand_for_themselves() {
    let name = HubName::parse("hf-hub:test/tiny@v1.0").unwrap();
    assert_eq!(named("hf-hub:test/tiny@v1.0"), Name::Hub(name));
}
