//! Caption tables, image lists, class folder maps, training logs and shard sizes.
#![no_main]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/scratch.rs"]
mod scratch;

use std::path::Path;

use clipn::dataset::{
    CaptionTable, FolderMap, MapSource, SampleFields, ShardSet, TableFormat, read_list,
};

/// Maximum memory per byte of input: a row of a few bytes has a line, field offsets and an error.
const MEMORY_PER_BYTE: usize = 256;

fn read(bytes: &[u8]) {
    for separator in ['\t', ','] {
        let format = TableFormat {
            separator,
            ..TableFormat::default()
        };
        let Ok(table) = CaptionTable::read(&scratch::file("captions.csv", bytes), &format) else {
            continue;
        };
        for index in 0..table.len() {
            if let Ok((_, caption)) = table.row(index) {
                assert!(!caption.trim().is_empty());
            }
        }
    }
    let list = scratch::file("list.txt", bytes);
    if let Ok(set) = read_list("fuzz", &list, Path::new("/nowhere"), Some(10)) {
        assert!(
            set.samples
                .iter()
                .all(|sample| sample.label.is_none_or(|label| label < 10))
        );
    }
    for name in ["map.csv", "map.tsv"] {
        let source = MapSource::File {
            path: scratch::file(name, bytes),
            folder_column: "wnid".to_owned(),
            name_column: "name".to_owned(),
            role_column: None,
        };
        let _ = FolderMap::read(&source, Path::new("/nowhere"));
    }
    scratch::file("sizes.json", bytes);
    let shard = scratch::file("a.tar", b"");
    let _ = ShardSet::open(&shard.display().to_string(), SampleFields::default());
    let _ = clipn::training_log::read_log(&scratch::file("log.jsonl", bytes));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| memory::within(
    MEMORY_PER_BYTE * bytes.len() + (1 << 20),
    || read(bytes)
));
