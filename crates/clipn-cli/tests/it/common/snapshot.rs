//! Text for snapshots, without what differs between machines and runs.

use std::process::Output;

use super::{Sandbox, text};

/// Decimals that snapshots keep: fewer than processors with other instruction sets agree on.
const DECIMALS: usize = 2;

/// Checks a text against the snapshot of this name.
#[track_caller]
pub(crate) fn assert_text(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("../snapshots");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Command line, exit code and both outputs of a run, with the path of the sandbox redacted.
pub(crate) fn transcript(sandbox: &Sandbox, arguments: &[&str], output: &Output) -> String {
    let part = |name: &str, bytes: &[u8]| match text(bytes) {
        text if text.is_empty() => String::new(),
        text => format!("{name}:\n{}\n", text.trim_end()),
    };
    let transcript = format!(
        "$ clipn {}\nexit code: {}\n{}{}",
        arguments.join(" "),
        output
            .status
            .code()
            .map_or(String::new(), |code| code.to_string()),
        part("stdout", &output.stdout),
        part("stderr", &output.stderr)
    );
    redacted(sandbox, &transcript)
}

/// The text with `[sandbox]` in place of the sandbox's directory.
pub(crate) fn redacted(sandbox: &Sandbox, text: &str) -> String {
    let root = sandbox.root();
    let canonical = root.canonicalize().unwrap();
    text.replace(&canonical.display().to_string(), "[sandbox]")
        .replace(&root.display().to_string(), "[sandbox]")
}

/// The text with every decimal number rounded.
pub(crate) fn rounded(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_digit() || ".e-+".contains(c);
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..start]);
        let after = &rest[start..];
        let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
        // A final stop, sign or letter belongs to the sentence.
        let number = after[..end].trim_end_matches(|c: char| !c.is_ascii_digit());
        match number.parse::<f64>() {
            Ok(value) if number.contains(['.', 'e']) => {
                out.push_str(&format!("{value:.DECIMALS$}"));
            }
            _ => out.push_str(number),
        }
        rest = &after[number.len()..];
    }
    out + rest
}

/// The visible text of an HTML page, one line per element, without charts and styles.
pub(crate) fn text_of_html(html: &str) -> String {
    let mut rest = html.to_owned();
    for element in ["style", "script", "svg"] {
        let (open, close) = (format!("<{element}"), format!("</{element}>"));
        while let Some(start) = rest.find(&open) {
            let length = rest[start..].find(&close).unwrap() + close.len();
            rest.replace_range(start..start + length, "");
        }
    }
    let mut text = String::new();
    let mut is_tag = false;
    for c in rest.chars() {
        match c {
            '<' => {
                is_tag = true;
                text.push('\n');
            }
            '>' if is_tag => is_tag = false,
            c if !is_tag => text.push(c),
            _ => {}
        }
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn rounds_decimal_numbers_only() {
    assert_eq!(
        rounded("p 0.12345, 7 of 2.0e-3; 10.5. clipn 0.2.0 v2"),
        "p 0.12, 7 of 0.00; 10.50. clipn 0.2.0 v2"
    );
}

#[test]
fn html_becomes_lines_of_text() {
    let html = "<p>a <b>bold</b></p><style>x</style><svg><text>t</text></svg><td>1</td>";
    assert_eq!(text_of_html(html), "a\nbold\n1");
}
