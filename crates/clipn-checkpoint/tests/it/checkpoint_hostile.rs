//! Damaged and hostile weights files: always a descriptive error, never a panic, a hang or
//! excessive memory use.

use std::fs;
use std::path::Path;

use clipn_checkpoint::{Checkpoint, CheckpointError};
use clipn_testing::fixture;
use proptest::prelude::*;

const SMALL: [&str; 7] = [
    "formats_zip.pt",
    "formats_zip_proto4.pt",
    "formats_legacy.pt",
    "formats_legacy_proto4.pt",
    "formats.expected.safetensors",
    "with_namespace.pt",
    "vit_classifier_pickle.pkl",
];

fn read(bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(Path::new("hostile"), bytes)
}

fn error(bytes: Vec<u8>) -> CheckpointError {
    read(bytes).expect_err("the file should be rejected")
}

fn small(name: &str) -> Vec<u8> {
    fs::read(fixture("checkpoint").join(name)).expect("a fixture")
}

/// Returns a legacy file with this pickle as its object, without storages.
fn legacy(object: &[u8]) -> Vec<u8> {
    let head: &[u8] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\r\x00\x00\x00little_endian\x88s.";
    [head, object, b"\x80\x02]."].concat()
}

/// Returns a file with a dictionary of one tensor: `elements` in the storage, and the given offset,
/// sizes and strides.
fn with_tensor(elements: i32, offset: i32, sizes: &[i32], strides: &[i32]) -> Vec<u8> {
    let int = |value: i32| [b"J", &value.to_le_bytes()[..]].concat();
    let tuple = |values: &[i32]| {
        [
            b"(".to_vec(),
            values.iter().flat_map(|&value| int(value)).collect(),
            b"t".to_vec(),
        ]
        .concat()
    };
    let object = [
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
            .to_vec(),
        int(elements),
        b"tQ".to_vec(),
        int(offset),
        tuple(sizes),
        tuple(strides),
        b"\x89}tRs.".to_vec(),
    ]
    .concat();
    let mut file = legacy(&object);
    file.truncate(file.len() - b"\x80\x02].".len());
    file.extend(b"\x80\x02]X\x01\x00\x00\x000a.");
    file.extend(i64::from(elements).to_le_bytes());
    file.extend((0..elements.clamp(0, 1000)).flat_map(|value| (value as f32).to_le_bytes()));
    file
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

#[test]
fn rejects_every_truncation_of_every_small_file() {
    for name in SMALL {
        let whole = small(name);
        for len in 0..whole.len() {
            let truncated = read(whole[..len].to_vec());
            assert!(
                truncated.is_err(),
                "{name} truncated to {len} of {} bytes was read",
                whole.len()
            );
        }
    }
}

#[test]
fn truncated_files_are_reported_as_truncated() {
    for name in SMALL.iter().take(5) {
        let whole = small(name);
        let truncated = error(whole[..whole.len() - 1].to_vec());
        assert!(
            matches!(truncated, CheckpointError::Truncated { .. }),
            "{name}: {truncated}"
        );
    }
}

#[test]
fn rejects_functions_by_name_without_calling_them() {
    let witness = std::env::temp_dir().join("clipn-hostile-witness");
    let command = format!("touch {}", witness.display());
    let call = |module_and_name: &str| {
        let mut object = format!("\u{80}\u{2}c{module_and_name}\n").into_bytes();
        object.remove(0); // U+0080 is two bytes in UTF-8.
        object.extend(b"X");
        object.extend((command.len() as u32).to_le_bytes());
        object.extend(command.as_bytes());
        object.extend(b"\x85R.");
        object
    };
    for (line, name) in [
        ("os\nsystem", "os.system"),
        ("posix\nsystem", "posix.system"),
        ("builtins\neval", "builtins.eval"),
        ("__builtin__\nexec", "__builtin__.exec"),
        ("subprocess\nPopen", "subprocess.Popen"),
        ("torch.hub\nload", "torch.hub.load"),
        (
            "torch.storage\n_load_from_bytes",
            "torch.storage._load_from_bytes",
        ),
        ("os\nsystem\u{1b}[2J", "os.system\\u{1b}[2J"),
    ] {
        let refused = error(legacy(&call(line)));
        assert!(
            matches!(&refused, CheckpointError::DisallowedGlobal { global, .. } if global == name),
            "{refused}"
        );
    }
    let by_stack = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.";
    assert!(matches!(
        error(legacy(by_stack)),
        CheckpointError::DisallowedGlobal { .. }
    ));
    // At the beginning of the file, instead of the magic number.
    assert!(matches!(
        error(b"\x80\x04cos\nsystem\n.".to_vec()),
        CheckpointError::DisallowedGlobal { .. }
    ));
    assert!(!witness.exists());
}

#[test]
fn rejects_other_opcodes_that_create_objects() {
    for object in [
        &b"\x80\x02(ios\nsystem\n."[..], // INST
        b"\x80\x02\x82\x01.",            // EXT1
        b"\x80\x05\x97.",                // NEXT_BUFFER
        b"\x80\x02)}\x92.",              // NEWOBJ_EX
        b"\x80\x02K\x01)R.",             // call of a number
        b"\x80\x02K\x01}b.",             // attributes set on a number
    ] {
        let refused = error(legacy(object));
        assert!(
            matches!(refused, CheckpointError::Corrupt { .. }),
            "{refused}"
        );
    }
}

#[test]
fn limits_nesting_without_stack_overflow() {
    let deep = 50_000;
    let lists = [
        b"\x80\x02".to_vec(),
        b"]".repeat(deep),
        b"a".repeat(deep - 1),
        b".".to_vec(),
    ]
    .concat();
    let nested = error(legacy(&lists));
    assert!(nested.to_string().contains("nested more than"), "{nested}");
    let tuples = [b"\x80\x02N".to_vec(), b"\x85".repeat(deep), b".".to_vec()].concat();
    assert!(
        error(legacy(&tuples))
            .to_string()
            .contains("nested more than")
    );
    // A list that contains itself.
    assert!(
        error(legacy(b"\x80\x02]q\x00h\x00a."))
            .to_string()
            .contains("nested more than")
    );
}

#[test]
fn limits_repetition_of_shared_values() {
    // Each list contains the previous one ten times: 10^40 values in 2 kB.
    let mut object = b"\x80\x02(]q\x00".to_vec();
    for level in 0..40u8 {
        object.extend([b']', b'q', level + 1, b'(']);
        object.extend([b'h', level].repeat(10));
        object.push(b'e');
    }
    object.extend(b"t.");
    let bomb = error(legacy(&object));
    assert!(matches!(bomb, CheckpointError::TooLarge { .. }), "{bomb}");
}

#[test]
fn limits_the_number_of_small_objects() {
    let nones = [b"\x80\x02(".to_vec(), b"]".repeat(4 << 20), b"t.".to_vec()].concat();
    let bomb = error(legacy(&nones));
    assert!(matches!(bomb, CheckpointError::TooLarge { .. }), "{bomb}");
}

#[test]
fn false_lengths_allocate_nothing() {
    for object in [
        &b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa"[..], // BINUNICODE8
        b"\x80\x02X\xff\xff\xff\xffa",                         // BINUNICODE
        b"\x80\x02\x8b\xff\xff\xff\x7f\x01",                   // LONG4
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff",       // BINBYTES8
        b"\x80\x02\x8b\xff\xff\xff\xff\x01",                   // LONG4 with a negative length
    ] {
        assert!(matches!(
            error(legacy(object)),
            CheckpointError::Truncated { .. }
        ));
    }
    // A large memo index.
    assert!(matches!(
        error(legacy(b"\x80\x02Nr\xff\xff\xff\xff.")),
        CheckpointError::NoTensors { .. }
    ));
    assert!(matches!(
        error(legacy(b"\x80\x02j\xff\xff\xff\xff.")),
        CheckpointError::Corrupt { .. }
    ));
}

#[test]
fn rejects_stack_underflow_and_unbalanced_marks() {
    for object in [
        &b"\x80\x02."[..],
        b"\x80\x02t.",
        b"\x80\x02a.",
        b"\x80\x02N(\x85.",
        b"\x80\x02}(Nu.",
        b"\x80\x02NN.",
        b"\x80\x02(N.",
    ] {
        let refused = error(legacy(object));
        assert!(
            matches!(refused, CheckpointError::Corrupt { .. }),
            "{refused}"
        );
    }
}

#[test]
fn rejects_views_out_of_bounds_of_their_storage() {
    let good = read(with_tensor(6, 0, &[2, 3], &[3, 1])).unwrap();
    assert_eq!(
        good.get("w").unwrap().to_f32()[..],
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    );
    let transposed = read(with_tensor(6, 0, &[3, 2], &[1, 3])).unwrap();
    assert_eq!(
        transposed.get("w").unwrap().to_f32()[..],
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    );
    let expanded = read(with_tensor(6, 5, &[1000], &[0])).unwrap();
    assert_eq!(expanded.get("w").unwrap().to_f32()[..], [5.0; 1000]);
    for (offset, sizes, strides) in [
        (0, &[7][..], &[1][..]),
        (1, &[2, 3], &[3, 1]),
        (6, &[1], &[1]),
        (0, &[2, 2], &[5, 1]),
        (i32::MAX, &[1], &[1]),
        (
            0,
            &[i32::MAX, i32::MAX, i32::MAX],
            &[i32::MAX, i32::MAX, i32::MAX],
        ),
        (0, &[2, 3], &[1]),
        (-1, &[2], &[1]),
        (0, &[-2], &[1]),
        (0, &[2], &[-1]),
    ] {
        let outside = error(with_tensor(6, offset, sizes, strides));
        assert!(
            matches!(outside, CheckpointError::Corrupt { .. }),
            "{outside}"
        );
    }
}

#[test]
fn an_expanded_tensor_cannot_exhaust_memory() {
    let bomb = error(with_tensor(6, 0, &[1 << 15, 1 << 15], &[0, 0]));
    assert!(matches!(&bomb, CheckpointError::TooLarge { .. }), "{bomb}");
    assert!(bomb.to_string().contains("at w"), "{bomb}");
}

#[test]
fn rejects_legacy_storages_that_differ_from_their_description() {
    let short = with_tensor(6, 0, &[2, 3], &[3, 1]);
    assert!(matches!(
        error(short[..short.len() - 1].to_vec()),
        CheckpointError::Truncated { .. }
    ));
    let mut wrong_count = short;
    let count = wrong_count.len() - 32;
    wrong_count[count] = 5;
    assert!(matches!(
        error(wrong_count),
        CheckpointError::Corrupt { .. }
    ));
    // Two billion elements declared, one thousand present.
    assert!(matches!(
        error(with_tensor(i32::MAX, 0, &[1], &[1])),
        CheckpointError::Truncated { .. }
    ));
    // A tensor whose storage is missing from the list of keys.
    let mut object = with_tensor(0, 0, &[0], &[1]);
    object.truncate(object.len() - 8 - b"\x80\x02]X\x01\x00\x00\x000a.".len());
    object.extend(b"\x80\x02].");
    assert!(matches!(error(object), CheckpointError::Corrupt { .. }));
}

#[test]
fn counters_of_schedulers_are_dictionaries() {
    let counter = |arguments: &[u8]| {
        let head = b"\x80\x02}X\x02\x00\x00\x00lrccollections\nCounter\n";
        error(legacy(&[&head[..], arguments, b"Rs."].concat()))
    };
    for counts in [&b"}X\x01\x00\x00\x00aK\x03s\x85"[..], b"}\x85", b")"] {
        let read = counter(counts);
        assert!(matches!(read, CheckpointError::NoTensors { .. }), "{read}");
    }
    let refused = counter(b"K\x03\x85");
    assert!(
        matches!(refused, CheckpointError::Corrupt { .. }),
        "{refused}"
    );
}

#[test]
fn limits_the_number_of_empty_tensors_in_a_header() {
    let entries = |count: u32| {
        let entry = |i| format!(r#""a \" {i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
        let entries: Vec<String> = (0..count).map(entry).collect();
        safetensors(&format!("{{{}}}", entries.join(",")), 0)
    };
    assert_eq!(read(entries(5_000)).unwrap().len(), 5_000);
    let bomb = error(entries(50_000));
    assert!(matches!(bomb, CheckpointError::TooLarge { .. }), "{bomb}");
}

#[test]
fn rejects_invalid_safetensors_headers() {
    let tensor = |start: usize, end: usize| {
        format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":[{start},{end}]}}"#)
    };
    let overlapping = format!(r#"{{"a":{},"b":{}}}"#, tensor(0, 8), tensor(4, 12));
    assert!(
        error(safetensors(&overlapping, 12))
            .to_string()
            .contains("overlap")
    );
    let gap = format!(r#"{{"a":{},"b":{}}}"#, tensor(0, 8), tensor(12, 20));
    assert!(matches!(
        error(safetensors(&gap, 20)),
        CheckpointError::Corrupt { .. }
    ));
    let wrong_size = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#;
    assert!(matches!(
        error(safetensors(wrong_size, 8)),
        CheckpointError::Corrupt { .. }
    ));
    let huge =
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#;
    assert!(matches!(
        error(safetensors(huge, 8)),
        CheckpointError::Corrupt { .. }
    ));
    let huge_but_empty = r#"{"a":{"dtype":"F32","shape":[0,4294967296,4294967296,4294967296],"data_offsets":[0,0]}}"#;
    assert!(matches!(
        error(safetensors(huge_but_empty, 0)),
        CheckpointError::Corrupt { .. }
    ));
    let past_the_end = format!(r#"{{"a":{}}}"#, tensor(0, 8));
    assert!(matches!(
        error(safetensors(&past_the_end, 4)),
        CheckpointError::Truncated { .. }
    ));
    let mut long = safetensors("{", 0);
    long[..8].copy_from_slice(&(200_000_000u64).to_le_bytes());
    assert!(error(long).to_string().contains("100 million"));
    let deep = format!(r#"{{"a":{}"#, "[".repeat(100_000));
    assert!(matches!(
        error(safetensors(&deep, 0)),
        CheckpointError::Corrupt { .. }
    ));
}

#[test]
fn reports_unsupported_types_with_their_tensor() {
    let header = r#"{"visual.proj":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#;
    let refused = error(safetensors(header, 2));
    assert!(matches!(
        &refused,
        CheckpointError::UnsupportedDtype { tensor, dtype, .. } if tensor == "visual.proj" && dtype == "F8_E4M3"
    ));
    let complex = String::from_utf8_lossy(&with_tensor(0, 0, &[0], &[1])).into_owned();
    assert!(complex.contains("FloatStorage"));
    let mut file = with_tensor(0, 0, &[0], &[1]);
    let at = file
        .windows(12)
        .position(|window| window == b"FloatStorage")
        .unwrap();
    file.splice(at..at, *b"Complex");
    let refused = error(file);
    assert!(
        matches!(&refused, CheckpointError::UnsupportedDtype { tensor, dtype, .. } if tensor == "w" && dtype == "complex64"),
        "{refused}"
    );
}

#[test]
fn rejects_big_endian_files() {
    let mut file = legacy(b"\x80\x02N.");
    let at = file
        .windows(2)
        .position(|window| window == b"\x88s")
        .unwrap();
    file[at] = 0x89;
    assert!(matches!(error(file), CheckpointError::BigEndian { .. }));
    let zip = String::from("little").into_bytes();
    let mut file = small("formats_zip.pt");
    let at = file.windows(6).position(|window| window == zip).unwrap();
    file[at..at + 6].copy_from_slice(b"middle");
    assert!(matches!(error(file), CheckpointError::Corrupt { .. }));
}

/// Strategy: a small file with some bytes replaced.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8);
    (0..SMALL.len(), changes).prop_map(|(which, changes)| {
        let mut bytes = small(SMALL[which]);
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// Reads everything a caller can access, so that a wrong range would panic.
fn exercise(bytes: Vec<u8>) {
    if let Ok(read) = read(bytes) {
        for (_, tensor) in read.iter() {
            assert_eq!(tensor.to_f32().len(), tensor.len());
            assert_eq!(tensor.bytes().len(), tensor.len() * tensor.dtype().size());
        }
        assert!(
            read.object()
                .is_none_or(|value| !value.to_string().is_empty())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn changed_bytes_never_panic(bytes in mutated()) {
        exercise(bytes);
    }

    #[test]
    fn any_pickle_never_panics(object in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(legacy(&[&b"\x80\x02"[..], &object].concat()));
    }

    #[test]
    fn pickles_of_known_opcodes_never_panic(
        object in prop::collection::vec(prop::sample::select(&b"(.0N)]}tlauesdQRbq\x00h\x01K\x02\x81\x85\x86\x87\x88\x8f\x90\x91\x93\x94"[..]), 0..200),
    ) {
        exercise(legacy(&[&b"\x80\x02"[..], &object].concat()));
    }
}
