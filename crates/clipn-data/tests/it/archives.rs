//! Archives as tar programs write them, in every reader: links, sparse files, labels, volumes, and keys
//! with dots.

use std::fs;
use std::path::Path;

use clipn_data::{
    ArchiveImages, Benchmark, CaptionLoader, ImageContent, LoaderSettings, SampleFields, Sampling,
    ShardSet, SkipReason, SkippedSamples, read_archived_images,
};
use clipn_testing::fixture;
use clipn_testing::shards::{bmp, number, samples, tar};

use crate::directories::folder;
use crate::loader_helpers::settings;

/// A member: a file, or a hard link to another.
enum Member {
    File(&'static str, Vec<u8>),
    Link(&'static str, &'static str),
    Symlink(&'static str, &'static str),
    Pipe(&'static str),
}

use Member::{File, Link, Pipe, Symlink};

/// An archive with a volume label.
fn labeled(members: &[Member]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut label = tar::Header::new_gnu();
    label.set_entry_type(tar::EntryType::new(b'V'));
    label.set_path("holiday").unwrap();
    // GNU tar leaves the size blank.
    label.as_old_mut().size = [0; 12];
    label.set_cksum();
    builder.append(&label, &b""[..]).unwrap();
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        match member {
            File(name, bytes) => {
                header.set_size(bytes.len() as u64);
                builder
                    .append_data(&mut header, name, bytes.as_slice())
                    .unwrap();
            }
            Link(name, target) => {
                header.set_entry_type(tar::EntryType::Link);
                builder.append_link(&mut header, name, target).unwrap();
            }
            Symlink(name, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, name, target).unwrap();
            }
            Pipe(name) => {
                header.set_entry_type(tar::EntryType::Fifo);
                builder.append_data(&mut header, name, &b""[..]).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// Keys and captions of an epoch with the numbers that the images show, and what was skipped.
fn epoch(
    shard: &Path,
    fields: SampleFields,
    count: usize,
) -> (Vec<(String, String, u32)>, SkippedSamples) {
    let mut set = ShardSet::open(shard.to_str().unwrap(), fields).unwrap();
    set.count_samples();
    let in_order = LoaderSettings {
        sampling: Sampling::InOrder,
        train_num_samples: Some(count as u64),
        ..settings(count)
    };
    let mut epoch = CaptionLoader::new(set.into(), in_order)
        .unwrap()
        .epoch(0)
        .unwrap();
    let batch = epoch.next().unwrap().unwrap();
    let values = batch.pixels.len() / batch.captions.len();
    let shown = batch.pixels.chunks_exact(values).map(number);
    let keys = batch.keys.into_iter().zip(batch.captions);
    let rows = keys
        .zip(shown)
        .map(|((key, caption), shown)| (key, caption, shown));
    (rows.collect(), epoch.skipped().clone())
}

#[test]
fn training_reads_linked_images_and_captions_and_names_broken_links() {
    let root = tempfile::tempdir().unwrap();
    let shard = root.path().join("s.tar");
    let text = |text: &str| text.as_bytes().to_vec();
    let members = [
        File("a.png", bmp(7)),
        File("a.txt", text("seven")),
        Link("b.png", "a.png"),
        Link("b.txt", "a.txt"),
        Symlink("c.png", "later/d.png"),
        File("c.txt", text("nine")),
        Symlink("lost.png", "nowhere.png"),
        File("lost.txt", text("lost")),
        Pipe("pipe.png"),
        File("pipe.txt", text("pipe")),
        File("later/d.png", bmp(9)),
        File("later/d.txt", text("nine again")),
    ];
    fs::write(&shard, labeled(&members)).unwrap();
    let (rows, skipped) = epoch(&shard, SampleFields::default(), 4);
    let row = |key: &str, caption: &str, shown| (format!("s.tar/{key}"), caption.to_owned(), shown);
    assert_eq!(
        rows,
        [
            row("a", "seven", 7),
            row("b", "seven", 7),
            row("c", "nine", 9),
            row("later/d", "nine again", 9),
        ]
    );
    assert_eq!(skipped.counts.get(&SkipReason::NotAFile), Some(&2));
    let details: Vec<_> = skipped
        .examples
        .iter()
        .map(|one| one.detail.as_str())
        .collect();
    assert_eq!(
        details,
        [
            "png: symbolic link to `nowhere.png`, which is no file in the archive",
            "png: named pipe",
        ]
    );
}

#[test]
fn training_reads_sparse_files() {
    for form in ["gnu", "pax0.0", "pax0.1", "pax1.0"] {
        let fields = SampleFields {
            images: vec!["bmp".to_owned()],
            ..SampleFields::default()
        };
        let shard = fixture(&format!("cases/formats/tar/sparse-{form}.tar"));
        let (rows, skipped) = epoch(&shard, fields, 1);
        let key = format!("sparse-{form}.tar/mask");
        // Bottom and top of the image are black; clipn's resampling keeps the first pixel so.
        assert_eq!((&rows[0].0, rows[0].1.as_str()), (&key, "a mask"));
        assert_eq!(skipped.total(), 0, "{skipped}");
    }
}

#[test]
fn samples_that_dots_in_their_keys_merge_are_counted() {
    let root = tempfile::tempdir().unwrap();
    let shard = root.path().join("s.tar");
    // As `webdataset.TarWriter` 1.0.2 writes the keys 000001.a to 000002.b.
    let mut files = Vec::new();
    for key in ["000001.a", "000001.b", "000002.a", "000002.b"] {
        files.push((format!("{key}.png"), bmp(1)));
        files.push((format!("{key}.txt"), b"image 1".to_vec()));
    }
    files.extend(samples(3..4));
    fs::write(&shard, tar(&files)).unwrap();
    for images in ["png", "*.png"] {
        let caption = images.replace("png", "txt");
        let fields = SampleFields {
            images: vec!["png".to_owned(), images.to_owned()],
            captions: [caption.as_str(), "txt"]
                .map(|extension| clipn_data::CaptionField::Text {
                    extension: extension.to_owned(),
                })
                .to_vec(),
            ..SampleFields::default()
        };
        let (rows, skipped) = epoch(&shard, fields, 1);
        assert_eq!(rows.len(), 1);
        assert_eq!(
            skipped.counts.get(&SkipReason::DottedKeys),
            Some(&2),
            "{skipped}"
        );
        let detail = &skipped.examples[0].detail;
        assert!(
            detail.starts_with("2 samples with dots in their keys (000001.a, 000001.b) are one"),
            "{detail}"
        );
    }
}

fn benchmark(root: &Path, archive: &str) -> Result<clipn_data::OpenedBenchmark, String> {
    let text = format!(
        "name = \"t\"\n[id]\narchive = {archive:?}\nclasses = [\"x\", \"y\"]\n[[ood]]\nname = \"o\"\n\
         archive = \"out.tar\"\n"
    );
    let parsed = Benchmark::parse(&text, "t.toml").unwrap();
    parsed.open(root).map_err(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            text += &format!(": {error}");
            source = error.source();
        }
        text
    })
}

#[test]
fn evaluation_sets_have_linked_images_and_labels() {
    let root = folder(&[]);
    let id = [
        File("a.png", bmp(3)),
        File("a.cls", b"1".to_vec()),
        Link("b.png", "a.png"),
        Link("b.cls", "a.cls"),
    ];
    fs::write(root.path().join("id.tar"), labeled(&id)).unwrap();
    let out = [
        Symlink("o.png", "p.png"),
        File("p.png", bmp(4)),
        Pipe("q"),
        Symlink("r.png", "s.png"),
    ];
    fs::write(root.path().join("out.tar"), labeled(&out)).unwrap();
    let opened = benchmark(root.path(), "id.tar").unwrap();
    let labels: Vec<_> = opened
        .id
        .samples
        .iter()
        .map(|sample| sample.label)
        .collect();
    assert_eq!(labels, [Some(1), Some(1)]);
    assert_eq!(opened.id.skipped.to_string(), "volume label `holiday` 1");
    for image in opened.id.images() {
        assert!(matches!(image.content, ImageContent::Bytes(bytes) if bytes == bmp(3)));
    }
    let set = &opened.ood[0].set;
    let images: Vec<_> = set.images().map(|image| image.content).collect();
    assert!(
        matches!(&images[..2], [ImageContent::Bytes(a), ImageContent::Bytes(b)] if *a == bmp(4) && a == b)
    );
    let ImageContent::Failed(error) = &images[2] else {
        panic!()
    };
    assert_eq!(
        error.to_string(),
        "png: symbolic link to `s.png`, which is no file in the archive"
    );
    assert_eq!(
        set.skipped.to_string(),
        "named pipe `q` 1, volume label `holiday` 1"
    );
    let path = set.samples[0].path.clone();
    assert_eq!(read_archived_images([path.as_path()])[&path], bmp(4));

    // A label that cannot be read is not absent, and merged samples are named.
    let broken = [File("a.png", bmp(3)), Link("a.cls", "none.cls")];
    fs::write(root.path().join("broken.tar"), labeled(&broken)).unwrap();
    let error = benchmark(root.path(), "broken.tar").unwrap_err();
    let expected = "cls: hard link to `none.cls`, which is no file in the archive";
    assert!(error.contains(expected), "{error}");
    let mut dotted = Vec::new();
    for key in ["k.1", "k.2"] {
        dotted.push((format!("{key}.png"), bmp(1)));
        dotted.push((format!("{key}.cls"), b"0".to_vec()));
    }
    fs::write(root.path().join("dotted.tar"), tar(&dotted)).unwrap();
    let error = benchmark(root.path(), "dotted.tar").unwrap_err();
    let expected = "2 samples with dots in their keys (k.1, k.2) are one by WebDataset's rule";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn classification_has_a_row_or_a_count_for_every_member() {
    let mut images = ArchiveImages::open(fixture("cases/formats/tar/links-gnu.tar"));
    let rows: Vec<(String, Option<usize>)> = images
        .by_ref()
        .map(|image| {
            let name = image.name.rsplit('/').next().unwrap().replace("nnn", "");
            let size = match image.content {
                ImageContent::Bytes(bytes) => Some(bytes.len()),
                _ => None,
            };
            (name, size)
        })
        .collect();
    let read = Some(246);
    let expected = [
        ("a.bmp", read),
        ("b.bmp", read),
        ("c.bmp", read),
        ("d.bmp", read),
        ("e.bmp", None),
        ("f.bmp", None),
        ("g.bmp", None),
        ("h.bmp", None),
        ("i.bmp", None),
        ("j.bmp", None),
        ("k.bmp", read),
        ("l.bmp", read),
        ("m.bmp", read),
        ("z.bmp", read),
    ];
    assert_eq!(rows, expected.map(|(name, size)| (name.to_owned(), size)));
    assert_eq!(
        images.skipped().to_string(),
        ".txt 2, named pipe `set/pipe` 1, volume label `holiday` 1"
    );
}

#[test]
fn a_few_bytes_of_sparse_files_do_not_fill_the_memory() {
    // 60 images of one sample, each a hole of 60 MiB.
    let mut bytes = Vec::new();
    for index in 0..60 {
        let mut header = tar::Header::new_gnu();
        header.set_path(format!("k.{index}.png")).unwrap();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_size(0);
        header.as_gnu_mut().unwrap().set_real_size(60 << 20);
        header.set_cksum();
        bytes.extend(header.as_bytes());
    }
    let mut files = samples(0..1);
    files[0].0 = "l.x.png".to_owned();
    files[1].0 = "l.x.txt".to_owned();
    bytes.extend(tar(&files));
    let root = tempfile::tempdir().unwrap();
    let shard = root.path().join("s.tar");
    fs::write(&shard, bytes).unwrap();
    let fields = SampleFields {
        images: vec!["*.png".to_owned()],
        captions: vec![clipn_data::CaptionField::Text {
            extension: "*.txt".to_owned(),
        }],
        ..SampleFields::default()
    };
    let (rows, skipped) = epoch(&shard, fields, 1);
    assert_eq!(rows[0].0, "s.tar/l");
    assert_eq!(
        skipped.counts.get(&SkipReason::TooLarge),
        Some(&1),
        "{skipped}"
    );
}
