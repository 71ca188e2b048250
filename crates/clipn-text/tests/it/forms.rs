//! Tests of class lists and templates in the forms that people have: each is read or refused, and
//! never taken line by line for something else.

use clipn_testing::fixture;
use clipn_text::prompts::{ClassList, ClassListForm, PromptError, TemplateSet};

const TWELVE: [&str; 12] = [
    "school bus",
    "goldfish",
    "pizza",
    "banana",
    "teapot",
    "espresso",
    "lemon",
    "orange",
    "bison",
    "koala",
    "mushroom",
    "pretzel",
];

fn load(name: &str) -> ClassList {
    ClassList::load(fixture(&format!("cases/classes/{name}"))).unwrap()
}

/// Reads a file with this extension and text.
fn parse(extension: &str, text: &str) -> Result<ClassList, PromptError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("c.{extension}"));
    std::fs::write(&path, text).unwrap();
    ClassList::load(&path)
}

fn names(extension: &str, text: &str) -> Vec<String> {
    parse(extension, text).unwrap().into_names().into()
}

#[test]
fn every_form_of_the_same_twelve_names_is_read() {
    let table = ClassListForm::Table {
        column: "name".to_owned(),
    };
    for (file, form) in [
        ("oneline.txt", ClassListForm::Separated),
        ("dict.txt", ClassListForm::Numbers),
        ("pandas.csv", table),
        ("synset_mapping.txt", ClassListForm::Synsets),
        ("quoted.txt", ClassListForm::Quoted),
        ("comment.txt", ClassListForm::Lines),
        ("class_index.json", ClassListForm::ClassIndex),
    ] {
        let list = load(file);
        assert_eq!(list.names().names(), TWELVE, "{file}");
        assert_eq!(list.form(), &form, "{file}");
        assert!(
            list.description().unwrap().contains("12 class names"),
            "{file}"
        );
        list.check_names().unwrap();
    }
    let ids = load("class_index.json");
    assert_eq!(ids.synset_ids(), load("synset_mapping.txt").synset_ids());
    assert_eq!(ids.synset_ids().unwrap()[0], "n04146614");
    let comment = load("comment.txt").description().unwrap();
    assert!(
        comment.ends_with("one name per line; skipped 1 comment line"),
        "{comment}"
    );
}

#[test]
fn tables_and_paths_are_read() {
    let table = load("table.tsv");
    assert_eq!(
        table.names().names(),
        [
            "goldfish",
            "European fire salamander",
            "bullfrog",
            "tailed frog"
        ]
    );
    assert_eq!(table.synset_ids().unwrap()[3], "n01644900");
    let places = load("places.txt");
    assert_eq!(
        places.names().names(),
        ["airfield", "airplane cabin", "pizzeria"]
    );
    assert_eq!(places.form(), &ClassListForm::Paths);
}

#[test]
fn duplicates_are_named_with_their_lines() {
    let list = load("dup.txt");
    assert_eq!(
        list.duplicates().unwrap(),
        "`goldfish` (line 2, line 14); `pizza` (line 3, line 13)"
    );
    let error = list.check_names().unwrap_err().to_string();
    assert!(error.starts_with("duplicate class names in "), "{error}");
    let forms = parse("txt", "caf\u{e9}\ncafe\u{301}\nhot dog\nHot  Dog\n").unwrap();
    assert_eq!(
        forms.duplicates().unwrap(),
        "`caf\u{e9}` (line 1, line 2 as `cafe\u{301}`); `hot dog` (line 3, line 4 as `Hot  Dog`)"
    );
    let imagenet = ClassList::built_in("imagenet-1k")
        .unwrap()
        .duplicates()
        .unwrap();
    assert!(imagenet.contains("`missile`") && imagenet.contains("`sunglasses`"));
}

#[test]
fn the_built_in_imagenet_list_has_synset_ids() {
    let list = ClassList::built_in("imagenet-1k").unwrap();
    let ids = list.synset_ids().unwrap();
    assert_eq!((ids.len(), list.names().names().len()), (1000, 1000));
    // The classes are in the order of their ids.
    assert!(ids.is_sorted_by(|a, b| a < b));
    for (index, id, name) in [
        (1, "n01443537", "goldfish"),
        (779, "n04146614", "school bus"),
        (999, "n15075141", "toilet paper"),
    ] {
        assert_eq!(
            (ids[index].as_str(), list.names().names()[index].as_str()),
            (id, name)
        );
    }
    assert_eq!(ClassList::built_in("cifar10").unwrap().synset_ids(), None);
}

#[test]
fn no_class_is_called_unknown() {
    let error = parse("txt", "cat\nUnknown\n")
        .unwrap()
        .check_names()
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("class name `Unknown`") && message.contains("line 2"),
        "{message}"
    );
}

#[test]
fn further_forms_are_read() {
    for (text, expected) in [
        ("{'goldfish': 1, 'cat': 0}", &["cat", "goldfish"][..]),
        (
            "class_to_idx = {\n  \"cat\": 0, \"a, b\": 1}\n",
            &["cat", "a, b"],
        ),
        ("['cat', \"dog's\"]", &["cat", "dog's"]),
        (
            "classes: list[str] = [\n  'cat',\n  'dog',\n]\n",
            &["cat", "dog"],
        ),
        ("CLASSES = ('cat', 'hot dog')\n", &["cat", "hot dog"]),
        ("('cat', 'hot dog')\n", &["cat", "hot dog"]),
        ("['cat'];  # all\n", &["cat"]),
        ("names: not yaml", &["names: not yaml"]),
        ("- cat\n- \"hot dog\"\n", &["cat", "hot dog"]),
        ("0: cat\n1: dog\n", &["cat", "dog"]),
        ("1,dog\n0,cat\n", &["cat", "dog"]),
        ("1. cat\n2. dog\n", &["cat", "dog"]),
        ("0 cat\n1 hot dog\n", &["cat", "hot dog"]),
        ("cat 0\nhot dog 1\n", &["cat", "hot dog"]),
        ("cat; dog", &["cat", "dog"]),
        ("\"a, b\", c", &["a, b", "c"]),
        ("cat, dog,\ncow,\n", &["cat", "dog", "cow"]),
        ("cat,\ndog\n", &["cat", "dog"]),
        ("'cat',\n'rock \\'n\\' roll'", &["cat", "rock 'n' roll"]),
        (
            "n02123045: tabby_cat\nn02099601: golden\n",
            &["tabby cat", "golden"],
        ),
        (
            "{\"name\": \"cat\"}\n{\"name\": \"dog\"}\n",
            &["cat", "dog"],
        ),
        ("[{\"id\": 7, \"name\": \"cat\"}]", &["cat"]),
        ("{\"names\": [\"cat\", \"dog\"]}", &["cat", "dog"]),
        (
            "{\"id2label\": {\"1\": \"dog\", \"0\": \"cat\"}}",
            &["cat", "dog"],
        ),
        ("{\"n02123045\": \"tabby_cat\"}", &["tabby cat"]),
        ("/a/arena/hockey\n/b/bar 7\n", &["arena hockey", "bar"]),
        (
            "1 pizza\n2 banana\n3 teapot\n",
            &["pizza", "banana", "teapot"],
        ),
        (
            "3 teapot\n1 pizza\n2 banana\n",
            &["pizza", "banana", "teapot"],
        ),
        ("01 pizza\n02 banana\n", &["pizza", "banana"]),
        ("1 - pizza\n2 - banana\n", &["pizza", "banana"]),
        ("1.pizza\n2.banana\n", &["pizza", "banana"]),
        ("(0) pizza\n(1) banana\n", &["pizza", "banana"]),
        ("0 => pizza\n1 => banana\n", &["pizza", "banana"]),
        (
            "pizza 1\nbanana 2\nteapot 3\n",
            &["pizza", "banana", "teapot"],
        ),
        ("banana, 2\npizza, 1\n", &["pizza", "banana"]),
        ("pizza (1)\nbanana (2)\n", &["pizza", "banana"]),
        // A list with indices may have duplicates.
        (
            "0 missile\n1 tench\n2 missile\n",
            &["missile", "tench", "missile"],
        ),
        // Numbers, commas and quotes that are part of names.
        (
            "digit 0\ndigit 2\ndigit 1\n",
            &["digit 0", "digit 2", "digit 1"],
        ),
        ("0.5 liters\n1.5 liters\n", &["0.5 liters", "1.5 liters"]),
        ("1 cat\n2 cats\n3 cats\n", &["1 cat", "2 cats", "3 cats"]),
        ("1 person\n2 people\n", &["1 person", "2 people"]),
        ("7-Eleven\n3-ring binder\n", &["7-Eleven", "3-ring binder"]),
        ("boeing 707\nboeing 747\n", &["boeing 707", "boeing 747"]),
        ("1 euro\n2 euro\n", &["1 euro", "2 euro"]),
        (
            "Paris, Texas\nRome, Georgia\n",
            &["Paris, Texas", "Rome, Georgia"],
        ),
        (
            "rock 'n' roll\n(blank)\n\\#1 fan\n",
            &["rock 'n' roll", "(blank)", "#1 fan"],
        ),
    ] {
        assert_eq!(names("txt", text), expected, "{text:?}");
    }
    assert_eq!(names("csv", "name\ncat\ndog\n"), ["cat", "dog"]);
    assert_eq!(names("csv", "cat\ndog\n"), ["cat", "dog"]);
    assert_eq!(names("csv", "id;class_name\n0;\"a; b\"\n"), ["a; b"]);
    assert_eq!(
        names(
            "csv",
            "\"name\"\n\"a, b\"\n\"say \"\"hi\"\"\"\nParis, Texas\n"
        ),
        ["a, b", "say \"hi\"", "Paris, Texas"]
    );
}

#[test]
fn unclear_lists_are_refused_with_what_was_seen() {
    for (extension, text, seen) in [
        (
            "txt",
            "\"cat\",\ndog\n\"cow\"",
            "2 of 3 lines are quoted: lines 1, 3",
        ),
        (
            "txt",
            "cat,\ndog\ncow\n",
            "1 of 3 lines end with `,`: line 1",
        ),
        (
            "txt",
            "n02123045 cat\ndog\n",
            "line 1 begin with a synset id, but line 2 not",
        ),
        ("txt", "n02123045\nn02099601\n", "synset ids without names"),
        (
            "txt",
            "0: cat\n2: dog\n",
            "2 numbered names, but number 1 is missing",
        ),
        (
            "txt",
            "{0: 'cat', 0: 'dog'}",
            "the number 0 belongs to two names",
        ),
        (
            "txt",
            "cat\t1\ndog\t7\n",
            "a table without a column `name`; its first line is `cat`, `1`",
        ),
        (
            "csv",
            "a,b\nc,d\n",
            "a table without a column `name`; its first line is `a`, `b`",
        ),
        ("txt", "<!DOCTYPE html>\n<html>", "the text of a web page"),
        (
            "txt",
            "import np\nCLASSES = np.array(['cat', 'dog'])\n",
            "line 2 is an assignment in code: \"CLASSES = np.array(['cat', 'dog'])\"",
        ),
        (
            "js",
            "const classes = ['cat', 'dog'];",
            "line 1 is an assignment in code",
        ),
        (
            "py",
            "names = 'cat', 'dog'",
            "line 1 is an assignment in code",
        ),
        (
            "json",
            "{\"cat\": [\"a cat\"]}",
            "has the form of prompts per class",
        ),
        (
            "json",
            "{\"cat\": \"Katze\"}",
            "keys, such as `cat` for a string, are neither numbers",
        ),
        ("txt", "\"a, b", "missing closing quotation mark in line 1"),
        (
            "txt",
            "cat\ndog\n\"cow\n",
            "missing closing quotation mark in line 3",
        ),
        (
            "txt",
            "0: cat\n1: \"dog\n",
            "missing closing quotation mark in line 2",
        ),
        (
            "csv",
            "name\ncat\n\"a, b\n",
            "missing closing quotation mark in line 3",
        ),
        (
            "csv",
            "id,name\n0,\"cat\n1,dog\n",
            "missing closing quotation mark in line 2",
        ),
        (
            "csv",
            "name\n\"a\", b\n",
            "line 2 has 2 fields, and the header of the table 1",
        ),
        (
            "csv",
            "class,text\n0,cat\n1,dog\n",
            "numbers in the column `class` of a table",
        ),
        ("json", "[1, 2]", "the number 1 in place of a name"),
        ("json", "[[\"a\", \"b\"]]", "a list of 2 in place of a name"),
    ] {
        let error = parse(extension, text).unwrap_err();
        assert!(
            matches!(&error, PromptError::UnclearNames { .. }) && error.to_string().contains(seen),
            "{text:?}: {error}"
        );
    }
    for text in ["[cat, dog]", "['cat'];\nMORE = ['dog'];", "['cat']; cow"] {
        let error = parse("txt", text).unwrap_err();
        assert!(matches!(error, PromptError::Malformed { .. }), "{error}");
    }
}

#[test]
fn a_command_line_takes_the_same_lists() {
    let inline = |text: &str| ClassList::resolve(text).unwrap();
    let list = inline(r#"["hot dog", "pizza, cold"]"#);
    assert_eq!(list.names().names(), ["hot dog", "pizza, cold"]);
    assert_eq!(list.form(), &ClassListForm::List);
    assert_eq!(
        inline("{0: 'cat', 1: 'dog'}").names().names(),
        ["cat", "dog"]
    );
    let quoted = inline("'hot dog', \"a, b\", c");
    assert_eq!(quoted.names().names(), ["hot dog", "a, b", "c"]);
    assert!(quoted.description().unwrap().contains("quoted"));
    let plain = inline("rock 'n' roll, 5\" pipe, 'tis");
    assert_eq!(plain.names().names(), ["rock 'n' roll", "5\" pipe", "'tis"]);
    assert_eq!(plain.description(), None);
    let error = ClassList::resolve("cow, \"a, b").unwrap_err().to_string();
    assert!(
        error.ends_with("missing closing quotation mark in name 2"),
        "{error}"
    );
}

#[test]
fn every_form_of_templates_is_read() {
    let expected = [
        "a bad photo of a {}.",
        "a photo of many {}.",
        "a sculpture of a {}.",
    ];
    for (file, described) in [
        ("ok.txt", None),
        ("list.json", Some("a list in JSON or Python")),
        ("notebook.txt", Some("quoted lines")),
        (
            "clipbench.json",
            Some("a list in JSON or Python, with `{c}` for the class name"),
        ),
    ] {
        let path = fixture(&format!("cases/templates/{file}"));
        let (set, description) = TemplateSet::resolve_described(path.to_str().unwrap()).unwrap();
        let texts: Vec<&str> = set.yes().iter().map(|template| template.as_str()).collect();
        assert_eq!(texts, expected, "{file}");
        match described {
            Some(form) => {
                let description = description.unwrap();
                assert!(
                    description.starts_with("read 3 templates from ")
                        && description.ends_with(form),
                    "{description}"
                );
            }
            None => assert_eq!(description, None),
        }
    }
}

#[test]
fn sentences_per_class_are_read() {
    let path = fixture("cases/templates/cupl.json");
    let (set, description) = TemplateSet::resolve_described(path.to_str().unwrap()).unwrap();
    assert!(
        description
            .unwrap()
            .starts_with("read 24 sentences for 12 classes from ")
    );
    let sentences = set.sentences().unwrap().for_classes(&TWELVE).unwrap();
    assert_eq!(
        sentences[2],
        ["a photo of a pizza, which is round.", "pizza on a plate."]
    );
    set.check_classes(&TWELVE).unwrap();
    let error = set
        .check_classes(&["pizza", "zebra"])
        .unwrap_err()
        .to_string();
    assert_eq!(error, "no sentences for 1 of the classes: `zebra`");
    let error = set.check_classes(&TWELVE[..11]).unwrap_err().to_string();
    assert_eq!(error, "sentences of 1 names that are no class: `pretzel`");

    let json = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<TemplateSet>(&json).unwrap(), set);
    let fewer = set.clone().with_sentences_only_of(&TWELVE[..2]);
    fewer.check_classes(&TWELVE[..2]).unwrap();
    let again = fewer.with_sentences_of(&set).unwrap();
    again.check_classes(&TWELVE).unwrap();
}

/// Reads a template file with this text.
fn templates(text: &str) -> Result<Vec<String>, PromptError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.txt");
    std::fs::write(&path, text).unwrap();
    let set = TemplateSet::load(&path)?;
    Ok(set.yes().iter().map(ToString::to_string).collect())
}

#[test]
fn further_forms_of_templates_are_read() {
    for (text, expected) in [
        (
            "{} in the rain\n[{}] on a card\n",
            &["{} in the rain", "[{}] on a card"][..],
        ),
        ("a photo of a {class_name}.\n", &["a photo of a {}."]),
        (
            "lambda c: f'a {c}.',\nlambda c: f'the {c}.',\n",
            &["a {}.", "the {}."],
        ),
        (
            "imagenet_templates = [\n    'a {}.',\n    'the {}.',\n]\n",
            &["a {}.", "the {}."],
        ),
        ("TEMPLATES = (\n    lambda c: f'a {c}.',\n)\n", &["a {}."]),
        ("t: list[str] = ['a {}.', 'the {}.']", &["a {}.", "the {}."]),
        ("TEMPLATES = ('a {}.', 'the {}.')", &["a {}.", "the {}."]),
        ("'a {}.', 'the {}.'", &["a {}.", "the {}."]),
        ("a \"{}\" sign\nthe '{}'\n", &["a \"{}\" sign", "the '{}'"]),
    ] {
        assert_eq!(templates(text).unwrap(), expected, "{text:?}");
    }
    for (text, seen) in [
        (
            "'a {}.'\na {}\n",
            "1 of 2 templates are in quotes, such as line 1, but line 2 is not",
        ),
        (
            "{\"imagenet1k\": [\"a {c}.\"]}",
            "a dictionary of 1 lists of templates (`imagenet1k`)",
        ),
        (
            "{\"cat\": [3]}",
            "the number 3 in place of a sentence of `cat`",
        ),
        ("{\"cat\": []}", "class `cat` has no sentences"),
        (
            "{\"cat\": \"a cat\", \"Cat\": \"a cat\"}",
            "duplicate class `Cat`, also `cat`",
        ),
        ("[\"a {}\", 3]", "the number 3 in place of template 2"),
        ("[\"a {}\" \"b {}\"]", "is not valid JSON or Python"),
    ] {
        let message = templates(text).unwrap_err().to_string();
        assert!(message.contains(seen), "{text:?}: {message}");
    }
}

#[test]
fn numbers_that_are_kept_are_noted_with_the_reason() {
    let described = |text: &str| {
        let list = parse("txt", text);
        list.unwrap().description()
    };
    for (text, clause) in [
        (
            "0 pizza\n1 banana\n3 teapot\n",
            "the numbers are part of the names, such as `0 pizza`, since they are not complete",
        ),
        (
            "01 pizza\n03 banana\n",
            "the numbers are part of the names, such as `01 pizza`, since they are not complete",
        ),
        (
            "1 - pizza\n3 - banana\n",
            "the numbers are part of the names, such as `1 - pizza`, since they are not complete",
        ),
        (
            "pizza 1\nbanana 3\n",
            "the numbers are part of the names, such as `pizza 1`, since they are not complete",
        ),
        (
            "1 person\n2 people\n",
            "the numbers are part of the names, such as `1 person`, since two numbers from 1 may be \
             counts",
        ),
        (
            "1 euro\n2 euro\n",
            "the numbers are part of the names, such as `1 euro`, since the names without them are \
             the same",
        ),
        (
            "0: pizza\n1: banana\nteapot\n",
            "2 of 3 names begin with numbers that are part of them, such as `0: pizza`",
        ),
        (
            "0 pizza, 1 banana",
            "one line of names, separated; the numbers are part of the names, such as `0 pizza`",
        ),
        (
            "[\"0 pizza\", \"1 banana\"]",
            "a list in JSON or Python; the numbers are part of the names, such as `0 pizza`",
        ),
    ] {
        let note = described(text).unwrap();
        assert!(note.ends_with(clause), "{text:?}: {note}");
    }
    for text in [
        "pizza\n3 bananas\n",
        "boeing 707\nboeing 747\n",
        "boeing 707\nairbus 320\n",
        "digit 0\ndigit 1\n",
        "0\n1\n2\n",
        "7-Eleven\n3-ring binder\n",
    ] {
        assert_eq!(described(text), None, "{text:?}");
    }
    let inline = ClassList::resolve("0 pizza, 1 banana").unwrap();
    assert!(
        inline
            .description()
            .unwrap()
            .ends_with("part of the names, such as `0 pizza`")
    );
    assert!(
        described("1 pizza\n2 banana\n3 teapot\n")
            .unwrap()
            .ends_with("lines of number and name")
    );
}

/// Message of the error of a file with these bytes.
fn refusal(extension: &str, bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("c.{extension}"));
    std::fs::write(&path, bytes).unwrap();
    let message = ClassList::load(&path).unwrap_err().to_string();
    message.replace(&path.display().to_string(), "FILE")
}

#[test]
fn line_ends_of_old_macs_separate_names() {
    let expected = ["cat", "hot dog", "cow"];
    assert_eq!(names("txt", "cat\rhot dog\rcow"), expected);
    assert_eq!(names("txt", "# animals\rcat\rhot dog\rcow\r"), expected);
    assert_eq!(names("txt", "cat\r\r\nhot dog\r\r\ncow"), expected);
    assert_eq!(names("json", "[\"cat\",\r\"hot dog\", \"cow\"]"), expected);
    assert_eq!(names("csv", "id,name\r0,cat\r1,hot dog\r2,cow"), expected);
    assert_eq!(templates("a {}\rthe {}").unwrap(), ["a {}", "the {}"]);
    assert_eq!(
        refusal("txt", b"cat\r\rdog"),
        "empty class name in FILE, line 2"
    );
}

#[test]
fn control_characters_in_names_are_refused_with_their_line() {
    for (text, message) in [
        (
            "cat\ndog\u{7}\n",
            "control character U+0007 in class name \"dog\\u{7}\" in FILE, line 2",
        ),
        (
            "cat\n\u{1a}",
            "control character U+001A in class name \"\\u{1a}\" in FILE, line 2",
        ),
        (
            "cat\nhot\u{2028}dog\n",
            "control character U+2028 in class name \"hot\\u{2028}dog\" in FILE, line 2",
        ),
        (
            "[\"hot\\ndog\"]",
            "control character U+000A in class name \"hot\\ndog\" in FILE, name 1",
        ),
    ] {
        assert_eq!(refusal("txt", text.as_bytes()), message);
    }
    let error = ClassList::parse_inline("cat, hot\ndog").unwrap_err();
    assert!(error.to_string().contains("U+000A"), "{error}");
    assert_eq!(names("txt", "cat\t\ndog\u{c}"), ["cat", "dog"]);
}

#[test]
fn files_that_are_no_text_are_named_by_their_kind() {
    let utf16: Vec<u8> = "cat\r\ndog"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (bytes, kind) in [
        (&[b"\xff\xfe", &utf16[..]].concat()[..], "UTF-16 text"),
        (&utf16, "UTF-16 text"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
        (b"\x89PNG\r\n\x1a\n\0", "a PNG image"),
        (b"PK\x03\x04\x14\0\0\0", "a ZIP archive"),
        (b"\x02\0\0\0\0\0\0\0{}", "a safetensors file"),
        (b"P6\n3 3\n255\n\xff\xff\xff\0", "a PNM image"),
    ] {
        assert_eq!(
            refusal("txt", bytes),
            format!("FILE is {kind}; expected UTF-8 text")
        );
    }
    assert_eq!(names("txt", "P6 sedan\nPARENT\n"), ["P6 sedan", "PARENT"]);
}

#[test]
fn complete_numbers_of_a_column_give_the_order() {
    let expected = ["cat", "dog", "cow"];
    for (extension, text) in [
        ("csv", "index,name\n2,cow\n0,cat\n1,dog\n"),
        ("csv", "name;id\ndog;2\ncat;1\ncow;3\n"),
        ("csv", ",name\n1,dog\n0,cat\n2,cow\n"),
        ("tsv", "class\tname\n1\tdog\n0\tcat\n2\tcow\n"),
        // The first column counts rows, and the second has the numbers.
        ("csv", ",class_id,name\n0,1,dog\n1,0,cat\n2,2,cow\n"),
        // The column with incomplete numbers says nothing.
        ("csv", "id,label,name\n7,1,dog\n8,0,cat\n9,2,cow\n"),
        (
            "json",
            r#"[{"id": 2, "name": "cow"}, {"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]"#,
        ),
        (
            "json",
            "{\"name\": \"dog\", \"label\": \"2\"}\n{\"name\": \"cat\", \"label\": \"1\"}\n\
             {\"name\": \"cow\", \"label\": \"3\"}\n",
        ),
    ] {
        let list = parse(extension, text).unwrap();
        assert_eq!(list.names().names(), expected, "{text:?}");
        let note = list.description().unwrap();
        assert!(note.ends_with(", in the order of the numbers"), "{note}");
    }
    let sorted = parse("csv", "id,name\n0,cat\n1,dog\n").unwrap();
    assert!(sorted.description().unwrap().ends_with("of a table"));
}

#[test]
fn numbers_of_a_column_that_give_no_order_are_noted() {
    for (extension, text, remark) in [
        (
            "csv",
            "id,name\n3,cat\n1,dog\n",
            "the order is that of the source, since the numbers in `id` are not complete",
        ),
        (
            "csv",
            ",name\n5,cat\n,dog\n",
            "the order is that of the source, since the numbers in the first column are not complete",
        ),
        (
            "csv",
            "name,target\ncat,1\ndog,1\n",
            "the order is that of the source, since `target` has the number 1 twice",
        ),
        (
            "json",
            r#"[{"id": 18, "name": "cat"}, {"id": 17, "name": "dog"}]"#,
            "the order is that of the source, since the numbers in `id` are not complete",
        ),
    ] {
        let list = parse(extension, text).unwrap();
        assert_eq!(list.names().names(), ["cat", "dog"], "{text:?}");
        let note = list.description().unwrap();
        assert!(note.ends_with(&format!("; {remark}")), "{note}");
    }
    let words = parse("csv", "id,name\nn1,cat\nn2,dog\n").unwrap();
    assert!(words.description().unwrap().ends_with("of a table"));
}

#[test]
fn lists_in_yaml_are_read() {
    let expected = ["person", "hot dog", "car"];
    let key = |key: &str| ClassListForm::YamlKey {
        key: key.to_owned(),
    };
    let ultralytics = "# COCO8\n\npath: coco8  # dataset root\ntrain: images/train\nnc: 3\n\n\
        # Classes\nnames:\n  0: person\n  1: hot dog  # food\n\n  2: \"car\"\n\n\
        download: |\n  names = ['x']\n  print(names)\n";
    for (text, form) in [
        (ultralytics, key("names")),
        (
            "names:\n  2: car\n  0: person\n  1: hot dog\n",
            key("names"),
        ),
        (
            "names:\n- person\n- 'hot dog'\n- car\nnc: 3\n",
            key("names"),
        ),
        ("nc: 3\nnames: [person, 'hot dog', car]\n", key("names")),
        (
            "Classes: [ # three\n  person, # one\n  \"hot dog\",\n  car,\n]\nroboflow:\n  version: 1\n",
            key("Classes"),
        ),
        ("names: {0: person, 1: hot dog, 2: \"car\"}\n", key("names")),
        (
            "names: {\"1\":\"hot dog\", \"0\":\"person\", \"2\":\"car\"}",
            key("names"),
        ),
        (
            "names:\n  person: 0\n  hot dog: 1\n  car: 2\n",
            key("names"),
        ),
        (
            "---\n- person\n- hot dog\n\n- car\n...\n",
            ClassListForm::Yaml,
        ),
    ] {
        for extension in ["yaml", "txt"] {
            let list = parse(extension, text).unwrap();
            assert_eq!(list.names().names(), expected, "{text:?}");
            assert_eq!(list.form(), &form, "{text:?}");
        }
    }
    for (text, form) in [
        ("0: person\n1: hot dog\n2: car\n", ClassListForm::Numbers),
        ("person: 0\ncar: 2\nhot dog: 1\n", ClassListForm::Indices),
        ("- person\n\n- hot dog\n- car # new\n", ClassListForm::Yaml),
        ("[person, hot dog, car]\n", ClassListForm::Yaml),
        ("person\nhot dog\ncar\n", ClassListForm::Lines),
    ] {
        let list = parse("yml", text).unwrap();
        assert_eq!(list.names().names(), expected, "{text:?}");
        assert_eq!(list.form(), &form, "{text:?}");
    }
    let note = parse("yaml", ultralytics).unwrap().description().unwrap();
    assert!(
        note.starts_with("read 3 class names from ") && note.ends_with("the key `names` of YAML"),
        "{note}"
    );
    assert_eq!(
        names(
            "yaml",
            "- it's\n- 'it''s'\n- \"a\\\"b\"\n- C#\n- http://x\n- Paris, Texas\n- no\n- \"# 1\"\n"
        ),
        [
            "it's",
            "it's",
            "a\"b",
            "C#",
            "http://x",
            "Paris, Texas",
            "no",
            "# 1"
        ]
    );
    assert_eq!(
        names("yaml", "names: [it's, C#, http://x, 'a, b',\n  no # yes\n]"),
        ["it's", "C#", "http://x", "a, b", "no"]
    );
}

#[test]
fn other_yaml_is_refused_with_what_was_seen() {
    for (extension, text, seen) in [
        (
            "txt",
            "names:\n  0: cat\n  2: dog\n",
            "2 numbered names, but number 1 is missing",
        ),
        (
            "yaml",
            "names:\n  0: cat\n  0: dog\n",
            "the number 0 belongs to two names",
        ),
        (
            "txt",
            "names:\n  - id: 1\n    label: cat\n",
            "line 2 of YAML has a mapping in place of a name: \"id: 1\"",
        ),
        (
            "txt",
            "- name: cat\n- name: dog\n",
            "line 1 of YAML has a mapping in place of a name: \"name: cat\"",
        ),
        (
            "yaml",
            "names:\n  - great white\n    shark\n",
            "line 3 of YAML is not indented like line 2: \"shark\"",
        ),
        (
            "yaml",
            "names:\n  - cat\n  dog: 1\n",
            "line 3 of YAML is no entry like line 2: \"dog: 1\"",
        ),
        (
            "yaml",
            "names:\n\t- cat\n",
            "a tab in the indentation of line 2",
        ),
        (
            "txt",
            "names:\ncat\ndog\n",
            "line 2 of YAML has no key: \"cat\"",
        ),
        (
            "yaml",
            "- cat\n- ~\n",
            "line 2 of YAML has a null in place of a name: \"~\"",
        ),
        (
            "yaml",
            "- &a cat\n- *a\n",
            "line 1 of YAML has a mark of YAML in place of a name: \"&a cat\"",
        ),
        (
            "yaml",
            "- [a, b]\n",
            "line 1 of YAML has a list or mapping in place of a name: \"[a, b]\"",
        ),
        (
            "yaml",
            "- 'cat' dog\n",
            "line 1 of YAML has text after a quoted string: \"'cat' dog\"",
        ),
        (
            "yaml",
            "- 'cat\n",
            "missing closing quote in line 1 of YAML",
        ),
        (
            "yaml",
            "- \"cat\n",
            "missing closing quote in line 1 of YAML",
        ),
        (
            "txt",
            "names: [cat, [dog]]\n",
            "line 1 of YAML has a list or mapping in place of a name: \"[dog]]\"",
        ),
        (
            "txt",
            "nc: 2\nnames: [cat,\n  dog\n",
            "missing `]` of the list in line 2",
        ),
        (
            "txt",
            "names: [great white\n  shark]\n",
            "expected `,` or `]` in line 2: \"shark]\"",
        ),
        (
            "txt",
            "names: [cat] dog\n",
            "text after the brackets in line 1: \"dog\"",
        ),
        ("txt", "names: {0 cat}\n", "expected `:` in line 1"),
        (
            "txt",
            "names: |\n  cat\n  dog\n",
            "\"|\" in place of a list under the key `names` of YAML, in line 1",
        ),
        (
            "yaml",
            "names: coco.names\n",
            "\"coco.names\" in place of a list under the key `names` of YAML, in line 1",
        ),
        (
            "yaml",
            "nc: 2\nnames:\n",
            "nothing in place of a list under the key `names` of YAML, in line 2",
        ),
        (
            "yaml",
            "names: [a]\nclasses:\n- b\n",
            "lists of names under two keys of YAML, `names` in line 1 and `classes` in line 2",
        ),
        (
            "yaml",
            "data:\n  names:\n  - cat\nseed: 1\n",
            "a YAML mapping without a key `names` or `classes`; its keys are `data`, `seed`",
        ),
        (
            "yaml",
            "path: coco\ntrain: images\n",
            "a dictionary whose keys, such as `path` for a string, are neither numbers",
        ),
        (
            "yaml",
            "cat\n dog: 1\n",
            "line 2 of a YAML file without a list of names at its top: \"dog: 1\"",
        ),
        (
            "txt",
            "---\ncat\n",
            "line 2 of a YAML file without a list of names at its top: \"cat\"",
        ),
        (
            "yaml",
            "- cat\n---\n- dog\n",
            "a second YAML document in line 2",
        ),
        (
            "txt",
            "data:\n  names:\n    0: cat\n",
            "line 1 is no name: \"data:\"",
        ),
    ] {
        let error = parse(extension, text).unwrap_err();
        assert!(
            matches!(&error, PromptError::UnclearNames { .. }) && error.to_string().contains(seen),
            "{text:?}: {error}"
        );
    }
    for text in [
        "names:\n- cat\n-\n",
        "names: [cat,, dog]",
        "names:\n  0: cat\n  1:\n",
    ] {
        let error = parse("yaml", text).unwrap_err();
        assert!(matches!(error, PromptError::EmptyName { .. }), "{error}");
    }
}
