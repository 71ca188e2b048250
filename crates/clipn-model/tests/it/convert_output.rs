//! Where a conversion may write, what it never touches, and what is left when it is stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use clipn_checkpoint::{Checkpoint, FloatType};
use clipn_model::{Conversion, ConvertError, Converted, ModelConfig, Pretrained, Target};
use clipn_base::progress::{Progress, Silent};
use clipn_testing::fixture;
use tempfile::TempDir;

/// A folder with the weights `clip.pt`, and conversions of them to paths in it.
struct Workplace(TempDir);

impl Workplace {
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

    fn convert(&self, to: Target, out: &str, replace: bool) -> Result<Converted, ConvertError> {
        self.convert_from("clip.pt", to, &self.path(out), replace)
    }

    fn convert_from(
        &self,
        from: &str,
        to: Target,
        out: &Path,
        replace: bool,
    ) -> Result<Converted, ConvertError> {
        self.run(
            &Conversion {
                replace,
                ..Conversion::new(to)
            },
            from,
            out,
            &Silent,
        )
    }

    fn run(
        &self,
        conversion: &Conversion,
        from: &str,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<Converted, ConvertError> {
        let from = Pretrained::open(&self.path(from)).unwrap();
        let model = ModelConfig::load(&fixture("models/plain_clip/plain_clip.json")).unwrap();
        conversion.run(&from, Some(model), out, progress)
    }

    /// The conversion is refused with all of these words, and the folder's names stay as they are.
    #[track_caller]
    fn refuses(&self, to: Target, out: &str, replace: bool, words: &[&str]) {
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
fn what_is_there_is_replaced_only_by_force() {
    let w = Workplace::new();
    for (to, out) in [
        (Target::Clipn, "out.safetensors"),
        (Target::OpenClip, "hub"),
        (Target::Transformers, "hf"),
    ] {
        w.convert(to, out, false).unwrap();
        w.refuses(to, out, false, &[out, "is there already", "--force"]);
        w.convert(to, out, true).unwrap();
        Pretrained::open(&w.path(out))
            .unwrap()
            .weights(None)
            .unwrap();
    }
    // A folder of one kind may become one of the other, whole.
    w.convert(Target::Transformers, "hub", true).unwrap();
    assert!(!w.path("hub/open_clip_config.json").exists() && w.path("hub/config.json").is_file());
    assert_eq!(
        w.names().len(),
        4,
        "nothing is left beside the outputs: {:?}",
        w.names()
    );
}

#[test]
fn nothing_but_weights_is_replaced() {
    let w = Workplace::new();
    fs::write(w.path("photo.jpg"), b"\xff\xd8\xff a photograph").unwrap();
    w.refuses(
        Target::Clipn,
        "photo.jpg",
        true,
        &["photo.jpg", "no weights"],
    );
    assert_eq!(
        fs::read(w.path("photo.jpg")).unwrap(),
        b"\xff\xd8\xff a photograph"
    );
    fs::create_dir(w.path("home")).unwrap();
    fs::write(w.path("home/letters.txt"), b"dear").unwrap();
    fs::write(w.path("home/config.json"), b"{}").unwrap();
    w.refuses(Target::OpenClip, "home", false, &["is there already"]);
    w.refuses(
        Target::OpenClip,
        "home",
        true,
        &["home", "letters.txt", "would be lost"],
    );
    assert_eq!(fs::read(w.path("home/letters.txt")).unwrap(), b"dear");
    fs::write(w.path("empty.safetensors"), b"").unwrap();
    w.refuses(
        Target::Clipn,
        "empty.safetensors",
        false,
        &["is there already"],
    );
    w.convert(Target::Clipn, "empty.safetensors", true).unwrap();
    fs::create_dir(w.path("empty")).unwrap();
    w.convert(Target::OpenClip, "empty", false).unwrap();
    assert!(w.path("empty/open_clip_model.safetensors").is_file());
}

#[test]
fn the_input_is_never_the_output() {
    let w = Workplace::new();
    fs::create_dir(w.path("sub")).unwrap();
    w.convert(Target::Clipn, "own.safetensors", false).unwrap();
    let same = |from: &str, to: Target, out: &Path| {
        let before = w.names();
        let error = w.convert_from(from, to, out, true).unwrap_err();
        assert!(matches!(&error, ConvertError::Same { .. }), "{error}");
        assert_eq!(w.names(), before);
    };
    same("own.safetensors", Target::Clipn, &w.path("own.safetensors"));
    same(
        "own.safetensors",
        Target::Clipn,
        &w.path("sub/../own.safetensors"),
    );
    w.convert(Target::OpenClip, "hub", false).unwrap();
    same("hub", Target::OpenClip, &w.path("hub"));
    same("hub", Target::Transformers, &w.path("hub/"));
    same(
        "hub/open_clip_model.safetensors",
        Target::OpenClip,
        &w.path("hub"),
    );
    same(
        "hub",
        Target::Clipn,
        &w.path("hub/open_clip_model.safetensors"),
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(w.path("own.safetensors"), w.path("link.safetensors")).unwrap();
        same(
            "own.safetensors",
            Target::Clipn,
            &w.path("link.safetensors"),
        );
        same(
            "link.safetensors",
            Target::Clipn,
            &w.path("own.safetensors"),
        );
    }
    // Beside the input is fine.
    w.convert_from("hub", Target::Clipn, &w.path("hub/mine.safetensors"), false)
        .unwrap();
}

#[test]
fn parts_of_a_model_in_several_files_are_inputs_too() {
    let w = Workplace::new();
    w.convert(Target::Clipn, "part-1.safetensors", false)
        .unwrap();
    let pretrained = Pretrained::open(&w.path("part-1.safetensors")).unwrap();
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
                Target::Clipn,
                &w.path(out),
                true,
            )
            .unwrap_err();
        assert!(matches!(&error, ConvertError::Same { .. }), "{error}");
    }
}

#[test]
fn names_that_cannot_be_the_output_are_told_why() {
    let w = Workplace::new();
    fs::create_dir(w.path("folder")).unwrap();
    w.refuses(Target::Clipn, "folder", false, &["folder", "name a file"]);
    w.refuses(Target::Clipn, "new/", false, &["names a folder"]);
    w.refuses(
        Target::Clipn,
        "gone/out.safetensors",
        false,
        &["there is no folder", "gone"],
    );
    w.refuses(
        Target::Transformers,
        "gone/out",
        false,
        &["there is no folder", "gone"],
    );
    w.refuses(Target::OpenClip, "clip.pt", true, &["what is read"]);
    fs::write(w.path("file"), b"x").unwrap();
    w.refuses(
        Target::OpenClip,
        "file",
        true,
        &["it is a file", "a folder is to be made"],
    );
    for ending in ["pt", "PTH", "bin"] {
        w.refuses(
            Target::Clipn,
            &format!("out.{ending}"),
            false,
            &[".safetensors", "PyTorch"],
        );
    }
    w.refuses(Target::Transformers, "..", true, &["no name of its own"]);
    w.convert(Target::OpenClip, "new/", false).unwrap();
    assert!(w.path("new/open_clip_config.json").is_file());
}

/// Is cancelled once so many bytes are written.
struct After(u64, AtomicU64);

impl Progress for After {
    fn advance(&self, units: u64) {
        self.1.fetch_add(units, Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.1.load(Ordering::SeqCst) >= self.0
    }
}

#[test]
fn cancelling_leaves_nothing_and_what_was_there() {
    let w = Workplace::new();
    for to in Target::ALL {
        let out = w.path(to.name());
        w.convert(to, to.name(), false).unwrap();
        let weights = if to.is_folder() {
            fs::read_dir(&out).unwrap().count()
        } else {
            0
        };
        let entries = w.names().len();
        for bytes in [0, 1, 100_000, 1_000_000] {
            for (replace, path) in [(true, out.clone()), (false, w.path("new"))] {
                let conversion = Conversion {
                    replace,
                    ..Conversion::new(to)
                };
                let cancelled = After(bytes, AtomicU64::new(0));
                let error = w
                    .run(&conversion, "clip.pt", &path, &cancelled)
                    .unwrap_err();
                assert!(matches!(&error, ConvertError::Cancelled { path: told } if *told == path));
                assert_eq!(w.names().len(), entries, "{bytes}");
            }
        }
        if to.is_folder() {
            assert_eq!(fs::read_dir(&out).unwrap().count(), weights);
        }
        Pretrained::open(&out).unwrap().weights(None).unwrap();
    }
}

#[test]
fn progress_tells_the_bytes_that_are_written() {
    struct Total(AtomicU64, AtomicU64);
    impl Progress for Total {
        fn begin(&self, _: &str, total: u64) {
            self.0.store(total, Ordering::SeqCst);
        }
        fn advance(&self, units: u64) {
            self.1.fetch_add(units, Ordering::SeqCst);
        }
    }
    let (w, told) = (
        Workplace::new(),
        Total(AtomicU64::new(0), AtomicU64::new(0)),
    );
    let conversion = Conversion {
        float: Some(FloatType::F32),
        ..Conversion::new(Target::Clipn)
    };
    let out = w.path("out");
    let converted = w.run(&conversion, "clip.pt", &out, &told).unwrap();
    let values = Checkpoint::open(&out)
        .unwrap()
        .iter()
        .map(|(_, tensor)| tensor.len() as u64)
        .sum::<u64>();
    assert_eq!(
        (told.0.into_inner(), told.1.into_inner()),
        (4 * values, 4 * values)
    );
    assert!(converted.files[0].1 > 4 * values);
}

#[cfg(unix)]
#[test]
fn where_nothing_may_be_written_nothing_is() {
    use std::os::unix::fs::PermissionsExt;

    let w = Workplace::new();
    let closed = w.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), b"").is_ok() {
        println!("skipped: this user may write everything");
        return;
    }
    for to in Target::ALL {
        let error = w.convert(to, "closed/out", false).unwrap_err();
        assert!(matches!(&error, ConvertError::Io { .. }), "{error}");
        assert!(error.to_string().contains("closed/out"), "{error}");
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}
