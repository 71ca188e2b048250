//! Damaged and hostile directories of `torch.distributed.checkpoint`: always a descriptive error.

use std::fs;
use std::path::Path;

use clipn_checkpoint::{Checkpoint, CheckpointError, Tensor};
use clipn_testing::distributed::{ListedChunk, archive, metadata, write};
use clipn_testing::fixture;
use proptest::prelude::*;

/// Returns a chunk of the tensor `w` with four elements, which is in a file of one chunk.
fn chunk(shape: &[usize], offsets: &[usize], sizes: &[usize]) -> ListedChunk {
    ListedChunk {
        name: "w".to_owned(),
        dtype: "float32",
        shape: shape.to_vec(),
        offsets: offsets.to_vec(),
        sizes: sizes.to_vec(),
        file: "__0_0.distcp".to_owned(),
        start: 0,
        len: part().len(),
    }
}

fn part() -> Vec<u8> {
    archive(&Tensor::from_f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap())
}

fn open(metadata: &[u8], chunks: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".metadata"), metadata).unwrap();
    fs::write(directory.path().join("__0_0.distcp"), chunks).unwrap();
    Checkpoint::open(directory.path())
}

fn error(chunks: &[ListedChunk]) -> CheckpointError {
    open(&metadata(chunks), &part()).expect_err("the checkpoint should be rejected")
}

/// Returns the reason why chunks are not joined.
fn reason(chunks: &[ListedChunk]) -> String {
    match error(chunks) {
        CheckpointError::InvalidChunks { tensor, reason, .. } => {
            assert_eq!(tensor, "w");
            reason
        }
        other => panic!("{other}"),
    }
}

#[test]
fn written_directories_are_read() {
    let whole = chunk(&[2, 2], &[0, 0], &[2, 2]);
    let read = open(&metadata(std::slice::from_ref(&whole)), &part()).unwrap();
    assert_eq!(read.get("w").unwrap().to_f32()[..], [1.0, 2.0, 3.0, 4.0]);
    // The same chunk twice, as ranks with a copy of a tensor list it.
    let read = open(&metadata(&[whole.clone(), whole]), &part()).unwrap();
    assert_eq!(read.get("w").unwrap().shape(), [2, 2]);

    let directory = tempfile::tempdir().unwrap();
    let rows = Tensor::from_f32(&[5, 2], (0..10).map(|v| v as f32).collect::<Vec<_>>()).unwrap();
    let scalar = Tensor::from_f32(&[], vec![7.0]).unwrap();
    let tensors = [("rows".to_owned(), rows), ("scalar".to_owned(), scalar)];
    write(directory.path(), &tensors, 3);
    let read = Checkpoint::open(directory.path()).unwrap();
    for (name, tensor) in &tensors {
        assert_eq!(read.get(name), Some(tensor), "{name}");
    }
    assert_eq!(read.shard_count(), 3);
}

/// Replaces all occurrences of a part.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut replaced = Vec::new();
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        replaced.extend([&rest[..at], to].concat());
        rest = &rest[at + from.len()..];
    }
    [&replaced[..], rest].concat()
}

#[test]
fn metadata_of_other_versions_are_read() {
    let whole = metadata(&[chunk(&[2, 2], &[0, 0], &[2, 2])]);
    // Earlier versions of PyTorch 2 have the class of properties in another module, with five of them;
    // 2.15.0 has six.
    let class = b"torch.distributed.checkpoint.metadata\nTensorProperties\n";
    let earlier = b"torch.distributed._shard.sharded_tensor.metadata\nTensorProperties\n";
    let five = b"N\x89N\x89tb";
    let six = b"N\x89N\x89K\x02K\x01\x86tb";
    for changed in [
        replaced(&whole, class, earlier),
        replaced(&whole, five, six),
        // Keys and values that nothing reads.
        replaced(&whole, b"uub.", b"uX\x07\x00\x00\x00version]ub."),
    ] {
        assert_ne!(changed, whole);
        let read = open(&changed, &part()).unwrap();
        assert_eq!(read.get("w").unwrap().to_f32()[..], [1.0, 2.0, 3.0, 4.0]);
    }
    // Bytes that were compressed by an extension are named, not misread.
    let length = [&b"lengthJ"[..], &(part().len() as i32).to_le_bytes(), b"u"].concat();
    let descriptors = [
        &length[..length.len() - 1],
        b"X\x15\x00\x00\x00transform_descriptors](X\x0b\x00\x00\x00stream.zstdeu",
    ]
    .concat();
    let error = open(&replaced(&whole, &length, &descriptors), &part()).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Unrecognized { looks_like, .. }
            if looks_like == "chunks with the transformation stream.zstd"),
        "{error}"
    );
}

#[test]
fn missing_and_overlapping_chunks_are_named() {
    let first = chunk(&[4, 2], &[0, 0], &[2, 2]);
    assert_eq!(
        reason(std::slice::from_ref(&first)),
        "no chunk has the element at [2, 0]"
    );
    assert_eq!(
        reason(&[first.clone(), chunk(&[4, 2], &[1, 0], &[2, 2])]),
        "the chunk at [0, 0] of shape [2, 2] overlaps the chunk at [1, 0] of shape [2, 2]"
    );
    assert_eq!(
        reason(&[chunk(&[4, 2], &[3, 0], &[2, 2])]),
        "the chunk at [3, 0] of shape [2, 2] is out of bounds"
    );
    // Listed, but in no file.
    let mut elsewhere = chunk(&[4, 2], &[2, 0], &[2, 2]);
    elsewhere.file = "__1_0.distcp".to_owned();
    let missing = error(&[first, elsewhere]);
    assert!(
        matches!(&missing, CheckpointError::MissingShard { shard, .. } if shard == "__1_0.distcp"),
        "{missing}"
    );
}

#[test]
fn chunks_must_be_as_listed() {
    assert_eq!(
        reason(&[chunk(&[4], &[0], &[4])]),
        "the chunk at [0] in __0_0.distcp is f32 [2, 2], expected f32 [4]"
    );
    let mut half = chunk(&[2, 2], &[0, 0], &[2, 2]);
    half.dtype = "float16";
    assert_eq!(
        reason(&[half.clone()]),
        "the chunk at [0, 0] in __0_0.distcp is f32 [2, 2], expected f16 [2, 2]"
    );
    half.dtype = "float8_e4m3fn";
    let unsupported = error(&[half]);
    assert!(
        matches!(&unsupported, CheckpointError::UnsupportedDtype { dtype, .. } if dtype == "float8_e4m3fn"),
        "{unsupported}"
    );
}

#[test]
fn files_are_read_only_in_the_directory_and_within_their_size() {
    let outside = [
        "../__0_0.distcp",
        "/etc/passwd",
        "sub/x.distcp",
        "..",
        "",
        "a\0b",
    ];
    for file in outside {
        let mut chunk = chunk(&[2, 2], &[0, 0], &[2, 2]);
        chunk.file = file.to_owned();
        let error = error(&[chunk]);
        assert!(
            matches!(&error, CheckpointError::Corrupt { reason, .. }
                if reason.contains("not a plain file name")),
            "{file:?}: {error}"
        );
    }
    for (start, len) in [(0, 1 << 20), (part().len(), 1), (1 << 30, 1 << 30)] {
        let mut chunk = chunk(&[2, 2], &[0, 0], &[2, 2]);
        (chunk.start, chunk.len) = (start, len);
        let error = error(&[chunk]);
        assert!(
            matches!(&error, CheckpointError::Truncated { .. }),
            "{start} {len}: {error}"
        );
    }
    let mut empty = chunk(&[2, 2], &[0, 0], &[2, 2]);
    empty.len = 0;
    assert!(matches!(error(&[empty]), CheckpointError::Truncated { .. }));
}

#[test]
fn metadata_never_run_a_program() {
    let call = |line: &str| {
        let mut pickle =
            b"\x80\x02ctorch.distributed.checkpoint.metadata\nMetadata\n)\x81}".to_vec();
        pickle.extend(format!("X\x0c\x00\x00\x00planner_datac{line}\n").bytes());
        pickle.extend(b"X\x02\x00\x00\x00ls\x85Rsb.");
        pickle
    };
    for (line, name) in [
        ("os\nsystem", "os.system"),
        ("builtins\neval", "builtins.eval"),
        (
            "torch.distributed.checkpoint.filesystem\nFileSystem",
            "torch.distributed.checkpoint.filesystem.FileSystem",
        ),
        ("pathlib\nPath.unlink", "pathlib.Path.unlink"),
    ] {
        let refused = open(&call(line), &part()).unwrap_err();
        assert!(
            matches!(&refused, CheckpointError::DisallowedGlobal { global, .. } if global == name),
            "{refused}"
        );
    }
}

#[test]
fn huge_tensors_cannot_exhaust_memory() {
    let huge = [1 << 40, 1 << 20];
    assert!(matches!(
        error(&[chunk(&huge, &[0, 0], &huge)]),
        CheckpointError::InvalidChunks { .. }
    ));
    let halves = [
        chunk(&huge, &[0, 0], &[1 << 39, 1 << 20]),
        chunk(&huge, &[1 << 39, 0], &[1 << 39, 1 << 20]),
    ];
    assert!(matches!(error(&halves), CheckpointError::TooLarge { .. }));
    let overflow = [usize::MAX >> 1, usize::MAX >> 1, 4];
    let error = error(&[chunk(&overflow, &[0, 0, 0], &overflow)]);
    assert!(
        matches!(
            error,
            CheckpointError::TooLarge { .. } | CheckpointError::InvalidChunks { .. }
        ),
        "{error}"
    );
}

#[test]
fn repeated_chunks_cannot_exhaust_memory() {
    // Tensors that are all joined from the same bytes: 4,000 times 8 kB from one file.
    let rows = archive(&Tensor::from_f32(&[1, 1024], vec![0.0; 1024]).unwrap());
    let listed: Vec<ListedChunk> = (0..4_000)
        .flat_map(|index| {
            [0, 1].map(|row| ListedChunk {
                name: format!("w{index}"),
                len: rows.len(),
                ..chunk(&[2, 1024], &[row, 0], &[1, 1024])
            })
        })
        .collect();
    let error = open(&metadata(&listed), &rows).unwrap_err();
    assert!(matches!(error, CheckpointError::TooLarge { .. }), "{error}");
}

#[test]
fn every_truncation_of_the_metadata_is_an_error() {
    let directory = fixture("cases/weights/distributed/each-rank");
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let metadata = copy.path().join("__1.metadata");
    let whole = fs::read(&metadata).unwrap();
    for len in 0..whole.len() {
        fs::write(&metadata, &whole[..len]).unwrap();
        assert!(Checkpoint::open(copy.path()).is_err(), "{len}");
    }
}

/// Reads everything a caller can access, so that a wrong range would panic.
fn exercise(directory: &Path) {
    if let Ok(read) = Checkpoint::open(directory) {
        for (_, tensor) in &read {
            assert_eq!(tensor.to_f32().len(), tensor.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        in_metadata in any::<bool>(),
    ) {
        let from = fixture("cases/weights/distributed/each-rank");
        let copy = tempfile::tempdir().unwrap();
        for name in ["__0.metadata", "__1.metadata", "__0_0.distcp", "__1_0.distcp"] {
            let mut bytes = fs::read(from.join(name)).unwrap();
            if in_metadata == name.ends_with("metadata") {
                for (index, byte) in &changes {
                    let at = index.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            fs::write(copy.path().join(name), bytes).unwrap();
        }
        exercise(copy.path());
    }
}
