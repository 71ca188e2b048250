//! Directories of `torch.distributed.checkpoint`: each rank writes the chunks of the tensors that it
//! holds, and an index says where they are. The tensors of the wanted model are joined; others, such
//! as the moments of an optimizer, are not read.
//!
//! | module | contents |
//! |---|---|
//! | this | opening, names of files |
//! | `index` | what the checkpoint has, and where |
//! | `metadata` | the pickle `.metadata`, or one of each rank (`__0.metadata`), for `.distcp` files |
//! | `safetensors` | the offsets in the headers of safetensors files (`shard-00001-model-…`) |
//! | `source` | the choice of the model, its tensors, other objects as text |
//! | `join` | chunks that make a whole tensor |

mod index;
mod join;
mod metadata;
mod safetensors;
mod source;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use self::index::Index;
use self::source::{FileContent, Source};
use crate::CheckpointError;
use crate::budget::Budget;
use crate::file::{self, ParsedFile, Wanted};

pub(crate) use self::safetensors::{is_shard, is_shard_name, shards_in};

/// Name of the metadata file, and the end of its name if each rank wrote one.
pub(crate) const METADATA: &str = ".metadata";

/// Extension of the files with chunks.
pub(crate) const CHUNKS: &str = "distcp";

/// Maximum number of files in a directory that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// Content of a directory, and the files that have it.
pub(crate) type Content = (ParsedFile, Vec<PathBuf>);

/// Reads the checkpoint with the metadata file `path`.
pub(crate) fn read(path: &Path, wanted: Wanted<'_>) -> Result<Content, CheckpointError> {
    let names = file_names(path);
    let own = path.file_name().unwrap_or_default().to_string_lossy();
    // Without coordination of the ranks, each writes the metadata of its own chunks.
    let metadata: Vec<PathBuf> = if rank_of_metadata(&own).is_some() {
        let mut ranked: Vec<(usize, &String)> = names
            .iter()
            .filter_map(|name| Some((rank_of_metadata(name)?, name)))
            .collect();
        ranked.sort_unstable();
        ranked
            .into_iter()
            .map(|(_, name)| path.with_file_name(name))
            .collect()
    } else {
        vec![path.to_owned()]
    };
    let chunk_files = names
        .iter()
        .filter(|name| has_chunks_extension(Path::new(name)));
    let read_files = metadata
        .iter()
        .cloned()
        .chain(chunk_files.map(|name| path.with_file_name(name)));
    let total: u64 = read_files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .fold(0, u64::saturating_add);
    let mut budget = Budget::for_file(usize::try_from(total).unwrap_or(usize::MAX));
    let mut index = Index::default();
    for file in &metadata {
        let bytes = file::memory_map(file)?;
        metadata::read(file, &bytes, &mut index, &mut budget)?;
    }
    Source::new(path, &index).content(wanted, budget)
}

/// Reads the safetensors files of all ranks in the directory of `path`, which is one of them.
pub(crate) fn read_shards(path: &Path, wanted: Wanted<'_>) -> Result<Content, CheckpointError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut files = HashMap::new();
    let mut index = Index::default();
    let mut budget = Budget::for_file(0);
    for name in shards_in(directory) {
        let file = path.with_file_name(&name);
        let bytes = file::memory_map(&file)?;
        budget = budget.merged_with(&Budget::of_size(bytes.as_slice().len()));
        let number = index.files.insert_full(name).0;
        let tensors = safetensors::read(&file, &bytes, number, &mut index, &mut budget)?;
        files.insert(number, FileContent::Safetensors(tensors));
    }
    let mut source = Source::new(path, &index);
    source.opened = files;
    source.content(wanted, budget)
}

/// Returns the names of the files in the directory of `path`.
fn file_names(path: &Path) -> Vec<String> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let entries = entries.take(MAX_ENTRIES).filter_map(Result::ok);
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

/// Returns the rank in a name such as `__3.metadata`.
pub(crate) fn rank_of_metadata(name: &str) -> Option<usize> {
    let rank = name.strip_prefix("__")?.strip_suffix(METADATA)?;
    let is_number = !rank.is_empty() && rank.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| rank.parse().ok())?
}

/// Whether the name is that of a file with chunks.
pub(crate) fn has_chunks_extension(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == CHUNKS)
}

/// Returns the metadata file in a directory.
pub(crate) fn metadata_in(directory: &Path) -> Option<PathBuf> {
    let names = [METADATA, "__0.metadata"];
    names
        .into_iter()
        .map(|name| directory.join(name))
        .find(|path| path.is_file())
}
