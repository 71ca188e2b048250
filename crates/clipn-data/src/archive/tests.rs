//! Archives of GNU tar 1.34 (fixtures), and hostile ones: links, sparse files, labels and volumes.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use clipn_testing::hub::sha256;
use clipn_testing::shards::{gzip, zstd};
use tar::{EntryType, Header};

use super::{ArchiveReader, Content};

const LIMIT: u64 = 1 << 20;

/// SHA-256 of `mask.bmp` as Python's `tarfile` and GNU tar restore it from every sparse form.
const MASK: &str = "ba139969555fc1a6c8fc53111ccf760a1e63bc06554c643b666f608b0718ed0a";

fn fixture(name: &str) -> PathBuf {
    clipn_testing::fixture(&format!("cases/formats/tar/{name}"))
}

/// Names with their contents: the size and the last byte, or the problem.
fn contents(mut archive: ArchiveReader) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some(entry) = archive.next().unwrap() {
        let content = match archive.read(LIMIT).unwrap() {
            Content::Bytes(bytes) => format!("{} {:?}", bytes.len(), bytes.last()),
            Content::TooLarge(size) => format!("too large: {size}"),
            Content::Unavailable(problem) => problem,
        };
        found.push((String::from_utf8_lossy(&entry.name).into_owned(), content));
    }
    found
}

#[test]
fn all_forms_of_sparse_files_restore_the_same_bytes() {
    for form in ["gnu", "pax0.0", "pax0.1", "pax1.0"] {
        let path = fixture(&format!("sparse-{form}.tar"));
        let mut archive = ArchiveReader::open(&path).unwrap();
        let name = archive.next().unwrap().unwrap().name;
        assert_eq!(name, b"mask.bmp", "{form}");
        assert_eq!(
            archive.read(120_053).unwrap(),
            Content::TooLarge(120_054),
            "{form}"
        );
        let Content::Bytes(bytes) = archive.read(120_054).unwrap() else {
            panic!("{form}");
        };
        assert_eq!(
            (bytes.len(), sha256(&bytes).as_str()),
            (120_054, MASK),
            "{form}"
        );
        assert_eq!(archive.next().unwrap().unwrap().name, b"mask.txt");
        assert_eq!(archive.read(6).unwrap(), Content::Bytes(b"a mask".to_vec()));
        assert!(archive.next().unwrap().is_none(), "{form}");

        // The first bytes alone are those of the whole file, too.
        let mut archive = ArchiveReader::open(&path).unwrap();
        archive.next().unwrap();
        let start = archive.read_start(600, LIMIT).unwrap();
        assert_eq!(start, bytes[..600], "{form}");
        assert_eq!(
            archive.read(LIMIT).unwrap(),
            Content::Bytes(bytes[600..].to_vec())
        );

        // A skipped sparse file does not move the next member.
        let mut archive = ArchiveReader::open(&path).unwrap();
        archive.next().unwrap();
        assert_eq!(archive.next().unwrap().unwrap().name, b"mask.txt");
    }
}

/// What the members of `links-*.tar` are. The last byte of red images is 255 (blue, green, red), of
/// blue ones 0.
fn expected_links() -> Vec<(String, String)> {
    let red = "246 Some(255)";
    let blue = "246 Some(0)";
    let long = "n".repeat(120);
    let link =
        |target: &str, problem: &str| format!("symbolic link to `{target}`, which {problem}");
    let (outside, missing) = ("leads out of the archive", "is no file in the archive");
    let circle = "leads over too many links";
    [
        ("a.bmp", red.to_owned()),
        ("a.txt", "12 Some(101)".to_owned()),
        ("b.bmp", red.to_owned()),
        ("b.txt", "12 Some(101)".to_owned()),
        ("c.bmp", red.to_owned()),
        ("d.bmp", blue.to_owned()),
        ("e.bmp", link("/etc/x.bmp", outside)),
        ("f.bmp", link("../up.bmp", missing)),
        ("g.bmp", link("nowhere.bmp", missing)),
        ("h.bmp", link("i.bmp", circle)),
        ("i.bmp", link("h.bmp", circle)),
        ("j.bmp", "named pipe".to_owned()),
        (&format!("k{long}.bmp"), blue.to_owned()),
        (&format!("l{long}.bmp"), blue.to_owned()),
        ("m.bmp", red.to_owned()),
        ("pipe", "named pipe".to_owned()),
        ("more/z.bmp", blue.to_owned()),
    ]
    .map(|(name, content)| (format!("set/{name}"), content))
    .to_vec()
}

#[test]
fn links_have_the_contents_of_their_targets_in_the_archive() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["links-gnu.tar", "links-pax.tar"] {
        let plain = fs::read(fixture(name)).unwrap();
        for (packing, bytes) in [
            ("plain", plain.clone()),
            ("gzip", gzip(&plain)),
            ("zstd", zstd(&plain)),
        ] {
            let path = directory.path().join(packing);
            fs::write(&path, bytes).unwrap();
            let found = contents(ArchiveReader::open(&path).unwrap());
            assert_eq!(found, expected_links(), "{name} {packing}");
        }
    }
}

#[test]
fn links_of_a_stream_lead_to_the_files_before_them() {
    let bytes = fs::read(fixture("links-gnu.tar")).unwrap();
    let found = contents(ArchiveReader::from_stream(Cursor::new(bytes)).unwrap());
    for ((name, content), (_, expected)) in found.iter().zip(expected_links()) {
        let is_ahead = name == "set/d.bmp";
        if is_ahead || expected.contains("is no file") || expected.contains("too many") {
            assert!(
                content.contains("the archive is a stream"),
                "{name}: {content}"
            );
        } else {
            assert_eq!(*content, expected, "{name}");
        }
    }
}

#[test]
fn labels_are_passed_and_named() {
    let mut archive = ArchiveReader::open(&fixture("links-gnu.tar")).unwrap();
    assert_eq!(archive.next().unwrap().unwrap().name, b"set/a.bmp");
    assert_eq!(archive.take_labels(), ["holiday"]);
    assert_eq!(archive.take_labels(), [""; 0]);
}

#[test]
fn pieces_of_a_multi_volume_archive_are_named() {
    let mut first = ArchiveReader::open(&fixture("volume-1.tar")).unwrap();
    assert_eq!(first.next().unwrap().unwrap().name, b"big.bmp");
    assert!(
        first
            .read(LIMIT)
            .unwrap_err()
            .to_string()
            .contains("truncated")
    );
    let second = ArchiveReader::open(&fixture("volume-2.tar")).unwrap();
    assert_eq!(
        contents(second),
        [
            (
                "big.bmp".to_owned(),
                "piece of a file that begins in another volume".to_owned()
            ),
            ("a.bmp".to_owned(), "246 Some(255)".to_owned()),
        ]
    );
}

/// An archive of members with these names, types and contents. The contents of a link are its target.
fn archive(members: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, contents) in members {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        if kind.is_hard_link() || kind.is_symlink() {
            header.set_size(0);
            let target = str::from_utf8(contents).unwrap();
            builder.append_link(&mut header, name, target).unwrap();
        } else {
            header.set_size(contents.len() as u64);
            builder.append_data(&mut header, name, *contents).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn read_all(bytes: &[u8]) -> Vec<(String, String)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    contents(ArchiveReader::open(file.path()).unwrap())
}

#[test]
fn a_link_takes_the_last_file_of_its_name_before_it() {
    let (file, link) = (EntryType::Regular, EntryType::Link);
    let found = read_all(&archive(&[
        ("./a", file, b"1"),
        ("x", link, b"a"),
        ("a", file, b"22"),
        ("y", link, b"./a"),
        ("a", link, b"a"),
        ("z", link, b"a"),
    ]));
    let sizes: Vec<&str> = found.iter().map(|(_, content)| content.as_str()).collect();
    let (one, two) = ("1 Some(49)", "2 Some(50)");
    assert_eq!(&sizes[..5], [one, one, two, two, two]);
    assert!(sizes[5].contains("too many links"), "{}", sizes[5]);
}

#[test]
fn the_declared_size_of_a_link_is_not_that_of_its_contents() {
    // Old tar programs store the size of the target; no contents follow (`tarfile`, GNU tar).
    let mut bytes = archive(&[
        ("a", EntryType::Regular, b"12345"),
        ("b", EntryType::Link, b"a"),
    ]);
    let mut header = Header::from_byte_slice(&bytes[1024..1536]).clone();
    header.set_size(5);
    header.set_cksum();
    bytes[1024..1536].copy_from_slice(header.as_bytes());
    assert_eq!(
        read_all(&bytes),
        [
            ("a".to_owned(), "5 Some(53)".to_owned()),
            ("b".to_owned(), "5 Some(53)".to_owned())
        ]
    );
}

#[test]
fn compressed_archives_are_read_again_a_limited_number_of_times() {
    let mut members: Vec<(String, EntryType, Vec<u8>)> = Vec::new();
    for index in 0..100u8 {
        // Larger than what is kept of targets in all.
        members.push((
            format!("f{index}"),
            EntryType::Regular,
            vec![index; 900_000],
        ));
    }
    for index in (0..100u8).rev() {
        members.push((
            format!("l{index}"),
            EntryType::Link,
            format!("f{index}").into_bytes(),
        ));
    }
    let members: Vec<_> = members
        .iter()
        .map(|(name, kind, bytes)| (name.as_str(), *kind, bytes.as_slice()))
        .collect();
    let found = read_all(&gzip(&archive(&members)));
    let read = found
        .iter()
        .filter(|(_, content)| content.starts_with("900000"))
        .count();
    assert_eq!(read, 100 + 64);
    assert!(found[199].1.contains("too many times"), "{}", found[199].1);
    // In the order of their targets, one pass is enough.
    let mut in_order = members.clone();
    in_order[100..].reverse();
    let found = read_all(&gzip(&archive(&in_order)));
    assert!(
        found
            .iter()
            .all(|(_, content)| content.starts_with("900000"))
    );
}

/// A sparse file of the old form with these parts, in as many headers as they need, and its stored
/// bytes.
fn old_sparse(real_size: u64, parts: &[(u64, u64)], stored: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_path("s").unwrap();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(stored.len() as u64);
    let (own, more) = parts.split_at(parts.len().min(4));
    let gnu = header.as_gnu_mut().unwrap();
    for (slot, &(offset, length)) in gnu.sparse.iter_mut().zip(own) {
        slot.set_offset(offset);
        slot.set_length(length);
    }
    gnu.set_real_size(real_size);
    gnu.set_is_extended(!more.is_empty());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    let chunks: Vec<_> = more.chunks(21).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        let mut block = tar::GnuExtSparseHeader::new();
        for (slot, &(offset, length)) in block.sparse.iter_mut().zip(*chunk) {
            slot.set_offset(offset);
            slot.set_length(length);
        }
        block.set_is_extended(index + 1 < chunks.len());
        bytes.extend(block.as_bytes());
    }
    bytes.extend(stored);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn parts_of_old_sparse_files_go_on_in_further_headers() {
    let parts: Vec<_> = (0..60).map(|index| (10 * index, 2)).collect();
    let stored: Vec<u8> = (0..120).collect();
    let mut bytes = old_sparse(1000, &parts, &stored);
    bytes.extend(archive(&[("next", EntryType::Regular, b"1")]));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let mut archive = ArchiveReader::open(file.path()).unwrap();
    archive.next().unwrap();
    let Content::Bytes(whole) = archive.read(LIMIT).unwrap() else {
        panic!()
    };
    assert_eq!(
        (whole.len(), &whole[588..594]),
        (1000, &[0, 0, 118, 119, 0, 0][..])
    );
    assert_eq!(archive.next().unwrap().unwrap().name, b"next");
}

#[test]
fn holes_are_not_allocated_beyond_the_limit() {
    let huge = u64::MAX >> 2;
    let found = read_all(&old_sparse(huge, &[(0, 1)], b"a"));
    assert_eq!(found, [("s".to_owned(), format!("too large: {huge}"))]);
    let mut archive =
        ArchiveReader::from_stream(Cursor::new(old_sparse(huge, &[(0, 1)], b"a"))).unwrap();
    archive.next().unwrap();
    assert_eq!(archive.read_start(100, LIMIT).unwrap(), b"");
}

#[test]
fn false_maps_of_sparse_files_are_named() {
    for parts in [
        &[(0, 3), (2, 2)][..],
        &[(0, 1)],
        &[(9, 5)],
        &[(u64::MAX >> 3, 5)],
    ] {
        let found = read_all(&old_sparse(10, parts, b"abcde"));
        let problem = "sparse file with an invalid map".to_owned();
        assert_eq!(found, [("s".to_owned(), problem)], "{parts:?}");
    }
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_panic() {
    for name in [
        "links-gnu.tar",
        "links-pax.tar",
        "sparse-gnu.tar",
        "sparse-pax1.0.tar",
    ] {
        let whole = fs::read(fixture(name)).unwrap();
        let blocks = whole.len() / 512;
        for block in 0..blocks {
            // Cut, and with one byte changed in places of headers, pax records and maps.
            let mut readers = vec![whole[..block * 512 + 100].to_vec()];
            for place in [0, 10, 124, 156, 386, 482, 483] {
                let mut bytes = whole.clone();
                bytes[block * 512 + place] = b'9';
                if bytes[block * 512 + 257..].starts_with(b"ustar") {
                    let mut header = Header::from_byte_slice(&bytes[block * 512..][..512]).clone();
                    header.set_cksum();
                    bytes[block * 512..][..512].copy_from_slice(header.as_bytes());
                }
                readers.push(bytes);
            }
            for bytes in readers {
                let Ok(mut archive) = ArchiveReader::from_stream(Cursor::new(bytes)) else {
                    continue;
                };
                while let Ok(Some(_)) = archive.next() {
                    let _ = archive.read(LIMIT);
                }
            }
        }
    }
}
