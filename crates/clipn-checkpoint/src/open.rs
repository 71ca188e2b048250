//! Opening weights files of every supported format.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::buffer::FileBytes;
use crate::directory::WeightsLocation;
use crate::file::{self, ParsedFile, Wanted};
use crate::format::detect_format;
use crate::selection::{self, SelectedModel};
use crate::{CheckpointError, Layout, Metadata, Tensor, Value, WeightsFormat};
use crate::{directory, distributed, layout, quantization, shards, state_dict};

/// Named tensors of a weights file, with its metadata.
///
/// The weights are searched for in the file's top-level object and under `state_dict`,
/// `model_state_dict` and `model`. Prefixes of wrappers such as DistributedDataParallel (`module.`,
/// `_orig_mod.`) are stripped if all names have them. Names of other programs' CLIP models are
/// converted to open_clip's ([`Layout`]).
///
/// ```
/// use clipn_checkpoint::{Checkpoint, Tensor, write_safetensors};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("model.safetensors");
/// let tensors = [("module.ln.bias".to_owned(), Tensor::from_f32(&[2], vec![0.5, 1.5])?)];
/// write_safetensors(&path, tensors, &[("epoch".to_owned(), "10".to_owned())].into())?;
///
/// let checkpoint = Checkpoint::open(&path)?;
/// assert_eq!(checkpoint.stripped_prefix(), "module.");
/// assert_eq!(checkpoint.metadata().get("epoch"), Some("10"));
/// for (name, tensor) in &checkpoint {
///     assert_eq!((name, &tensor.to_f32()[..]), ("ln.bias", &[0.5, 1.5][..]));
/// }
/// # Ok::<(), clipn_checkpoint::CheckpointError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoint {
    format: WeightsFormat,
    layout: Layout,
    path: PathBuf,
    shard_paths: Vec<PathBuf>,
    tensors: IndexMap<String, Tensor>,
    metadata: Metadata,
    model: SelectedModel,
    object: Option<Value>,
}

impl Checkpoint {
    /// Opens a weights file, the index of a sharded checkpoint, or the weights of a directory, which
    /// may be one of `torch.distributed.checkpoint`. The format is detected from the content, not the
    /// file name. Files are memory-mapped.
    ///
    /// The files must not be changed in place while their tensors are in use. Replacing a file by
    /// renaming another one over it is fine; [`write_safetensors`](crate::write_safetensors) does
    /// so. [`check_unchanged`](Self::check_unchanged) sees a change, and
    /// [`copy_files`](crate::copy_files) makes tensors independent of their files.
    ///
    /// # Errors
    /// - [`NotFound`](CheckpointError::NotFound), [`NotAFile`](CheckpointError::NotAFile),
    ///   [`PermissionDenied`](CheckpointError::PermissionDenied) or [`Io`](CheckpointError::Io) if
    ///   the file cannot be read.
    /// - [`NoWeightsInDirectory`](CheckpointError::NoWeightsInDirectory) or
    ///   [`AmbiguousDirectory`](CheckpointError::AmbiguousDirectory) if a directory has no unique
    ///   weights file.
    /// - [`InvalidIndex`](CheckpointError::InvalidIndex),
    ///   [`MissingShard`](CheckpointError::MissingShard) or
    ///   [`InvalidChunks`](CheckpointError::InvalidChunks) if a checkpoint in several files is
    ///   incomplete, [`PartOfCheckpoint`](CheckpointError::PartOfCheckpoint) for a file of chunks.
    /// - [`DisallowedGlobal`](CheckpointError::DisallowedGlobal) if only running Python code could
    ///   read it.
    /// - Any other [`CheckpointError`] of reading if the file is not a weights file, or is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open_wanted(path.as_ref(), Wanted::Tensors)
    }

    /// Opens the weights of a CLIP in a file, an index or a directory. Unlike [`open`](Self::open), it
    /// finds the model by the names of its image tower: under any prefix of all its names (`model.`,
    /// `clipmodel.`), in nested dictionaries, and without the `_orig_mod.` of `torch.compile` anywhere in
    /// names. `key` names one of several models, such as an averaged copy (`state_dict_ema`); without
    /// it, averaged copies are left out. A file without an image tower is read as by `open`. Of a
    /// directory of `torch.distributed.checkpoint` only the tensors of the model are read.
    ///
    /// ```
    /// use clipn_checkpoint::{Checkpoint, Tensor, write_safetensors};
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("model.safetensors");
    /// let tensor = || Tensor::from_f32(&[1], vec![0.5]);
    /// let names = ["model.visual.conv1.weight", "ema.visual.conv1.weight", "head.weight"];
    /// let tensors = [
    ///     (names[0].to_owned(), tensor()?),
    ///     (names[1].to_owned(), tensor()?),
    ///     (names[2].to_owned(), tensor()?),
    /// ];
    /// write_safetensors(&path, tensors, &Default::default())?;
    ///
    /// let checkpoint = Checkpoint::open_model(&path, None)?;
    /// assert_eq!(checkpoint.stripped_prefix(), "model.");
    /// assert_eq!(checkpoint.other_models(), ["ema"]);
    /// assert_eq!(checkpoint.ignored(), ["head.weight"]);
    /// assert_eq!(Checkpoint::open_model(&path, Some("ema"))?.stripped_prefix(), "ema.");
    /// # Ok::<(), clipn_checkpoint::CheckpointError>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`open`](Self::open), [`AmbiguousWeights`](CheckpointError::AmbiguousWeights) if there are
    /// several models and no key, [`UnknownWeightsKey`](CheckpointError::UnknownWeightsKey) if none, or
    /// more than one, has the name, [`PartOfCheckpoint`](CheckpointError::PartOfCheckpoint) if the file
    /// is one shard, [`QuantizedWeights`](CheckpointError::QuantizedWeights) if the weights are
    /// quantized.
    pub fn open_model(
        path: impl AsRef<Path>,
        key: Option<&str>,
    ) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open_wanted(path.as_ref(), Wanted::Model(key))
    }

    fn open_wanted(path: &Path, wanted: Wanted<'_>) -> Result<Checkpoint, CheckpointError> {
        let path = if path.is_dir() {
            match directory::find_weights(path)? {
                WeightsLocation::File(file) => file,
                WeightsLocation::RankFiles(first) => {
                    let (whole, paths) = distributed::read_shards(&first, wanted)?;
                    return Checkpoint::from_file(&first, whole, paths, wanted);
                }
            }
        } else {
            if let Some(error) = directory::part_of_checkpoint(path, wanted) {
                return Err(error);
            }
            path.to_owned()
        };
        let bytes = file::memory_map(&path)?;
        if matches!(
            detect_format(&path, bytes.as_slice()),
            Ok(WeightsFormat::TorchDistributed)
        ) {
            let (whole, paths) = distributed::read(&path, wanted)?;
            return Checkpoint::from_file(&path, whole, paths, wanted);
        }
        if shards::is_shard_index(bytes.as_slice()) {
            let shards::ShardedWeights {
                format,
                tensors,
                paths,
                budget,
            } = shards::read(&path)?;
            let whole = ParsedFile {
                format,
                tensors,
                metadata: IndexMap::new(),
                value: None,
                selection: None,
                budget,
            };
            return Checkpoint::from_file(&path, whole, paths, wanted);
        }
        let file = file::parse(&path, &bytes, wanted)?;
        if matches!(wanted, Wanted::Model(_)) && distributed::is_shard(&file.metadata) {
            return Err(CheckpointError::PartOfCheckpoint {
                path,
                index: None,
                found: false,
            });
        }
        Checkpoint::from_file(&path, file, vec![path.clone()], wanted)
    }

    /// Reads a weights file from memory. `path` is only used in errors.
    ///
    /// # Errors
    /// Same as [`open`](Checkpoint::open), except for I/O errors.
    pub fn from_bytes(
        path: impl AsRef<Path>,
        bytes: Vec<u8>,
    ) -> Result<Checkpoint, CheckpointError> {
        let path = path.as_ref();
        let file = file::parse(path, &FileBytes::from(bytes), Wanted::Tensors)?;
        Checkpoint::from_file(path, file, vec![path.to_owned()], Wanted::Tensors)
    }

    fn from_file(
        path: &Path,
        file: ParsedFile,
        shard_paths: Vec<PathBuf>,
        wanted: Wanted<'_>,
    ) -> Result<Checkpoint, CheckpointError> {
        let ParsedFile {
            format,
            tensors,
            metadata,
            value,
            selection,
            budget,
        } = file;
        let (tensors, model) = match (selection, wanted) {
            (Some(model), _) => (tensors, model),
            (None, Wanted::Model(key)) => match selection::from_named(path, &tensors, key)? {
                Some(selected) => selected,
                None => without_wrappers(tensors),
            },
            (None, Wanted::Tensors) => without_wrappers(tensors),
        };
        if matches!(wanted, Wanted::Model(_)) {
            quantization::check(path, &tensors)?;
        }
        let tensors = quantization::with_scales(path, tensors)?;
        let (tensors, layout) = layout::to_open_clip(path, tensors, budget)?;
        let checkpoint = Checkpoint {
            format,
            layout,
            path: path.to_owned(),
            shard_paths,
            tensors,
            metadata: Metadata::new(metadata),
            model,
            object: value,
        };
        checkpoint.check_unchanged()?;
        Ok(checkpoint)
    }

    /// Checks that no file of the tensors was changed since it was opened. Elements read before a
    /// successful check are those of the opened files.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`] if one was changed in place.
    pub fn check_unchanged(&self) -> Result<(), CheckpointError> {
        for tensor in self.tensors.values() {
            tensor.check_unchanged()?;
        }
        Ok(())
    }

    /// Returns the detected file format.
    pub fn format(&self) -> WeightsFormat {
        self.format
    }

    /// Returns the naming scheme of the tensors in the file.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the path of the weights file, also if a directory was opened, or of the index of a
    /// sharded checkpoint.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of files that contain the tensors: more than 1 for a sharded checkpoint.
    pub fn shard_count(&self) -> usize {
        self.shard_paths.len()
    }

    /// Returns the paths of the files that contain the tensors.
    pub fn shard_paths(&self) -> &[PathBuf] {
        &self.shard_paths
    }

    /// Returns a tensor by its open_clip name, without wrapper prefixes.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Iterates over names and tensors in file order.
    pub fn iter(&self) -> Tensors<'_> {
        Tensors(self.tensors.iter())
    }

    /// Returns the number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors, which is possible only for safetensors files.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Returns the metadata as readable text. For safetensors that is `__metadata__`; for other
    /// files it is everything beside the weights (`epoch`, `name`, …), with containers abbreviated
    /// to their size and first keys.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Whether all names in the file begin with `module.`, as DistributedDataParallel saves them.
    pub fn has_module_prefix(&self) -> bool {
        self.model.prefix.starts_with("module.")
    }

    /// Returns the prefix stripped from all names: empty, `module.`, `_orig_mod.` or both, and with
    /// [`open_model`](Self::open_model) any that a whole model has.
    pub fn stripped_prefix(&self) -> &str {
        &self.model.prefix
    }

    /// Returns the names of other models in the file, which [`open_model`](Self::open_model) takes as
    /// keys.
    pub fn other_models(&self) -> &[String] {
        &self.model.alternatives
    }

    /// Returns the names of tensors beside the model that [`open_model`](Self::open_model) left out,
    /// such as those of other heads and counters.
    pub fn ignored(&self) -> &[String] {
        &self.model.ignored
    }

    /// Returns the top-level object of a `.pt` file, to read what is stored beside the weights
    /// (`optimizer`, `scaler`); `None` for safetensors and distributed checkpoints. Its tensors are views of the file like the
    /// weights.
    pub fn object(&self) -> Option<&Value> {
        self.object.as_ref()
    }
}

/// Strips the prefixes of wrappers from tensors among which no model is sought.
fn without_wrappers(
    tensors: IndexMap<String, Tensor>,
) -> (IndexMap<String, Tensor>, SelectedModel) {
    let (tensors, prefix) = state_dict::strip_wrappers(tensors);
    let model = SelectedModel {
        prefix,
        ..SelectedModel::default()
    };
    (tensors, model)
}

impl<'a> IntoIterator for &'a Checkpoint {
    type Item = (&'a str, &'a Tensor);
    type IntoIter = Tensors<'a>;

    fn into_iter(self) -> Tensors<'a> {
        self.iter()
    }
}

/// Iterator over the names and tensors of a [`Checkpoint`], in file order.
#[derive(Debug, Clone)]
pub struct Tensors<'a>(indexmap::map::Iter<'a, String, Tensor>);

impl<'a> Iterator for Tensors<'a> {
    type Item = (&'a str, &'a Tensor);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, tensor)| (name.as_str(), tensor))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Tensors<'_> {}
