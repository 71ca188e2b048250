//! Output paths of a conversion: what is replaced, what is never touched, and what cancelling
//! leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use clipn_base::progress::{NoProgress, Progress};
use clipn_checkpoint::{Checkpoint, FloatType};
use clipn_model::{
    ConversionSummary, ConversionTarget, ConvertError, ModelConfig, PretrainedWeights,
    WeightsConversion,
};
use clipn_testing::fixture;
use tempfile::TempDir;

/// Temporary directory with the weights `clip.pt`, and conversions of them to paths in it.
struct Workspace(TempDir);

impl Workspace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(
            fixture("checkpoint/plain_clip.pt"),
            folder.path().join("clip.pt"),
        )
        .unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn convert(
        &self,
        to: ConversionTarget,
        out: &str,
        replace: bool,
    ) -> Result<ConversionSummary, ConvertError> {
        self.convert_from("clip.pt", to, &self.path(out), replace)
    }

    fn convert_from(
        &self,
        from: &str,
        to: ConversionTarget,
        out: &Path,
        replace: bool,
    ) -> Result<ConversionSummary, ConvertError> {
        self.run(
            &WeightsConversion {
                replace,
                ..WeightsConversion::new(to)
            },
            from,
            out,
            &NoProgress,
        )
    }

    fn run(
        &self,
        conversion: &WeightsConversion,
        from: &str,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<ConversionSummary, ConvertError> {
        let from = PretrainedWeights::open(self.path(from)).unwrap();
        let model = ModelConfig::load(fixture("models/plain_clip/plain_clip.json")).unwrap();
        conversion.run_with_progress(&from, Some(model), out, progress)
    }

    /// Asserts that the conversion fails with all of these words and changes nothing in the
    /// directory.
    #[track_caller]
    fn assert_rejects(&self, to: ConversionTarget, out: &str, replace: bool, words: &[&str]) {
        let before = self.names();
        let error = self.convert(to, out, replace).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error}");
        }
        assert_eq!(self.names(), before);
    }

    fn names(&self) -> Vec<PathBuf> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn replaces_an_existing_output_only_if_requested() {
    let w = Workspace::new();
    for (to, out) in [
        (ConversionTarget::Clipn, "out.safetensors"),
        (ConversionTarget::OpenClip, "hub"),
        (ConversionTarget::Transformers, "hf"),
    ] {
        w.convert(to, out, false).unwrap();
        w.assert_rejects(to, out, false, &[out, "already exists"]);
        w.convert(to, out, true).unwrap();
        PretrainedWeights::open(w.path(out))
            .unwrap()
            .weights(None)
            .unwrap();
    }
    // A directory of one format may be replaced as a whole by one of the other.
    w.convert(ConversionTarget::Transformers, "hub", true)
        .unwrap();
    assert!(!w.path("hub/open_clip_config.json").exists() && w.path("hub/config.json").is_file());
    assert_eq!(
        w.names().len(),
        4,
        "nothing is left beside the outputs: {:?}",
        w.names()
    );
}

#[test]
fn replaces_nothing_but_weights() {
    let w = Workspace::new();
    fs::write(w.path("photo.jpg"), b"\xff\xd8\xff a photo").unwrap();
    w.assert_rejects(
        ConversionTarget::Clipn,
        "photo.jpg",
        true,
        &["photo.jpg", "not a weights file"],
    );
    assert_eq!(
        fs::read(w.path("photo.jpg")).unwrap(),
        b"\xff\xd8\xff a photo"
    );
    fs::create_dir(w.path("home")).unwrap();
    fs::write(w.path("home/letters.txt"), b"dear").unwrap();
    fs::write(w.path("home/config.json"), b"{}").unwrap();
    w.assert_rejects(
        ConversionTarget::OpenClip,
        "home",
        false,
        &["already exists"],
    );
    w.assert_rejects(
        ConversionTarget::OpenClip,
        "home",
        true,
        &["home", "letters.txt", "would be lost"],
    );
    assert_eq!(fs::read(w.path("home/letters.txt")).unwrap(), b"dear");
    fs::remove_file(w.path("home/letters.txt")).unwrap();
    w.assert_rejects(
        ConversionTarget::OpenClip,
        "home",
        true,
        &["home", "no weights", "not replaced"],
    );
    assert_eq!(fs::read(w.path("home/config.json")).unwrap(), b"{}");
    fs::write(w.path("empty.safetensors"), b"").unwrap();
    w.assert_rejects(
        ConversionTarget::Clipn,
        "empty.safetensors",
        false,
        &["already exists"],
    );
    w.convert(ConversionTarget::Clipn, "empty.safetensors", true)
        .unwrap();
    fs::create_dir(w.path("empty")).unwrap();
    w.convert(ConversionTarget::OpenClip, "empty", false)
        .unwrap();
    assert!(w.path("empty/open_clip_model.safetensors").is_file());
}

#[test]
fn the_input_is_never_the_output() {
    let w = Workspace::new();
    fs::create_dir(w.path("sub")).unwrap();
    w.convert(ConversionTarget::Clipn, "own.safetensors", false)
        .unwrap();
    let same = |from: &str, to: ConversionTarget, out: &Path| {
        let before = w.names();
        let error = w.convert_from(from, to, out, true).unwrap_err();
        assert!(
            matches!(&error, ConvertError::OutputIsInput { .. }),
            "{error}"
        );
        assert_eq!(w.names(), before);
    };
    same(
        "own.safetensors",
        ConversionTarget::Clipn,
        &w.path("own.safetensors"),
    );
    same(
        "own.safetensors",
        ConversionTarget::Clipn,
        &w.path("sub/../own.safetensors"),
    );
    w.convert(ConversionTarget::OpenClip, "hub", false).unwrap();
    same("hub", ConversionTarget::OpenClip, &w.path("hub"));
    same("hub", ConversionTarget::Transformers, &w.path("hub/"));
    same(
        "hub/open_clip_model.safetensors",
        ConversionTarget::OpenClip,
        &w.path("hub"),
    );
    same(
        "hub",
        ConversionTarget::Clipn,
        &w.path("hub/open_clip_model.safetensors"),
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(w.path("own.safetensors"), w.path("link.safetensors")).unwrap();
        same(
            "own.safetensors",
            ConversionTarget::Clipn,
            &w.path("link.safetensors"),
        );
        same(
            "link.safetensors",
            ConversionTarget::Clipn,
            &w.path("own.safetensors"),
        );
    }
    // An output beside the input is allowed.
    w.convert_from(
        "hub",
        ConversionTarget::Clipn,
        &w.path("hub/mine.safetensors"),
        false,
    )
    .unwrap();
}

#[test]
fn the_parts_of_a_sharded_model_are_inputs_too() {
    let w = Workspace::new();
    w.convert(ConversionTarget::Clipn, "part-1.safetensors", false)
        .unwrap();
    let pretrained = PretrainedWeights::open(w.path("part-1.safetensors")).unwrap();
    let map: serde_json::Map<_, _> = pretrained
        .checkpoint()
        .iter()
        .map(|(name, _)| (name.to_owned(), "part-1.safetensors".into()))
        .collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(w.path("model.safetensors.index.json"), index).unwrap();
    for out in ["part-1.safetensors", "model.safetensors.index.json"] {
        let error = w
            .convert_from(
                "model.safetensors.index.json",
                ConversionTarget::Clipn,
                &w.path(out),
                true,
            )
            .unwrap_err();
        assert!(
            matches!(&error, ConvertError::OutputIsInput { .. }),
            "{error}"
        );
    }
}

#[test]
fn rejects_unusable_output_paths_with_the_reason() {
    let w = Workspace::new();
    fs::create_dir(w.path("folder")).unwrap();
    w.assert_rejects(
        ConversionTarget::Clipn,
        "folder",
        false,
        &["folder", "a directory has this name"],
    );
    w.assert_rejects(
        ConversionTarget::Clipn,
        "new/",
        false,
        &["expected the path of a file"],
    );
    w.assert_rejects(
        ConversionTarget::Clipn,
        "gone/out.safetensors",
        false,
        &["gone does not exist"],
    );
    w.assert_rejects(
        ConversionTarget::Transformers,
        "gone/out",
        false,
        &["gone does not exist"],
    );
    w.assert_rejects(
        ConversionTarget::OpenClip,
        "clip.pt",
        true,
        &["also an input"],
    );
    fs::write(w.path("file"), b"x").unwrap();
    w.assert_rejects(
        ConversionTarget::OpenClip,
        "file",
        true,
        &["expected a directory, got a file"],
    );
    for extension in ["pt", "PTH", "bin"] {
        w.assert_rejects(
            ConversionTarget::Clipn,
            &format!("out.{extension}"),
            false,
            &[".safetensors", "PyTorch"],
        );
    }
    w.assert_rejects(
        ConversionTarget::Transformers,
        "..",
        true,
        &["no file name"],
    );
    w.convert(ConversionTarget::OpenClip, "new/", false)
        .unwrap();
    assert!(w.path("new/open_clip_config.json").is_file());
}

/// Progress that is cancelled after a number of bytes.
struct CancelAfter(u64, AtomicU64);

impl Progress for CancelAfter {
    fn advance(&self, units: u64) {
        self.1.fetch_add(units, Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.1.load(Ordering::SeqCst) >= self.0
    }
}

#[test]
fn cancelling_leaves_no_new_files_and_keeps_existing_ones() {
    let w = Workspace::new();
    for to in ConversionTarget::ALL {
        let out = w.path(to.as_str());
        w.convert(to, to.as_str(), false).unwrap();
        let weights = if to.is_directory() {
            fs::read_dir(&out).unwrap().count()
        } else {
            0
        };
        let entries = w.names().len();
        for bytes in [0, 1, 100_000, 1_000_000] {
            for (replace, path) in [(true, out.clone()), (false, w.path("new"))] {
                let conversion = WeightsConversion {
                    replace,
                    ..WeightsConversion::new(to)
                };
                let cancelled = CancelAfter(bytes, AtomicU64::new(0));
                let error = w
                    .run(&conversion, "clip.pt", &path, &cancelled)
                    .unwrap_err();
                assert!(
                    matches!(&error, ConvertError::Canceled { path: reported } if *reported == path)
                );
                assert_eq!(w.names().len(), entries, "{bytes}");
            }
        }
        if to.is_directory() {
            assert_eq!(fs::read_dir(&out).unwrap().count(), weights);
        }
        PretrainedWeights::open(&out)
            .unwrap()
            .weights(None)
            .unwrap();
    }
}

#[test]
fn progress_counts_the_bytes_written() {
    struct Total(AtomicU64, AtomicU64);
    impl Progress for Total {
        fn begin(&self, _: &str, total: u64) {
            self.0.store(total, Ordering::SeqCst);
        }
        fn advance(&self, units: u64) {
            self.1.fetch_add(units, Ordering::SeqCst);
        }
    }
    let (w, progress) = (
        Workspace::new(),
        Total(AtomicU64::new(0), AtomicU64::new(0)),
    );
    let conversion = WeightsConversion {
        float: Some(FloatType::F32),
        ..WeightsConversion::new(ConversionTarget::Clipn)
    };
    let out = w.path("out");
    let converted = w.run(&conversion, "clip.pt", &out, &progress).unwrap();
    let values = Checkpoint::open(&out)
        .unwrap()
        .iter()
        .map(|(_, tensor)| tensor.len() as u64)
        .sum::<u64>();
    assert_eq!(
        (progress.0.into_inner(), progress.1.into_inner()),
        (4 * values, 4 * values)
    );
    assert!(converted.files[0].1 > 4 * values);
}

#[cfg(unix)]
#[test]
fn an_unwritable_directory_is_an_error() {
    use std::os::unix::fs::PermissionsExt;

    let w = Workspace::new();
    let closed = w.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), b"").is_ok() {
        println!("skipped: this user may write everything");
        return;
    }
    for to in ConversionTarget::ALL {
        let error = w.convert(to, "closed/out", false).unwrap_err();
        assert!(matches!(&error, ConvertError::Io { .. }), "{error}");
        assert!(error.to_string().contains("closed/out"), "{error}");
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}
