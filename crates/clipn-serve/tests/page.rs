//! The pages in a browser: Chromium without a window, where there is one.
#![allow(clippy::unwrap_used)]

#[path = "common/browser.rs"]
mod browser;
mod common;

use std::path::PathBuf;

use browser::Browser;
use clipn_serve::{ApiKeys, ServeSettings};
use common::*;

const ALL_DONE: &str = "/^\\d+ pictures?: /.test(document.getElementById('told').textContent)";

/// Two pictures and a file that is none.
fn files(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let files = [
        ("first.bmp", picture(1)),
        ("second.bmp", picture(9)),
        ("no <b>picture</b>.bmp", b"words".to_vec()),
    ];
    files
        .into_iter()
        .map(|(name, bytes)| {
            // A name that a file cannot have everywhere is left out there.
            let path = folder.path().join(name.replace("</", "<_"));
            std::fs::write(&path, bytes).unwrap();
            path
        })
        .collect()
}

#[test]
fn pictures_are_chosen_and_decided_on() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = start(settings(), detector());
    let address = format!("http://{}/", server.address);
    for (width, dark) in [(1200, false), (400, true)] {
        page.open(&address, width, dark);
        page.wait_for("document.getElementById('classes').value.includes('pizza')");
        page.choose(&files(&folder));
        page.wait_for(ALL_DONE);
        let told = page.text("told");
        assert!(
            told.starts_with("3 pictures: ") && told.ends_with("1 not answered."),
            "{told}"
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
        for part in [
            "school bus",
            "threshold",
            "first.bmp",
            "not an image that can be read",
        ] {
            assert!(results.contains(part), "no {part} in {results}");
        }
        // Names of files are text.
        assert_eq!(
            page.value("document.querySelectorAll('#results b').length"),
            0
        );
        // Bars are as long as their numbers say.
        let longest = "Array.from(document.querySelectorAll('.cell')).every((cell) => Math.abs(\
             parseFloat(cell.querySelector('.fill').style.width) / 100 - parseFloat(cell.innerText)) < 0.001)";
        assert_eq!(page.value(longest), true);
        let wide = page
            .value("document.documentElement.scrollWidth")
            .as_u64()
            .unwrap();
        assert!(wide <= u64::from(width), "{wide} pixels wide at {width}");
        page.screenshot(&format!("page-{width}"));
    }
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
}

#[test]
fn classes_are_edited_and_stay_text() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = start(settings(), detector());
    page.open(&format!("http://{}/", server.address), 1200, false);
    page.wait_for("document.getElementById('classes').value.includes('pizza')");
    page.choose(&files(&folder)[..1]);
    page.wait_for(ALL_DONE);
    // By the keyboard alone: into the field, all of it replaced, on to the button, pressed.
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
        page.text("classnote").contains("never read"),
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
    // What the server refuses is said.
    page.value("document.getElementById('classes').value = 'twice\\ntwice'");
    page.value("document.querySelector('#classform button[type=submit]').click()");
    page.wait_for("/called as one before it/.test(document.getElementById('trouble').textContent)");
    page.value("document.getElementById('own').click()");
    page.wait_for("document.querySelectorAll('#results .bars tbody tr').length === 3");
    assert!(
        page.complaints.iter().all(|said| said.contains("422")),
        "{:?}",
        page.complaints
    );
}

#[test]
fn a_key_is_asked_for() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let keys = ApiKeys::new(["0123456789abcdef-ours"]).unwrap();
    let server = start(ServeSettings { keys, ..settings() }, detector());
    page.open(&format!("http://{}/", server.address), 400, false);
    page.wait_for("document.activeElement.id === 'key'");
    page.write("0123456789abcdef-ours");
    page.press("Enter", 13);
    page.wait_for("document.getElementById('classes').value.includes('pizza')");
    assert_eq!(
        page.value("document.getElementById('keyform').classList.contains('hidden')"),
        true
    );
    assert_eq!(page.text("trouble"), "");
}

#[test]
fn everything_has_a_name_and_the_documentation_is_drawn() {
    let Some(mut page) = Browser::start() else {
        return;
    };
    let server = start(settings(), detector());
    let address = format!("http://{}/", server.address);
    page.open(&address, 1200, false);
    let nameless = "Array.from(document.querySelectorAll('input, textarea, button')).filter((field) =>\
         !(field.labels && field.labels.length) && !field.innerText.trim()).map((field) => field.id).join(' ')";
    assert_eq!(page.value(nameless), "");
    for (width, dark) in [(1200, false), (400, true)] {
        page.open(&format!("{address}docs"), width, dark);
        page.wait_for("document.querySelectorAll('section.card').length > 10");
        let text = page
            .value("document.body.innerText")
            .as_str()
            .unwrap()
            .to_owned();
        for (_, path) in clipn_serve::routes() {
            assert!(text.contains(path), "{path} is not told");
        }
        assert!(
            !text.contains("undefined") && !text.contains("[object"),
            "{text}"
        );
        let dangling = "Array.from(document.querySelectorAll('a[href^=\"#\"]')).filter((link) =>\
             !document.getElementById(link.getAttribute('href').slice(1))).length";
        assert_eq!(page.value(dangling), 0);
        let wide = page
            .value("document.documentElement.scrollWidth")
            .as_u64()
            .unwrap();
        assert!(wide <= u64::from(width), "{wide} pixels wide at {width}");
        page.screenshot(&format!("docs-{width}"));
    }
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
}
