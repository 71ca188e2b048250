//! Two commands with one output at once: one writes it, and the other is refused or finds it written.

use std::process::Output;

use crate::common::{MODEL, Sandbox, text};

/// Runs both at once; returns their outputs.
fn both(s: &Sandbox, first: &[&str], second: &[&str]) -> [Output; 2] {
    let children = [s.start(first), s.start(second)];
    children.map(|child| child.wait_with_output().unwrap())
}

/// Checks that one succeeded, and that the other failed with one of the messages.
fn assert_one_wrote(outputs: &[Output; 2], what: &str) {
    let succeeded = outputs.iter().filter(|output| output.status.success());
    let errors = outputs.each_ref().map(|output| text(&output.stderr));
    assert_eq!(succeeded.count(), 1, "{what}: {errors:?}");
    let refused = outputs.iter().position(|output| !output.status.success());
    let error = &errors[refused.unwrap()];
    assert!(
        error.contains("already exists") || error.contains("is writing"),
        "{what}: {error}"
    );
}

#[test]
fn one_of_two_commands_writes_an_output() {
    let s = Sandbox::new();
    s.write("texts.txt", "a dog\na cat\n");
    for round in 0..4 {
        let features = format!("features-{round}.npy");
        let embed = |input: &'static str| {
            [
                &["embed", "texts", input][..],
                &MODEL,
                &["--output", &features],
            ]
            .concat()
        };
        let outputs = both(&s, &embed("texts.txt"), &embed("texts.txt"));
        assert_one_wrote(&outputs, "embed");
        assert!(
            s.path(&features).exists(),
            "the features of the one that succeeded"
        );

        let rows = format!("rows-{round}.jsonl");
        let classify = |classes: &'static str| {
            let arguments = ["--classes", classes, "--output", &rows, "noise"];
            [&["classify"][..], &MODEL, &arguments].concat()
        };
        let outputs = both(&s, &classify("pizza,goldfish"), &classify("teapot,lamp"));
        assert_one_wrote(&outputs, "classify");
    }
}
