#![allow(clippy::unwrap_used)]

use std::io::Write;

use ppmd_rust::Ppmd7Encoder;
use proptest::prelude::*;

use super::*;

static BUILT_IN: &[u8] = include_bytes!("../../../assets/wordnet/wordnet.bin");

/// Streams of a small word list: text, depths, files, further parents, adjectives.
fn streams() -> [Vec<u8>; 5] {
    [
        b"entity\nsea dog|\x07salt\ngreat\x01|old\x04|\x07\x05\n\x07pet".to_vec(),
        vec![0, 1, 2, 1],
        vec![3, 5, 5 + 64, 5],
        vec![2, 3],
        b"\x80der\x83ah\n\n\x80nrow\n".to_vec(),
    ]
}

fn pack(streams: &[Vec<u8>; 5]) -> Vec<u8> {
    let mut payload = Vec::new();
    for raw in streams {
        let mut encoder = Ppmd7Encoder::new(Vec::new(), 4, MEMORY).unwrap();
        encoder.write_all(raw).unwrap();
        let packed = encoder.finish(false).unwrap();
        for number in [4, raw.len() as u32, packed.len() as u32] {
            payload.extend(number.to_le_bytes());
        }
        payload.extend(packed);
    }
    sealed(&payload)
}

/// Adds a header with the right checksum.
fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut asset = MAGIC.to_vec();
    asset.extend(VERSION.to_le_bytes());
    asset.extend(crc32fast::hash(payload).to_le_bytes());
    asset.extend(payload);
    asset
}

fn error(asset: &[u8]) -> String {
    decode(asset).unwrap_err().to_string()
}

#[test]
fn decodes_markers_parents_and_adjectives() {
    let list = decode(&pack(&streams())).unwrap();
    let lemmas: Vec<&str> = (0..list.lemmas.len()).map(|i| list.lemmas.get(i)).collect();
    assert_eq!(
        lemmas,
        [
            "entity",
            "sea dog",
            "sea salt",
            "great sea dog",
            "old great sea dog",
            "great sea dog",
            "great pet"
        ]
    );
    assert_eq!(list.lemmas.of_synset, [0, 1, 3, 6, 7]);
    assert_eq!(list.parents, [(1, 0), (2, 1), (2, 3), (3, 0)]);
    assert_eq!(list.is_instance, [false, false, true, false]);
    assert_eq!(list.adjectives[0].1, ["hared", "red"]);
    assert!(list.adjectives[1].1.is_empty());
    assert_eq!(list.adjectives[2].1, ["worn"]);
}

#[test]
fn rejects_malformed_streams() {
    type Change = fn(&mut [Vec<u8>; 5]);
    let cases: [(&str, Change); 16] = [
        ("depth in stream `depths`, record 2", |s| {
            s[1] = vec![0, 1, 3, 1];
        }),
        ("depth in stream `depths`, record 3", |s| {
            s[1] = vec![0, 1, 2, 0];
        }),
        ("depth in stream `depths`, record 0", |s| {
            s[1] = vec![1, 1, 2, 1];
        }),
        ("length in stream `files`, record 3", |s| s[2].truncate(3)),
        ("lexicographer file in stream `files`, record 1", |s| {
            s[2][1] = 44;
        }),
        ("lexicographer file in stream `files`, record 1", |s| {
            s[2][1] = 99;
        }),
        ("line in stream `text`, record 4", |s| s[0].extend(b"\nx")),
        ("number of lines in stream `text`, record 1", |s| {
            s[0].truncate(6);
        }),
        ("empty lemma in stream `text`, record 3", |s| {
            s[0].push(b'|');
        }),
        ("marker in stream `text`, record 0", |s| s[0][5] = 1),
        ("marker in stream `text`, record 0", |s| s[0][5] = 4),
        ("marker in stream `text`, record 0", |s| s[0][0] = 7),
        ("marker in stream `text`, record 3", |s| s[0].push(2)),
        ("character in stream `text`, record 0", |s| s[0][0] = 200),
        ("hypernym in stream `parents`, record 0", |s| s[3][1] = 4),
        ("prefix in stream `adjectives`, record 1", |s| {
            s[4][4] = 128 + 4;
        }),
    ];
    for (expected, change) in cases {
        let mut streams = streams();
        change(&mut streams);
        assert_eq!(error(&pack(&streams)), format!("invalid {expected}"));
    }
}

#[test]
fn rejects_damaged_headers() {
    let asset = pack(&streams());
    assert!(error(b"clipn-xx").starts_with("expected the magic bytes"));
    assert_eq!(
        error(&asset[..10]),
        "expected 4 more bytes at offset 8, got 2"
    );
    let mut other = asset.clone();
    other[8] = 2;
    assert_eq!(error(&other), "expected version 1, got 2");
    let mut longer = asset[16..].to_vec();
    longer.push(0);
    assert_eq!(error(&sealed(&longer)), "1 bytes after the last stream");
    let mut huge = asset[16..].to_vec();
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(error(&sealed(&huge)).starts_with("stream `text` of 4294967295 bytes exceeds"));
    let mut order = asset[16..].to_vec();
    order[0] = 255;
    assert_eq!(error(&sealed(&order)), "cannot decompress stream `text`");
}

#[test]
fn markers_cannot_grow_the_text_without_bound() {
    let mut streams = streams();
    let lines = 64;
    streams[0] = b"a".to_vec();
    for _ in 1..lines {
        // Two bytes more than the parent's lemma, and three synonyms that repeat it.
        streams[0].extend(b"\nb\x01|\x04|\x04|\x04");
    }
    streams[1] = (0..lines).collect();
    streams[2] = vec![3; usize::from(lines)];
    decode(&pack(&streams)).unwrap();
    streams[0] = vec![b'x'; 1 << 20];
    for _ in 1..lines {
        streams[0].extend(b"\nb\x01");
    }
    assert_eq!(
        error(&pack(&streams)),
        "invalid length in stream `text`, record 3"
    );
}

#[test]
fn every_changed_byte_of_the_built_in_list_is_an_error() {
    for position in (0..BUILT_IN.len()).step_by(10_007).chain(0..40) {
        let mut damaged = BUILT_IN.to_vec();
        damaged[position] ^= 1;
        assert!(decode(&damaged).is_err(), "byte {position}");
    }
    for length in (0..BUILT_IN.len()).step_by(10_007) {
        assert!(decode(&BUILT_IN[..length]).is_err(), "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// With a right checksum, changed bytes reach the decompressor and the parsers.
    #[test]
    fn damaged_payloads_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        let mut payload = pack(&streams())[16..].to_vec();
        for (index, byte) in changes {
            let index = index.index(payload.len());
            payload[index] = byte;
        }
        if truncate {
            payload.truncate(cut.index(payload.len()));
        }
        let _ = decode(&sealed(&payload));
    }

    /// Streams with any contents reach the parsers.
    #[test]
    fn damaged_streams_never_panic(
        stream in 0..5usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        added in prop::collection::vec(0..9u8, 0..6),
    ) {
        let mut streams = streams();
        streams[stream].extend(added);
        for (index, byte) in changes {
            let index = index.index(streams[stream].len());
            streams[stream][index] = byte;
        }
        let _ = decode(&pack(&streams));
    }
}
