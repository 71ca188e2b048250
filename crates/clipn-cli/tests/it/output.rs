//! Rows and reports as they are written, with rounded numbers.

use crate::common::snapshot::{assert_text, rounded, text_of_html};
use crate::common::{Sandbox, with_model};
use serde_json::Value;

/// JSON rows with a key per line and rounded numbers.
fn rows(printed: &str) -> String {
    rounded(printed).replace(",\"", ",\n \"")
}

#[test]
fn json_rows() {
    let s = Sandbox::new();
    s.write("photos/text.jpg", "this is text");
    let arguments = [
        "--classes",
        "classes.txt",
        "--top",
        "2",
        "--format",
        "json",
        "photos",
    ];
    assert_text(
        "rows-json",
        &rows(&s.done(&with_model("classify", &arguments))),
    );
    let all = [
        &arguments[..],
        &["--score", "maxlogit", "--threshold", "1000"],
    ]
    .concat();
    assert_text(
        "rows-json-unknown",
        &rows(&s.done(&with_model("classify", &all))),
    );
}

#[test]
fn json_and_csv_rows_have_the_same_values() {
    let s = Sandbox::new();
    let classify = |format: &'static str| {
        s.done(&with_model(
            "classify",
            &["--classes", "classes.txt", "photos", "--format", format],
        ))
    };
    let (json, csv) = (classify("json"), classify("csv"));
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let (header, values) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(
        header.join(" "),
        "path label unknown score threshold p_value class1 p1 q1 class2 p2 q2 class3 p3 q3 no_class no_p no_q \
         no_share negative negative_p reason error"
    );
    let value = |column: &str| values[header.iter().position(|name| *name == column).unwrap()];
    for (column, pointer) in [
        ("path", "/path"),
        ("label", "/label"),
        ("unknown", "/unknown"),
        ("score", "/score"),
        ("class1", "/top/0/label"),
        ("q2", "/top/1/q"),
        ("no_share", "/no/share"),
    ] {
        let json = first.pointer(pointer).unwrap();
        let text = match json {
            Value::Null if column == "label" => "unknown".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(value(column), text, "{column}");
    }
}

#[test]
fn text_of_the_report() {
    let s = Sandbox::new();
    let arguments = [
        "--id",
        "id",
        "--ood",
        "noise=noise",
        "--ood",
        "stripes=stripes",
        "--output",
        "results",
        "--workers",
        "2",
    ];
    s.done(&with_model("eval", &arguments));
    let html = std::fs::read_to_string(s.path("results/report.html")).unwrap();
    assert_text("report", &rounded(&text_of_html(&html)));
}
