//! The version of the program, with what was compiled into it.

use std::sync::LazyLock;

use clipn::simd::SimdLevel;

/// Terms of the demonstration model.
#[cfg(feature = "mini")]
pub(crate) const MINI_LICENSE: &str = "non-commercial research and education only";

/// Optional features of the program, and whether they are compiled in.
const FEATURES: [(&str, bool); 7] = [
    ("cuda", cfg!(feature = "cuda")),
    ("download", cfg!(feature = "download")),
    ("gpu", cfg!(feature = "gpu")),
    ("mini", cfg!(feature = "mini")),
    ("parquet", cfg!(feature = "parquet")),
    ("remote", cfg!(feature = "remote")),
    ("serve", cfg!(feature = "serve")),
];

/// The long form of the version: `--version` prints the name of the program before it.
pub(crate) fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        [
            env!("CARGO_PKG_VERSION").to_owned(),
            format!("commit      {}", env!("CLIPN_COMMIT")),
            format!("features    {}", features()),
            format!("SIMD level  {}", SimdLevel::current()),
            mini(),
        ]
        .join("\n")
    });
    TEXT.trim_end()
}

fn features() -> String {
    let compiled: Vec<&str> = FEATURES
        .into_iter()
        .filter_map(|(name, is_compiled)| is_compiled.then_some(name))
        .collect();
    if compiled.is_empty() {
        "none".to_owned()
    } else {
        compiled.join(", ")
    }
}

/// The demonstration model with its terms, or nothing if it is not built in.
fn mini() -> String {
    #[cfg(feature = "mini")]
    return format!(
        "model       {}: {MINI_LICENSE}",
        clipn::model::PretrainedWeights::MINI
    );
    #[cfg(not(feature = "mini"))]
    String::new()
}
