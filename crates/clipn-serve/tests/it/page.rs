//! The web pages in headless Chromium. Skipped if Chromium is not installed.

use std::path::PathBuf;
use std::sync::Arc;

use crate::common::browser::Browser;
use crate::common::*;
use clipn_serve::{ApiKeys, ServeSettings};

const ALL_DONE: &str = "/^\\d+ images?: /.test(document.getElementById('status').textContent)";

/// Two images and a text file.
fn files(directory: &tempfile::TempDir) -> Vec<PathBuf> {
    let files = [
        ("first.bmp", image(1)),
        ("second.bmp", image(9)),
        ("not an <b>image</b>.bmp", b"words".to_vec()),
    ];
    files
        .into_iter()
        .map(|(name, bytes)| {
            // `/` is not allowed in file names.
            let path = directory.path().join(name.replace("</", "<_"));
            std::fs::write(&path, bytes).unwrap();
            path
        })
        .collect()
}

#[test]
fn selected_images_are_classified() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = start(settings(), detector());
    let address = format!("http://{}/", server.address);
    for (width, dark) in [(1200, false), (400, true)] {
        page.open(&address, width, dark);
        page.wait_for("document.getElementById('classes').value.includes('pizza')");
        page.choose(&files(&directory));
        page.wait_for(ALL_DONE);
        let status = page.text("status");
        assert!(
            status.starts_with("3 images: ") && status.ends_with("1 failed."),
            "{status}"
        );
        assert_eq!(
            page.value("document.querySelectorAll('#results .bars tbody tr').length"),
            6
        );
        assert_eq!(
            page.value("document.querySelectorAll('#results .failed').length"),
            1
        );
        let results = page.text("results");
        for part in ["school bus", "threshold", "first.bmp", "Failed"] {
            assert!(results.contains(part), "no {part} in {results}");
        }
        // A map of the class and one of its "no" can be laid over each of the two images.
        assert_eq!(
            page.value(
                "document.querySelectorAll('#results figure select:not(.hidden) option').length"
            ),
            6
        );
        let shown = "document.querySelectorAll('#results canvas:not(.hidden)').length";
        assert_eq!(page.value(shown), 0);
        page.value(
            "(() => { const choice = document.querySelector('#results select'); choice.value = 'yes';
             choice.dispatchEvent(new Event('change')); return 0; })()",
        );
        assert_eq!(page.value(shown), 1);
        // File names are not interpreted as HTML.
        assert_eq!(
            page.value("document.querySelectorAll('#results b').length"),
            0
        );
        // The length of each bar matches its number.
        let bars_match = "Array.from(document.querySelectorAll('.cell')).every((cell) => Math.abs(\
             parseFloat(cell.querySelector('.fill').style.width) / 100 - parseFloat(cell.innerText)) < 0.001)";
        assert_eq!(page.value(bars_match), true);
        let page_width = page
            .value("document.documentElement.scrollWidth")
            .as_u64()
            .unwrap();
        assert!(
            page_width <= u64::from(width),
            "page is {page_width} pixels wide in a window of {width}"
        );
        page.screenshot(&format!("page-{width}"));
    }
    assert!(page.console.is_empty(), "{:?}", page.console);
}

#[test]
fn custom_classes_are_shown_as_text() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = start(settings(), detector());
    page.open(&format!("http://{}/", server.address), 1200, false);
    page.wait_for("document.getElementById('classes').value.includes('pizza')");
    page.choose(&files(&directory)[..1]);
    page.wait_for(ALL_DONE);
    // Keyboard only: replace the text of the field, move to the button, press it.
    page.value(
        "document.getElementById('classes').focus(); document.getElementById('classes').select()",
    );
    page.write("<img src=x onerror=\"document.title='broken'\">\nzeppelin");
    page.press("Tab", 9);
    assert_eq!(
        page.value("document.activeElement.innerText"),
        "Use these classes"
    );
    page.press("Enter", 13);
    page.wait_for("/2 classes in use/.test(document.getElementById('classnote').textContent)");
    page.wait_for("document.querySelectorAll('#results .bars tbody tr').length === 2");
    assert!(
        page.text("classnote").contains("training captions"),
        "{}",
        page.text("classnote")
    );
    assert!(
        page.text("results").contains("<img src=x onerror="),
        "{}",
        page.text("results")
    );
    assert_eq!(
        page.value("document.querySelectorAll('img[src=x]').length"),
        0
    );
    assert_eq!(page.value("document.title === 'broken'"), false);
    page.screenshot("classes");
    // Errors of the server are shown.
    page.value("document.getElementById('classes').value = 'twice\\ntwice'");
    page.value("document.querySelector('#classform button[type=submit]').click()");
    page.wait_for("/duplicate class name/.test(document.getElementById('error').textContent)");
    page.value("document.getElementById('own').click()");
    page.wait_for("document.querySelectorAll('#results .bars tbody tr').length === 3");
    assert!(
        page.console.iter().all(|entry| entry.contains("422")),
        "{:?}",
        page.console
    );
}

/// Answers of the classes before, which arrive after others were chosen, are not shown as theirs.
#[test]
fn results_belong_to_the_classes_in_use() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let gate = Arc::<Gate>::default();
    let before = Arc::clone(&gate);
    let tower = TestTower::new(move |_, _| before.wait());
    let server = start(settings(), detector_with(tower));
    page.open(&format!("http://{}/", server.address), 1200, false);
    page.wait_for("document.getElementById('classes').value.includes('pizza')");
    page.choose(&files(&directory)[..2]);
    page.wait_for("/^Classifying /.test(document.getElementById('status').textContent)");
    page.value("document.getElementById('classes').value = 'pizza\\nschool bus'");
    page.value("document.querySelector('#classform button[type=submit]').click()");
    page.wait_for("/2 classes in use/.test(document.getElementById('classnote').textContent)");
    gate.open();
    page.wait_for(ALL_DONE);
    assert_eq!(
        page.value("document.querySelectorAll('#results .bars tbody tr').length"),
        4
    );
    assert!(page.text("classnote").contains("published decision rule"));
}

#[test]
fn page_prompts_for_an_api_key() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let api_keys = ApiKeys::new(["0123456789abcdef-ours"]).unwrap();
    let server = start(
        ServeSettings {
            api_keys,
            ..settings()
        },
        detector(),
    );
    page.open(&format!("http://{}/", server.address), 400, false);
    page.wait_for("document.activeElement.id === 'key'");
    page.write("0123456789abcdef-ours");
    page.press("Enter", 13);
    page.wait_for("document.getElementById('classes').value.includes('pizza')");
    assert_eq!(
        page.value("document.getElementById('keyform').classList.contains('hidden')"),
        true
    );
    assert_eq!(page.text("error"), "");
}

#[test]
fn a_wrong_api_key_is_reported() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let api_keys = ApiKeys::new(["0123456789abcdef-ours"]).unwrap();
    let server = start(
        ServeSettings {
            api_keys,
            ..settings()
        },
        detector(),
    );
    page.open(&format!("http://{}/", server.address), 1200, false);
    page.wait_for("document.activeElement.id === 'key'");
    assert_eq!(page.text("error"), "This server requires an API key.");
    page.choose(&files(&directory)[..1]);
    page.wait_for(ALL_DONE);
    page.value("document.getElementById('key').focus()");
    page.write("0123456789abcdef-theirs");
    page.press("Enter", 13);
    page.wait_for(
        "/does not accept this API key/.test(document.getElementById('error').textContent)",
    );
    page.screenshot("wrong-key");
    // The message stays until the key is right.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(
        page.text("error"),
        "The server does not accept this API key."
    );
    page.value("document.getElementById('key').value = '0123456789abcdef-ours'");
    page.value("document.querySelector('#keyform button').click()");
    page.wait_for("document.getElementById('error').textContent === ''");
    page.wait_for("document.querySelectorAll('#results .bars').length === 1");
}

#[test]
fn errors_of_requests_are_shown_and_stay() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let limited = ServeSettings {
        max_request_bytes: 2000,
        ..settings()
    };
    let server = start(limited, detector());
    page.open(&format!("http://{}/", server.address), 1200, false);
    page.wait_for("document.getElementById('classes').value.includes('pizza')");
    // 413: the images are too large for a request.
    page.choose(&files(&directory)[..1]);
    page.wait_for(
        "/exceeds the limit of 2000 bytes/.test(document.getElementById('error').textContent)",
    );
    page.wait_for(ALL_DONE);
    assert!(page.text("error").contains("exceeds the limit"));
    // An error of the classes stays while the images are classified again.
    page.value("document.getElementById('clear').click()");
    page.wait_for("document.getElementById('error').textContent === ''");
    page.value("document.getElementById('classes').value = 'twice\\ntwice'");
    page.value("document.querySelector('#classform button[type=submit]').click()");
    page.wait_for("/duplicate class name/.test(document.getElementById('error').textContent)");
    page.choose(&files(&directory)[2..]);
    page.wait_for(ALL_DONE);
    assert!(page.text("error").contains("duplicate class name"));
    page.screenshot("errors");
    // 429, as often as the page tries.
    page.value("window.fetch = () => Promise.resolve(new Response(JSON.stringify(\
         { error: { code: 'queue_full', message: 'the queue is full; retry later' } }), { status: 429 }))");
    page.value("window.setTimeout = (done) => done()");
    page.value("reclassify()");
    page.wait_for("/the queue is full/.test(document.getElementById('error').textContent)");
    // The server has gone.
    page.value("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))");
    page.value("reclassify()");
    page.wait_for("/Cannot reach the server/.test(document.getElementById('error').textContent)");
}

#[test]
fn classes_may_be_typed_with_commas_and_used_with_the_keyboard() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let server = start(settings(), detector());
    page.open(&format!("http://{}/", server.address), 1200, false);
    page.wait_for("document.getElementById('classes').value.includes('pizza')");
    assert_eq!(
        page.text("about"),
        "clipn-mini, 3 classes; published decision rule."
    );
    page.value(
        "document.getElementById('classes').focus(); document.getElementById('classes').select()",
    );
    page.write("teapot, red apple,banana");
    assert!(page.text("classnote").contains("not in use yet"));
    page.value(
        "document.getElementById('classes').dispatchEvent(new KeyboardEvent('keydown', \
         { key: 'Enter', ctrlKey: true, bubbles: true, cancelable: true }))",
    );
    page.wait_for("/3 classes in use/.test(document.getElementById('classnote').textContent)");
    assert_eq!(
        page.value("document.getElementById('classes').value"),
        "teapot\nred apple\nbanana"
    );
    assert_eq!(
        page.text("about"),
        "clipn-mini, 3 of your own classes; published decision rule."
    );
    page.value("document.getElementById('own').click()");
    page.wait_for("/3 classes; /.test(document.getElementById('about').textContent)");
}

#[test]
fn several_bundles_can_be_selected() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = start_bundles(
        settings(),
        vec![
            bundle("shop", &["school bus", "pizza"]),
            bundle("pets", &["goldfish"]),
        ],
    );
    page.open(&format!("http://{}/", server.address), 400, true);
    page.wait_for("document.getElementById('classes').value === 'school bus\\npizza'");
    page.choose(&files(&directory)[..1]);
    page.wait_for("document.querySelectorAll('#results .bars tbody tr').length === 2");
    page.value("document.getElementById('bundle').value = 'pets'");
    page.value("document.getElementById('bundle').dispatchEvent(new Event('change'))");
    page.wait_for("document.getElementById('classes').value === 'goldfish'");
    page.wait_for("document.querySelectorAll('#results .bars tbody tr').length === 1");
    page.screenshot("bundles");
    assert!(page.console.is_empty(), "{:?}", page.console);
}

#[test]
fn controls_are_labeled_and_documentation_lists_every_route() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let server = start(settings(), detector());
    let address = format!("http://{}/", server.address);
    page.open(&address, 1200, false);
    let unlabeled = "Array.from(document.querySelectorAll('input, textarea, button')).filter((field) =>\
         !(field.labels && field.labels.length) && !field.innerText.trim()).map((field) => field.id).join(' ')";
    assert_eq!(page.value(unlabeled), "");
    for (width, dark) in [(1200, false), (400, true)] {
        page.open(&format!("{address}docs"), width, dark);
        page.wait_for("document.querySelectorAll('nav a').length > 10");
        let text = page
            .value("document.body.innerText")
            .as_str()
            .unwrap()
            .to_owned();
        for (method, path) in clipn_serve::routes() {
            // Once in the contents, once as a title.
            assert!(text.contains(&format!("{method} {path}")), "{path}");
            assert!(text.matches(path).count() > 1, "{path} is not documented");
        }
        // Examples are for this server.
        for part in [
            format!(
                "curl --data-binary @photo.jpg -H \"Content-Type: image/jpeg\" {address}v1/classify"
            ),
            "urllib.request".to_owned(),
            "\"schema_version\": 2".to_owned(),
        ] {
            assert!(text.contains(&part), "{part} is not in the page");
        }
        assert!(
            !text.contains("undefined") && !text.contains("[object"),
            "{text}"
        );
        let dangling = "Array.from(document.querySelectorAll('a[href^=\"#\"]')).filter((link) =>\
             !document.getElementById(link.getAttribute('href').slice(1))).length";
        assert_eq!(page.value(dangling), 0);
        let page_width = page
            .value("document.documentElement.scrollWidth")
            .as_u64()
            .unwrap();
        assert!(
            page_width <= u64::from(width),
            "page is {page_width} pixels wide in a window of {width}"
        );
        page.screenshot(&format!("docs-{width}"));
    }
    assert!(page.console.is_empty(), "{:?}", page.console);
}
