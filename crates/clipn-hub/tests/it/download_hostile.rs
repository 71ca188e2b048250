//! Hostile servers: they get no token, write no files outside the cache, and cannot send without
//! limit. Also proxies.

use crate::local_hub::{
    CONFIG, NAME, TestCache, WEIGHTS, assert_content, expect_error, repository,
};
use clipn_hub::DownloadError;
use clipn_testing::hub::{COMMIT, Hub, Reply, Request, Server, noise};

#[test]
fn refuses_unsafe_and_endless_redirects() {
    for (location, part) in [
        ("/api/models/test/tiny/revision/main", "too many redirects"),
        ("ftp://127.0.0.1/x", "not an HTTP URL"),
        ("file:///etc/passwd", "invalid `Location` header"),
        ("http://user:word@127.0.0.1/x", "user name"),
    ] {
        let server = Server::start(move |_| Reply::new(302).header("Location", location));
        expect_error(
            TestCache::for_hub(&server.url()).fetch(NAME),
            &["refusing the redirect", part],
        );
        assert!(server.seen().len() <= 11);
    }
    // A renamed repository.
    let hub = Hub {
        repository: "test/new".to_owned(),
        ..repository()
    };
    let server = Server::start(move |request| match request.target.contains("test/tiny") {
        true => {
            Reply::new(307).header("Location", &request.target.replace("test/tiny", "test/new"))
        }
        false => hub.answer(request),
    });
    assert_content(
        &TestCache::for_hub(&server.url()).fetch(NAME).unwrap(),
        WEIGHTS,
        &noise(1, 300_000),
    );
}

#[test]
fn token_is_not_sent_after_a_redirect_has_left_the_hub() {
    let hub = repository();
    let server = Server::start(move |request| match request.target.strip_prefix("/back") {
        Some(target) => hub.answer(&Request {
            target: target.to_owned(),
            ..request.clone()
        }),
        None => hub.answer(request),
    });
    let url = server.url();
    let elsewhere = Server::start(move |request| {
        Reply::new(302).header("Location", &format!("{url}/back{}", request.target))
    });
    let hub = Hub {
        storage: Some(elsewhere.url()),
        ..repository()
    };
    let first = Server::start(move |request| hub.answer(request));
    let home = TestCache::with_variables(&first.url(), &[("HF_TOKEN", "hf_secret")]);
    assert_content(&home.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    let seen = elsewhere
        .seen()
        .into_iter()
        .chain(server.seen())
        .collect::<Vec<_>>();
    assert!(
        seen.len() == 2
            && seen
                .iter()
                .all(|request| request.header("authorization").is_none()),
        "{seen:?}"
    );
}

#[test]
fn uses_proxies_from_environment_variables() {
    let server = repository().serve();
    let proxy = Server::proxy();
    let through = TestCache::with_variables(&server.url(), &[("HTTP_PROXY", &proxy.url())]);
    assert_content(&through.fetch(NAME).unwrap(), WEIGHTS, &noise(1, 300_000));
    let seen = proxy.seen();
    assert!(
        !seen.is_empty() && seen.iter().all(|request| request.method == "CONNECT"),
        "{seen:?}"
    );
    let (host, password) = (proxy.url().replace("http://", ""), "p%40ss");
    let url = format!("http://me:{password}@{host}");
    let with_password = TestCache::with_variables(&server.url(), &[("HTTP_PROXY", &url)]);
    with_password.fetch(NAME).unwrap();
    // `me:p@ss` in base64.
    let credentials = Some("Basic bWU6cEBzcw==");
    assert!(
        proxy
            .seen()
            .iter()
            .all(|request| request.header("proxy-authorization") == credentials)
    );
    let past = TestCache::with_variables(
        &server.url(),
        &[
            ("ALL_PROXY", &proxy.url()),
            ("NO_PROXY", "localhost,127.0.0.0/8"),
        ],
    );
    past.fetch(NAME).unwrap();
    assert_eq!(proxy.seen(), []);
    let dead = TestCache::with_variables(&server.url(), &[("all_proxy", "http://127.0.0.1:1")]);
    server.seen();
    expect_error(dead.fetch(NAME), &["cannot reach"]);
    assert_eq!(server.seen(), []);
}

#[test]
fn hostile_responses_write_nothing_outside_the_cache() {
    let listing = |sha: &str, file: &str| {
        serde_json::json!({ "sha": sha, "siblings": [{ "rfilename": file }, { "rfilename": WEIGHTS }] })
            .to_string()
    };
    // File names and commits.
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
        let home = TestCache::for_hub(&server.url());
        match home.fetch(NAME) {
            Ok(fetched) => assert_content(&fetched, WEIGHTS, &noise(1, 300_000)),
            Err(error) => assert!(matches!(error, DownloadError::NotAHub { .. }), "{error}"),
        }
        assert!(
            server
                .seen()
                .iter()
                .all(|request| !request.target.contains("evil"))
        );
        home.assert_clean_of("evil");
    }
    // ETags, which become names of blobs.
    for etag in [
        "../../../evil",
        "/tmp/evil",
        "..",
        ".",
        "",
        "a/b",
        "evil\\x",
        &"a".repeat(400),
    ] {
        let etag = format!("\"{etag}\"");
        let hub = repository();
        let server = Server::start(move |request| match request.method.as_str() {
            "HEAD" => Reply::new(200).header("ETag", &etag),
            _ => hub.answer(request),
        });
        let home = TestCache::for_hub(&server.url());
        expect_error(home.fetch(NAME), &["missing or invalid ETag"]);
        home.assert_clean_of("evil");
    }
    // Shards of weights.
    for part in [
        "../../../evil.safetensors",
        "/tmp/evil.safetensors",
        "sub/evil.safetensors",
    ] {
        let index = serde_json::json!({ "weight_map": { "a": part } }).to_string();
        let server = Hub::new(
            "test/tiny",
            &[
                ("config.json", b"{}"),
                ("model.safetensors.index.json", index.as_bytes()),
            ],
        )
        .serve();
        let home = TestCache::for_hub(&server.url());
        expect_error(home.fetch(NAME), &["is not a plain file name"]);
        home.assert_clean_of("evil");
    }
    // Responses that exceed their size limit.
    let big = vec![b' '; (4 << 20) + 1];
    let mut hub = repository();
    hub.files.insert(CONFIG.to_owned(), big);
    let server = Hub {
        large: usize::MAX,
        ..hub
    }
    .serve();
    expect_error(
        TestCache::for_hub(&server.url()).fetch(NAME),
        &[CONFIG, "size limit of 4194304 bytes"],
    );
    let server = Server::start(|_| Reply::new(200).body(&vec![b' '; (32 << 20) + 1]));
    expect_error(
        TestCache::for_hub(&server.url()).fetch(NAME),
        &["size limit of 33554432 bytes"],
    );
    let server = Server::start(|_| Reply::new(200).body(b"<html>"));
    expect_error(
        TestCache::for_hub(&server.url()).fetch(NAME),
        &["does not respond like Hugging Face's hub", "HF_ENDPOINT"],
    );
}
