//! Tests of templates and class names: the built-in ones against the published ones, and valid and
//! invalid files.

use std::path::PathBuf;

use proptest::prelude::*;

use clipn_testing::fixture;
use clipn_text::prompts::{ClassNames, PromptError, Template, TemplateSet};

fn read_json(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(fixture(&format!("tokenizer/{name}"))).unwrap())
        .unwrap()
}

fn strings(value: &serde_json::Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

fn texts(templates: &[Template]) -> Vec<&str> {
    templates.iter().map(Template::as_str).collect()
}

/// Creates a temporary directory with one file.
fn temp_file(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    (directory, path)
}

fn load_templates(name: &str, content: impl AsRef<[u8]>) -> Result<TemplateSet, PromptError> {
    let (_directory, path) = temp_file(name, content);
    TemplateSet::load(path)
}

/// Joins the messages of an error and its sources.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |&error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn load_classes(name: &str, content: impl AsRef<[u8]>) -> Result<ClassNames, PromptError> {
    let (_directory, path) = temp_file(name, content);
    ClassNames::load(path)
}

#[test]
fn the_published_lines_are_kept_exactly() {
    let set = TemplateSet::built_in("clipn").unwrap();
    let lines = read_json("prompt_lines.json");
    assert_eq!(texts(set.yes()), strings(&lines["yes"]));
    assert_eq!(texts(set.no().unwrap()), strings(&lines["no"]));
    assert_eq!(
        texts(set.yes()),
        strings(&read_json("realvocab_classes.json")["prompts_raw"])
    );
    assert_eq!(
        (set.name(), set.len(), set.pairs().unwrap().len()),
        ("clipn", 128, 128)
    );
    let odd: Vec<usize> = (0..128)
        .filter(|&i| set.yes()[i].as_str().ends_with("',"))
        .collect();
    assert_eq!(odd, [34, 98]);
}

#[test]
fn filled_lines_are_the_published_prompts() {
    let set = TemplateSet::built_in("clipn").unwrap();
    let cases = read_json("prompts.json");
    let prompts: Vec<&str> = cases["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| case["text"].as_str().unwrap())
        .collect();
    for (template, prompt) in set.yes().iter().zip(&prompts) {
        assert_eq!(template.fill("tench"), *prompt);
    }
    let imagenet = ClassNames::built_in("imagenet-1k").unwrap();
    let filled: Vec<String> = imagenet
        .iter()
        .map(|name| set.yes()[34].fill(name))
        .collect();
    assert_eq!(filled, prompts[prompts.len() - 1000..]);
}

#[test]
fn the_clean_set_has_no_quotes_and_no_stray_commas() {
    let (raw, clean) = (
        TemplateSet::built_in("clipn").unwrap(),
        TemplateSet::built_in("clipn-clean").unwrap(),
    );
    for (raw, clean) in [
        (raw.yes(), clean.yes()),
        (raw.no().unwrap(), clean.no().unwrap()),
    ] {
        assert_eq!(clean.len(), 128);
        for (raw, clean) in raw.iter().zip(clean) {
            assert_eq!(
                raw.as_str().trim_end_matches(',').trim_matches('\''),
                clean.as_str()
            );
            assert!(clean.as_str().ends_with('.'), "{clean}");
        }
    }
    assert_eq!(
        texts(TemplateSet::built_in("simple").unwrap().yes()),
        ["a photo of a {}."]
    );
    assert!(TemplateSet::built_in("simple").unwrap().no().is_none());
}

#[test]
fn every_built_in_set_and_list_resolves_by_name() {
    for name in TemplateSet::built_in_names() {
        assert_eq!(TemplateSet::resolve(name).unwrap().name(), *name);
    }
    for name in ClassNames::built_in_names() {
        assert_eq!(
            ClassNames::resolve(name).unwrap(),
            ClassNames::built_in(name).unwrap()
        );
    }
    let message = TemplateSet::built_in("clip").unwrap_err().to_string();
    assert!(
        message.contains("`clip`") && message.contains("clipn, clipn-clean, plain, simple"),
        "{message}"
    );
    let message = ClassNames::built_in("imagenet").unwrap_err().to_string();
    assert!(message.contains("imagenet-1k, cifar10"), "{message}");
}

#[test]
fn imagenet_names_are_the_published_ones() {
    let names = ClassNames::built_in("imagenet-1k").unwrap();
    assert_eq!(
        names.names(),
        strings(&read_json("imagenet_classnames.json"))
    );
    assert_eq!(names.len(), 1000);
    for duplicate in ["missile", "sunglasses"] {
        assert_eq!(names.iter().filter(|name| *name == duplicate).count(), 2);
    }
    assert_eq!((names.get(0), names.get(1000)), (Some("tench"), None));
    assert_eq!(ClassNames::built_in("cifar10").unwrap().len(), 10);
}

#[test]
fn reads_template_files_with_one_template_per_line() {
    let text = "\u{FEFF}# a comment\r\n\r\n  a photo of a {}.  \r\n\\#{} on a jersey\r\n\\{} drawn\r\n\
                a {weird} {}";
    let set = load_templates("custom.txt", text).unwrap();
    assert_eq!(
        texts(set.yes()),
        [
            "a photo of a {}.",
            "#{} on a jersey",
            "\\{} drawn",
            "a {weird} {}"
        ]
    );
    assert_eq!((set.name(), set.no()), ("custom", None));
}

#[test]
fn reads_toml_template_files() {
    let set = load_templates("pair.toml", "yes = [\"a {}\"]\nno = [\"no {}\"]").unwrap();
    let pairs: Vec<_> = set
        .pairs()
        .unwrap()
        .map(|(yes, no)| (yes.as_str(), no.as_str()))
        .collect();
    assert_eq!(pairs, [("a {}", "no {}")]);
    assert!(
        load_templates("one.TOML", "yes = ['a {}']")
            .unwrap()
            .pairs()
            .is_none()
    );
}

#[test]
fn invalid_template_files_are_rejected() {
    for (name, content, expected) in [
        (
            "a.txt",
            &b"a {}\n\nno placeholder\n"[..],
            &["a.txt, line 3", "has no `{}`"][..],
        ),
        (
            "a.txt",
            b"# only a comment\n",
            &["a.txt contains no templates"],
        ),
        ("a.txt", b"", &["a.txt contains no templates"]),
        ("a.txt", b"a {}\xff", &["a.txt is not UTF-8", "offset 4"]),
        (
            "a.toml",
            b"yes = ['a {}', 'b']",
            &["a.toml, `yes` template 2", "has no `{}`"],
        ),
        (
            "a.toml",
            b"yes = ['a {}']\nno = []",
            &["a.toml has 1 `yes` templates and 0 `no`"],
        ),
        ("a.toml", b"yes = []", &["a.toml contains no templates"]),
        (
            "a.toml",
            b"no = ['a {}']",
            &["a.toml is not valid TOML", "yes"],
        ),
        (
            "a.toml",
            b"yes = ['a {}']\nNo = ['b {}']",
            &["a.toml is not valid TOML", "No"],
        ),
        ("a.toml", b"yes = 3", &["a.toml is not valid TOML"]),
        ("a.toml", b"[", &["a.toml is not valid TOML"]),
    ] {
        let message = chain(&load_templates(name, content).unwrap_err());
        for part in expected {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }
    let message = TemplateSet::resolve("no/such/file.txt")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("neither a template set") && message.contains("nor an existing file"),
        "{message}"
    );
    assert!(matches!(
        TemplateSet::load("no/such/file.txt"),
        Err(PromptError::Read { .. })
    ));
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        TemplateSet::load(directory.path()),
        Err(PromptError::Read { .. })
    ));
}

#[test]
fn reads_class_files() {
    let expected = ClassNames::new(vec![
        "cat".into(),
        "great white shark".into(),
        "#1 fan".into(),
    ])
    .unwrap();
    assert_eq!(
        load_classes(
            "c.txt",
            "\u{FEFF}# a comment\r\ncat\r\n great white shark \r\n\\#1 fan\r\n\r\n"
        )
        .unwrap(),
        expected
    );
    assert_eq!(
        load_classes("c", "cat\ngreat white shark\n\\#1 fan").unwrap(),
        expected
    );
    assert_eq!(
        load_classes(
            "c.json",
            "\u{FEFF}[\"cat\", \"great white shark\", \"#1 fan\"]"
        )
        .unwrap(),
        expected
    );
}

#[test]
fn invalid_class_files_are_rejected() {
    for (name, content, expected) in [
        ("c.txt", &b"cat\n\ndog"[..], &["c.txt, line 2", "empty"][..]),
        ("c.txt", b" \n\n", &["c.txt contains no class names"]),
        ("c.txt", b"\xe9t\xe9", &["c.txt is not UTF-8", "offset 0"]),
        ("c.json", b"[]", &["c.json contains no class names"]),
        ("c.json", b"[\"cat\", \" \"]", &["c.json, name 2", "empty"]),
        (
            "c.json",
            b"{\"cat\": 2}",
            &["c.json", "number 1 is missing"],
        ),
        ("c.json", b"[\"cat\"", &["c.json is not valid JSON"]),
    ] {
        let message = load_classes(name, content).unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }
}

#[test]
fn parses_inline_names() {
    let names = |text: &str| ClassNames::parse_inline(text).map(Vec::from);
    assert_eq!(
        names(" cat ,dog,  great white shark ").unwrap(),
        ["cat", "dog", "great white shark"]
    );
    assert_eq!(names("cat").unwrap(), ["cat"]);
    assert_eq!(names("cat,").unwrap(), ["cat"]);
    assert_eq!(names("cat, cat").unwrap(), ["cat", "cat"]);
    assert!(matches!(
        names("cat,, dog"),
        Err(PromptError::EmptyName { .. })
    ));
    assert!(matches!(names(",cat"), Err(PromptError::EmptyName { .. })));
    for empty in ["", " ", ",", " , "] {
        assert!(
            matches!(names(empty), Err(PromptError::NoClasses { .. })),
            "{empty:?}"
        );
    }
}

#[test]
fn resolves_built_in_lists_files_and_inline_names() {
    let (_directory, path) = temp_file("a, b.txt", "cat\ndog\n");
    assert_eq!(
        ClassNames::resolve(path.to_str().unwrap()).unwrap().names(),
        ["cat", "dog"]
    );
    assert_eq!(
        ClassNames::resolve("swim trunks / shorts, cat")
            .unwrap()
            .names(),
        ["swim trunks / shorts", "cat"]
    );
    assert_eq!(ClassNames::resolve("cat,").unwrap().names(), ["cat"]);
    for missing in [
        "imagenet1k",
        "classes.txt",
        "./a, b",
        "lists/a,b.json",
        "/no/such/file",
        "",
    ] {
        let message = ClassNames::resolve(missing).unwrap_err().to_string();
        for part in [
            "neither a class list",
            "imagenet-1k",
            "nor an existing file",
            "nor a comma-separated list",
        ] {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }
}

#[test]
fn sets_and_names_round_trip_through_json_and_are_validated() {
    let set = TemplateSet::built_in("clipn").unwrap();
    let back: TemplateSet = serde_json::from_str(&serde_json::to_string(&set).unwrap()).unwrap();
    assert_eq!(back, set);
    let names = ClassNames::built_in("cifar10").unwrap();
    assert_eq!(
        serde_json::from_str::<ClassNames>(&serde_json::to_string(&names).unwrap()).unwrap(),
        names
    );
    for invalid in [
        r#"{"name":"x","yes":[]}"#,
        r#"{"name":"x","yes":["a"]}"#,
        r#"{"name":"x","yes":["{}"],"no":[]}"#,
    ] {
        assert!(
            serde_json::from_str::<TemplateSet>(invalid).is_err(),
            "{invalid}"
        );
    }
    assert!(serde_json::from_str::<ClassNames>("[]").is_err());
}

proptest! {
    #[test]
    fn a_template_is_prefix_name_suffix(
        prefix in "[^{]{0,12}",
        suffix in "[^}]{0,12}",
        name in any::<String>(),
    ) {
        let template = Template::parse(&format!("{prefix}{{}}{suffix}")).unwrap();
        prop_assert_eq!(template.prefix(), &prefix);
        if !suffix.contains("{}") {
            prop_assert_eq!(template.fill(&name), format!("{prefix}{name}{suffix}"));
        }
    }

    #[test]
    fn any_file_is_read_or_rejected(content in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        any::<String>().prop_map(String::into_bytes),
        "[yesno=\\[\\]\"'{}#\\\\, \n]{0,60}".prop_map(String::into_bytes),
    ]) {
        for name in ["f.txt", "f.toml", "f.json"] {
            if let Ok(set) = load_templates(name, &content) {
                let complete = set.yes().iter().all(|template| template.as_str().contains("{}"));
                prop_assert!(complete);
            }
            if let Ok(names) = load_classes(name, &content) {
                prop_assert!(names.iter().all(|name| !name.trim().is_empty()));
            }
        }
    }

    #[test]
    fn any_class_list_is_read_or_rejected(
        content in "(names:|- |[0-2]: ?|id,name\n|[a ,:#'\"\\[\\]{}|>&*!%~\t\r\n\\\\-]|--- |no\n){0,24}",
    ) {
        for name in ["f.txt", "f.yaml", "f.csv"] {
            if let Ok(names) = load_classes(name, &content) {
                prop_assert!(names.iter().all(|name| !name.trim().is_empty()));
                prop_assert!(!names.iter().any(|name| name.contains(char::is_control)));
            }
        }
    }

    #[test]
    fn any_inline_list_is_read_or_rejected(text in any::<String>()) {
        if let Ok(names) = ClassNames::parse_inline(&text) {
            prop_assert!(names.len() >= 1 && names.iter().all(|name| !name.is_empty()));
        }
    }
}
