//! `clipn completions` and `clipn man`.

use crate::common::{Sandbox, text};
use crate::help::COMMANDS;

#[test]
fn every_shell_completes_commands_and_flags() {
    let s = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = s.done(&["completions", shell]);
        for part in ["clipn", "classify", "pretrained", "completions", "quiet"] {
            assert!(script.contains(part), "no {part} for {shell}");
        }
        assert!(!script.contains("clipn-cli"), "{shell} names the package");
    }
    let output = s.clipn(&["completions", "csh"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("bash"),
        "{}",
        text(&output.stderr)
    );
}

/// Old spellings of flags, and what only the program itself uses.
const HIDDEN: [&str; 4] = ["grey", "colour", "product-peak", "--child"];

#[test]
fn hidden_aliases_are_in_no_script_or_page() {
    let s = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = s.done(&["completions", shell]);
        for hidden in HIDDEN {
            assert!(!script.contains(hidden), "{shell} has {hidden}");
        }
    }
    s.done(&["man", "--output", "man"]);
    for page in std::fs::read_dir(s.path("man")).unwrap() {
        let path = page.unwrap().path();
        let page = std::fs::read_to_string(&path).unwrap().replace('\\', "");
        for hidden in HIDDEN {
            assert!(!page.contains(hidden), "{} has {hidden}", path.display());
        }
    }
}

#[cfg(unix)]
#[test]
fn bash_accepts_its_script() {
    let s = Sandbox::new();
    s.write("clipn.bash", s.done(&["completions", "bash"]));
    let Ok(output) = std::process::Command::new("bash")
        .current_dir(s.root())
        .args(["-n", "clipn.bash"])
        .output()
    else {
        println!("skipped: no bash");
        return;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn the_manual_has_a_page_per_command() {
    let s = Sandbox::new();
    let printed = s.done(&["man", "--output", "doc/man"]);
    let expected: Vec<String> = std::iter::once("clipn.1".to_owned())
        .chain(COMMANDS.map(|command| format!("clipn-{}.1", command.replace(' ', "-"))))
        .map(|page| format!("doc/man/{page}"))
        .collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    for path in &expected {
        let page = std::fs::read_to_string(s.path(path)).unwrap();
        for section in [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS"] {
            assert!(page.contains(section), "no {section} in {path}");
        }
    }
    let page = std::fs::read_to_string(s.path("doc/man/clipn.1")).unwrap();
    assert_eq!(s.done(&["man"]), page);
    assert!(page.contains("clipn\\-classifier(1)"), "{page}");
}

#[test]
fn the_manual_is_not_written_over_a_file() {
    let s = Sandbox::new();
    let output = s.clipn(&["man", "--output", "classes.txt"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("classes.txt"),
        "{}",
        text(&output.stderr)
    );
}
