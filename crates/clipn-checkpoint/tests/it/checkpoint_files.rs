//! Paths without weights files, repacked archives, and writing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use clipn_checkpoint::{
    Buffer, Checkpoint, CheckpointError, Dtype, Tensor, WeightsFormat, write_safetensors,
};
use clipn_testing::fixture;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

fn error(path: &Path) -> CheckpointError {
    Checkpoint::open(path).expect_err("the file should be rejected")
}

/// Returns the archive repacked, with its entries changed by `edit`.
fn repacked(
    name: &str,
    method: CompressionMethod,
    edit: impl Fn(String, Vec<u8>) -> Option<(String, Vec<u8>)>,
) -> Vec<u8> {
    let mut from =
        ZipArchive::new(File::open(fixture("checkpoint").join(name)).expect("a fixture"))
            .expect("a zip");
    let mut to = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for index in 0..from.len() {
        let mut entry = from.by_index(index).expect("an entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        let name = entry.name().expect("its name").into_owned();
        if let Some((name, bytes)) = edit(name, bytes) {
            to.start_file(
                name,
                SimpleFileOptions::default().compression_method(method),
            )
            .expect("a new entry");
            to.write_all(&bytes).expect("its bytes");
        }
    }
    to.finish().expect("the directory").into_inner()
}

fn read(bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(Path::new("repacked.pt"), bytes)
}

#[test]
fn compressed_archives_have_the_same_tensors() {
    let expected = Checkpoint::open(fixture("checkpoint/formats.expected.safetensors")).unwrap();
    let packed = repacked(
        "formats_zip.pt",
        CompressionMethod::Deflated,
        |name, bytes| Some((name, bytes)),
    );
    let inflated = read(packed).unwrap();
    for (name, tensor) in expected.iter() {
        assert_eq!(inflated.get(name), Some(tensor), "{name}");
    }
}

#[test]
fn the_root_directory_of_an_archive_may_have_any_name() {
    for root in ["", "archive/", "something else/"] {
        let renamed = repacked(
            "formats_zip.pt",
            CompressionMethod::Stored,
            |name, bytes| Some((name.replace("formats_zip/", root), bytes)),
        );
        assert_eq!(read(renamed).unwrap().len(), 15, "{root:?}");
    }
}

#[test]
fn rejects_invalid_archives() {
    let edited = |edit: &dyn Fn(String, Vec<u8>) -> Option<(String, Vec<u8>)>| {
        read(repacked("formats_zip.pt", CompressionMethod::Stored, edit)).expect_err("an error")
    };
    let big = edited(&|name, bytes| {
        Some((
            name.clone(),
            if name.ends_with("byteorder") {
                b"big".to_vec()
            } else {
                bytes
            },
        ))
    });
    assert!(matches!(big, CheckpointError::BigEndian { .. }), "{big}");
    let missing = edited(&|name, bytes| (!name.ends_with("data/10")).then_some((name, bytes)));
    assert!(missing.to_string().contains("data/10"), "{missing}");
    let short = edited(&|name, mut bytes| {
        bytes.truncate(if name.ends_with("data/10") {
            100
        } else {
            usize::MAX
        });
        Some((name, bytes))
    });
    assert!(
        short
            .to_string()
            .contains("100 bytes for a storage of 60 float32"),
        "{short}"
    );
    let other = edited(&|name, bytes| (!name.ends_with("data.pkl")).then_some((name, bytes)));
    assert!(
        other.to_string().contains("not written by torch.save"),
        "{other}"
    );
    let two =
        edited(&|name, bytes| Some((name.replace("formats_zip/version", "b/data.pkl"), bytes)));
    assert!(two.to_string().contains("more than one data.pkl"), "{two}");
}

#[test]
fn rejects_a_decompression_bomb() {
    let bomb = repacked(
        "formats_zip.pt",
        CompressionMethod::Deflated,
        |name, bytes| {
            let bomb = name.ends_with("data/10");
            Some((name, if bomb { vec![0; 100 << 20] } else { bytes }))
        },
    );
    assert!(bomb.len() < 1 << 20);
    let error = read(bomb).expect_err("an error");
    assert!(
        matches!(&error, CheckpointError::TooLarge { item, .. } if item.contains("data/10")),
        "{error}"
    );
}

#[test]
fn explains_paths_without_weights() {
    let folder = tempfile::tempdir().unwrap();
    let missing = error(&folder.path().join("none.pt"));
    assert!(
        matches!(missing, CheckpointError::NotFound { .. }),
        "{missing}"
    );
    let none = error(folder.path()).to_string();
    assert!(
        none.contains("in directory") && none.contains("it contains none"),
        "{none}"
    );
    fs::write(folder.path().join("epoch_1.pt"), b"").unwrap();
    fs::write(folder.path().join("notes.txt"), b"notes").unwrap();
    assert!(
        error(folder.path())
            .to_string()
            .contains("it contains none"),
        "neither begins like a weights file"
    );
    for name in ["a.pt", "b.pt"] {
        fs::copy(
            fixture("checkpoint/formats_zip.pt"),
            folder.path().join(name),
        )
        .unwrap();
    }
    let two = error(folder.path()).to_string();
    assert!(
        two.contains("several candidates: a.pt, b.pt") && !two.contains("notes.txt"),
        "{two}"
    );
    let run = tempfile::tempdir().unwrap();
    fs::create_dir_all(run.path().join("checkpoints/epoch-3")).unwrap();
    fs::write(
        run.path().join("checkpoints/epoch-3/model.safetensors"),
        b"",
    )
    .unwrap();
    let inside = error(run.path()).to_string();
    assert!(
        inside.contains("only subdirectories contain weights: checkpoints/epoch-3"),
        "{inside}"
    );
    let empty = error(&folder.path().join("epoch_1.pt"));
    assert!(matches!(empty, CheckpointError::Empty { .. }), "{empty}");
    let pointer = folder.path().join("pointer.bin");
    fs::write(
        &pointer,
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 600000000\n",
    )
    .unwrap();
    assert!(matches!(
        error(&pointer),
        CheckpointError::Unrecognized { looks_like, hint, .. }
            if looks_like.contains("Git LFS pointer") && hint.contains("git lfs pull")
    ));
}

#[cfg(unix)]
#[test]
fn rejects_devices() {
    assert!(matches!(
        error(Path::new("/dev/null")),
        CheckpointError::NotAFile { .. }
    ));
}

#[test]
fn detects_the_format_regardless_of_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    fs::copy(fixture("checkpoint/formats_zip.pt"), &path).unwrap();
    assert_eq!(
        Checkpoint::open(&path).unwrap().format(),
        WeightsFormat::TorchZip
    );
}

#[test]
fn written_files_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    let source = Checkpoint::open(fixture("checkpoint/formats_legacy.pt")).unwrap();
    let tensors = || {
        source
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
    };
    let metadata = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("note".to_owned(), "\"ü\"\n".to_owned()),
    ]);
    write_safetensors(&path, tensors(), &metadata).unwrap();
    let back = Checkpoint::open(&path).unwrap();
    assert_eq!(back.len(), source.len());
    for (name, tensor) in source.iter() {
        assert_eq!(back.get(name), Some(tensor), "{name}");
    }
    assert_eq!(
        back.metadata()
            .iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect::<BTreeMap<_, _>>(),
        metadata
    );
    assert!(
        back.get("param").unwrap().to_f32().is_mapped(),
        "written aligned"
    );
    let first = fs::read(&path).unwrap();
    write_safetensors(&path, tensors(), &metadata).unwrap();
    assert_eq!(
        fs::read(&path).unwrap(),
        first,
        "the same content gives the same bytes"
    );
    let official = safetensors::SafeTensors::deserialize(&first).unwrap();
    assert_eq!(official.len(), source.len());
}

#[test]
fn metadata_of_any_length_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sentences.safetensors");
    let sentences = "\"a photo of a pizza, {hot}, [1, 2, 3].\"\\".repeat(600_000);
    assert!(sentences.len() > 20 << 20);
    let metadata = BTreeMap::from([("sentences".to_owned(), sentences)]);
    let tensor = Tensor::from_f32(&[1], vec![0.5]).unwrap();
    write_safetensors(&path, [("w".to_owned(), tensor)], &metadata).unwrap();
    let back = Checkpoint::open(&path).unwrap();
    let texts: BTreeMap<&str, &str> = back.metadata().iter().collect();
    assert!(texts["sentences"] == metadata["sentences"]);
}

#[test]
fn files_in_use_can_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let write = |value: f32| {
        let tensor = Tensor::from_f32(&[2], vec![value; 2]).unwrap();
        write_safetensors(&path, [("w".to_owned(), tensor)], &BTreeMap::new()).unwrap();
    };
    write(1.0);
    let old = Checkpoint::open(&path).unwrap().get("w").unwrap().to_f32();
    assert!(old.is_mapped());
    write(2.0);
    assert_eq!(old[..], [1.0, 1.0]);
    assert_eq!(
        Checkpoint::open(&path).unwrap().get("w").unwrap().to_f32()[..],
        [2.0, 2.0]
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn a_failed_write_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, b"old").unwrap();
    let tensor = Tensor::from_i64(&[1], &[7]).unwrap();
    let duplicates = ["w", "w"].map(|name| (name.to_owned(), tensor.clone()));
    let error = write_safetensors(&path, duplicates, &BTreeMap::new()).unwrap_err();
    assert!(
        error.to_string().contains("duplicate tensor name w"),
        "{error}"
    );
    let reserved = [("__metadata__".to_owned(), tensor.clone())];
    assert!(
        write_safetensors(&path, reserved, &BTreeMap::new())
            .unwrap_err()
            .to_string()
            .contains("reserved")
    );
    assert_eq!(fs::read(&path).unwrap(), b"old");
    let nowhere = folder.path().join("none/model.safetensors");
    let error =
        write_safetensors(&nowhere, [("w".to_owned(), tensor)], &BTreeMap::new()).unwrap_err();
    assert!(
        matches!(
            error,
            CheckpointError::Io {
                action: "write",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn rejects_values_that_do_not_match_the_shape() {
    assert!(matches!(
        Tensor::from_f32(&[2, 3], vec![0.0; 5]),
        Err(CheckpointError::ShapeMismatch { elements: 5, .. })
    ));
    assert!(matches!(
        Tensor::from_f64(&[usize::MAX, 2], &[]),
        Err(CheckpointError::ShapeMismatch { .. })
    ));
    assert!(Tensor::from_bytes(Dtype::F16, &[2], vec![0; 3]).is_err());
    let values = Buffer::from(vec![1.5f32, -2.0]);
    let tensor = Tensor::from_f32(&[2], values.clone()).unwrap();
    assert_eq!(
        tensor.to_f32().as_ptr(),
        values.as_ptr(),
        "shared, not copied"
    );
    assert_eq!(
        tensor.bytes(),
        [1.5f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat()
    );
    assert_eq!(tensor.to_f64()[..], [1.5, -2.0]);
    assert_eq!(Tensor::from_f64(&[], &[0.1]).unwrap().to_f64()[..], [0.1]);
    assert_eq!(Tensor::from_i64(&[2], &[-1, 5]).unwrap().to_i64(), [-1, 5]);
    assert_eq!(
        Tensor::from_f16_bits(&[1], &[half::f16::from_f32(0.5).to_bits()])
            .unwrap()
            .to_f32()[..],
        [0.5]
    );
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_named_and_not_replaced_by_other_weights() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("pytorch_model.bin");
    fs::copy(fixture("checkpoint/plain_clip.pt"), &other).unwrap();
    Checkpoint::open(folder.path()).unwrap();
    let link = folder.path().join("model.safetensors");
    // As in the cache of huggingface_hub 2: over the repository's own blobs to the shared ones.
    std::os::unix::fs::symlink("own", &link).unwrap();
    std::os::unix::fs::symlink("../../blobs/5ea1ed", folder.path().join("own")).unwrap();
    for path in [folder.path(), &link] {
        let error = Checkpoint::open(path).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::BrokenLink { path, .. } if *path == link),
            "{error}"
        );
        let message = error.to_string();
        assert!(
            message.contains("is a link that leads nowhere: ")
                && message.ends_with("/../../blobs/5ea1ed does not exist"),
            "{message}"
        );
        assert!(error.hint().unwrap().contains("cp -rL"));
    }
}
