//! Caption tables, tables of images, image lists, class folder maps, training logs, shard sizes, and
//! tables and arrays of scores.
#![no_main]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/temp.rs"]
mod temp;

use std::path::Path;

use clipn_data::{
    CaptionTable, CaptionTableFormat, ClassMap, ClassMapSource, SampleFields, ShardSet,
    TableImages, read_image_list,
};
use clipn_eval::score_files::{ScoreTableOptions, read_score_list, read_score_table};

/// Maximum memory per byte of input: a row of a few bytes has a line, field offsets and an error.
const MEMORY_PER_BYTE: usize = 256;

fn read(bytes: &[u8]) {
    let names = ["captions.csv", "captions.tsv", "captions.jsonl"];
    for (name, separator) in names.into_iter().zip([',', '\t', '\t']) {
        let format = CaptionTableFormat {
            separator,
            ..CaptionTableFormat::default()
        };
        let Ok(table) = CaptionTable::read(&temp::write_file(name, bytes), &format)
        else {
            continue;
        };
        for index in 0..table.len() {
            if let Ok((_, caption)) = table.row(index) {
                assert!(!caption.trim().is_empty());
            }
        }
    }
    if let Ok(images) = TableImages::open(temp::write_file("images.jsonl", bytes), None) {
        let total = images.total();
        assert_eq!(images.count() as u64, total);
    }
    let list = temp::write_file("list.txt", bytes);
    if let Ok(set) = read_image_list("fuzz", &list, Path::new("/nowhere"), Some(10)) {
        assert!(
            set.samples
                .iter()
                .all(|sample| sample.label.is_none_or(|label| label < 10))
        );
    }
    for name in ["map.csv", "map.tsv"] {
        let source = ClassMapSource::File {
            path: temp::write_file(name, bytes),
            directory_column: "wnid".to_owned(),
            name_column: "name".to_owned(),
            role_column: None,
        };
        let _ = ClassMap::read(&source, Path::new("/nowhere"));
    }
    let scores = temp::write_file("scores.csv", bytes);
    let _ = read_score_table(&scores, &ScoreTableOptions::default());
    if let Ok(values) = read_score_list(&scores) {
        assert!(values.iter().all(|value| value.is_finite()));
    }
    temp::write_file("sizes.json", bytes);
    let shard = temp::write_file("a.tar", b"");
    let _ = ShardSet::open(&shard.display().to_string(), SampleFields::default());
    let _ = clipn_train::training_log::read_log(&temp::write_file("log.jsonl", bytes));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| memory::within_memory_limit(
    MEMORY_PER_BYTE * bytes.len() + (1 << 20),
    || read(bytes)
));
