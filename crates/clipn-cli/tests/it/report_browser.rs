//! The report of `clipn eval` in a browser: complete without a network, never wider than the
//! window, in dark and light mode.

use crate::common::browser;
use std::path::{Path, PathBuf};

use crate::common::{Sandbox, with_model};
use serde_json::Value;

/// Content security policy of the page: it loads and runs nothing.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// Reports of one evaluation with a very long name, and of two merged runs of it.
fn reports(sandbox: &Sandbox) -> [PathBuf; 2] {
    let long = "a-set-with-a-name-that-has-no-place-to-break-and-goes-on-and-on=noise";
    let evaluate = |output: &str, more: &[&str]| {
        let sets = [
            "--id",
            "id",
            "--ood",
            long,
            "--ood",
            "stripes=stripes",
            "--output",
            output,
        ];
        sandbox.done(&with_model("eval", &[&sets[..], more].concat()));
    };
    evaluate("one", &["--repeat", "20"]);
    evaluate("two", &["--workers", "1"]);
    sandbox.done(&["results", "merge", "one", "two", "--output", "merged"]);
    ["one/report.html", "merged/report.html"].map(|report| sandbox.path(report))
}

/// Writes a page that shows a copy of the report in a frame of this width, with a script that
/// measures it. Frames can be as narrow as phones, windows cannot.
fn measuring_page(report: &Path, width: u32) -> PathBuf {
    const SCRIPT: &str = "<script>addEventListener('load', () => setTimeout(() => {
        const root = document.documentElement, paper = getComputedStyle(document.body).backgroundColor;
        // Elements in scroll containers may be wider.
        const wide = [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll > *, svg *')
            && e.getBoundingClientRect().right > root.clientWidth + 0.5).map(e => e.outerHTML.slice(0, 80));
        const broken = [...document.images].filter(i => { i.loading = 'eager'; return !i.getAttribute('src').startsWith('data:'); });
        parent.postMessage({ client: root.clientWidth, scroll: root.scrollWidth, wide, broken: broken.length, paper,
            images: document.images.length,
            // A gradient that stays at the edge, under one that moves with the table.
            edges: [...document.querySelectorAll('.scroll')].map(e => getComputedStyle(e).backgroundAttachment),
            overflows: [...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth),
            charts: [...document.querySelectorAll('figure.chart > svg')].map(s => s.getBoundingClientRect().height) }, '*');
    }, 100));</script></body>";
    let html = std::fs::read_to_string(report).unwrap();
    assert_eq!(html.matches(POLICY).count(), 1, "the policy has changed");
    let open = html
        .replace(POLICY, "default-src * data: 'unsafe-inline'")
        .replace("</body>", SCRIPT);
    let directory = report.parent().unwrap();
    std::fs::write(directory.join("copy.html"), open).unwrap();
    let frame = format!(
        "<!DOCTYPE html><body style='margin:0'><script>addEventListener('message', e => {{
             document.body.dataset.measured = encodeURIComponent(JSON.stringify(e.data)); }});</script>
         <iframe src='copy.html' style='width:{width}px;height:800px;border:0'></iframe></body>"
    );
    let path = directory.join("frame.html");
    std::fs::write(&path, frame).unwrap();
    path
}

/// Decodes the measurement of the script.
fn measurement(dom: &str) -> Value {
    let encoded = dom
        .split("data-measured=\"")
        .nth(1)
        .unwrap_or_else(|| panic!("nothing was measured: {dom}"));
    let encoded = encoded.split('"').next().unwrap();
    let mut bytes = Vec::new();
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn reports_render_offline_at_any_width_and_in_both_color_schemes() {
    let Some(program) = browser::find() else {
        return;
    };
    let sandbox = Sandbox::new();
    for (report, charts, images) in reports(&sandbox)
        .into_iter()
        .zip([(24, true), (0, false)])
        .map(|(r, (c, i))| (r, c, i))
    {
        // The unchanged page makes no requests and is complete.
        let visit = browser::visit(program, &report, 1200, false);
        assert_eq!(visit.requests, [""; 0], "{}", report.display());
        assert_eq!(visit.dom.matches("<figure class=\"chart").count(), charts);
        assert_eq!(visit.dom.contains("id=\"calibration\""), images);
        assert!(visit.dom.contains("<table class=\"results\">") && visit.dom.contains("settings"));

        let mut papers = Vec::new();
        for (width, dark) in [(400, true), (400, false), (1200, true), (1200, false)] {
            let frame = measuring_page(&report, width);
            let visit = browser::visit(program, &frame, 1300, dark);
            assert_eq!(
                visit.requests,
                [""; 0],
                "{} without its policy",
                report.display()
            );
            let found = measurement(&visit.dom);
            let shown = format!("{} at {width}: {found}", report.display());
            assert!(
                found["client"].as_u64().unwrap() <= u64::from(width),
                "{shown}"
            );
            assert_eq!(found["scroll"], found["client"], "{shown}");
            assert_eq!(found["wide"], serde_json::json!([]), "{shown}");
            assert_eq!(found["broken"], 0, "{shown}");
            assert_eq!(found["images"].as_u64().unwrap() > 10, images, "{shown}");
            let heights = found["charts"].as_array().unwrap();
            assert_eq!(heights.len(), charts, "{shown}");
            assert!(
                heights
                    .iter()
                    .all(|height| height.as_f64().unwrap() > 100.0),
                "{shown}"
            );
            let edges = found["edges"].as_array().unwrap();
            assert!(
                !edges.is_empty() && edges.iter().all(|edge| edge == "local, scroll"),
                "{shown}"
            );
            assert_eq!(found["overflows"], true, "{shown}");
            papers.push(found["paper"].as_str().unwrap().to_owned());
        }
        assert_eq!(
            papers,
            [
                "rgb(21, 23, 26)",
                "rgb(251, 251, 250)",
                "rgb(21, 23, 26)",
                "rgb(251, 251, 250)"
            ]
        );
    }
}

/// Shows that the test above can fail: it detects a page that makes requests and is too wide.
#[test]
fn detects_requests_and_overflow() {
    let Some(program) = browser::find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.html");
    let page = format!(
        "<!DOCTYPE html><meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <body><main><img src=\"http://elsewhere.invalid/a.png\"><p style=\"width:900px\">wide</p></main></body>"
    );
    std::fs::write(&report, page).unwrap();
    assert_eq!(
        browser::visit(program, &report, 1200, false).requests,
        [""; 0]
    );
    let visit = browser::visit(program, &measuring_page(&report, 400), 1200, false);
    assert!(
        visit
            .requests
            .iter()
            .any(|line| line.contains("elsewhere.invalid")),
        "{:?}",
        visit.requests
    );
    let found = measurement(&visit.dom);
    assert!(
        found["scroll"].as_u64() > found["client"].as_u64() && found["broken"] == 1,
        "{found}"
    );
    assert!(
        found["wide"][0].as_str().unwrap().contains("wide"),
        "{found}"
    );
}
