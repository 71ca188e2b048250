use std::path::Path;

use clipn_base::content::ContentKind;

use crate::error::DatasetError;
use crate::eval_sets::Benchmark;
use crate::eval_sets::benchmark::raw;
use crate::text_file::read_limited;

/// Maximum size of a definition in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Pairs an embedded definition with its name.
macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        [$((
            $name,
            include_str!(concat!("../../../assets/benchmarks/", $name, ".toml")),
        )),*]
    };
}

/// Embedded definitions by name.
const EMBEDDED: &[(&str, &str)] = &embedded![
    "imagenet-1k",
    "tiny-imagenet-ood",
    "openood-imagenet-1k",
    "openood-imagenet-1k-full-spectrum",
    "openood-imagenet-200",
    "openood-imagenet-200-full-spectrum",
    "openood-cifar10",
    "openood-cifar100",
    "imagenet-traditional-four",
    "mcm-imagenet-10",
    "mcm-imagenet-20",
    "mcm-imagenet-100",
    "ninco",
    "ninco-clean",
    "clipn-handcrafted-cifar100",
];

impl Benchmark {
    /// Returns the names of the embedded definitions.
    pub fn names() -> Vec<&'static str> {
        EMBEDDED.iter().map(|(name, _)| *name).collect()
    }

    /// Loads an embedded definition by name, or else a definition file by path.
    ///
    /// # Errors
    /// [`DatasetError::UnknownBenchmark`] if there is neither, an I/O error of the file, and the
    /// errors of [`parse`](Self::parse).
    pub fn load(name_or_path: &str) -> Result<Self, DatasetError> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, name);
        }
        let path = Path::new(name_or_path);
        let bytes = match read_limited(path, MAX_BYTES) {
            Err(DatasetError::Missing { .. }) => {
                let known = Self::names().join(", ");
                return Err(DatasetError::UnknownBenchmark {
                    name: name_or_path.to_string(),
                    known,
                });
            }
            other => other?,
        };
        if let Some(kind) =
            ContentKind::other_than(&bytes, &[ContentKind::Text, ContentKind::Empty])
        {
            return Err(DatasetError::Definition {
                origin: name_or_path.to_string(),
                problem: format!("expected TOML, got {kind}"),
            });
        }
        let text = String::from_utf8(bytes).map_err(|_| DatasetError::Definition {
            origin: name_or_path.to_string(),
            problem: "not UTF-8 text".to_string(),
        })?;
        Self::parse(&text, name_or_path)
    }

    /// Parses a definition; `origin` names it in errors.
    ///
    /// # Errors
    /// [`DatasetError::Definition`] if the text is not valid TOML, a key is missing, unknown or of
    /// the wrong type, or keys contradict each other.
    pub fn parse(text: &str, origin: &str) -> Result<Self, DatasetError> {
        raw::parse(text).map_err(|problem| DatasetError::Definition {
            origin: origin.to_string(),
            problem,
        })
    }
}
