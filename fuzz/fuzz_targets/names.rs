//! Class names and prompt templates.
#![no_main]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/temp.rs"]
mod temp;

use clipn_text::prompts::{ClassNames, Template, TemplateSet};

/// Maximum memory per byte of input: a name or template of one byte is a separate string, and lists
/// grow by doubling.
const MEMORY_PER_BYTE: usize = 256;

fn read(bytes: &[u8]) {
    for file in ["names.txt", "names.json", "names.yaml", "names.csv"] {
        if let Ok(names) = ClassNames::load(temp::write_file(file, bytes)) {
            assert!(names.iter().all(|name| !name.trim().is_empty()));
            assert!(!names.iter().any(|name| name.contains(char::is_control)));
        }
    }
    for file in ["templates.txt", "templates.toml"] {
        if let Ok(set) = TemplateSet::load(temp::write_file(file, bytes)) {
            assert!(set.no().is_none_or(|no| no.len() == set.yes().len()));
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(names) = ClassNames::parse_inline(text) {
        assert_ne!(names.len(), 0);
    }
    if let Ok(template) = Template::parse(text) {
        assert!(template.fill("a name").contains("a name"));
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| memory::within_memory_limit(
    MEMORY_PER_BYTE * bytes.len() + (1 << 20),
    || read(bytes)
));
