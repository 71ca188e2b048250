//! The output of a conversion: checks before it is replaced, and directories written beside it and
//! then renamed.

use std::fs;
use std::path::{Path, PathBuf};

use clipn_base::files::NewDirectory;
use clipn_checkpoint::has_weights_signature;

use crate::convert::{ConversionTarget, ConvertError};

/// Extensions of PyTorch's pickle files, which would be wrong for safetensors.
const PYTORCH_EXTENSIONS: [&str; 5] = ["pt", "pth", "bin", "pkl", "ckpt"];

/// A validated output path.
#[derive(Debug)]
pub(super) struct OutputPath<'a> {
    path: &'a Path,
    to: ConversionTarget,
    replace: bool,
}

impl<'a> OutputPath<'a> {
    /// Checks that the output may be written, before any work is done. `inputs` are the files that
    /// are read.
    pub(super) fn check(
        path: &'a Path,
        to: ConversionTarget,
        replace: bool,
        inputs: &[PathBuf],
    ) -> Result<Self, ConvertError> {
        let output = Self { path, to, replace };
        output.check_name()?;
        output.check_inputs(inputs)?;
        output.check_target()?;
        Ok(output)
    }

    fn invalid(&self, reason: impl Into<String>) -> ConvertError {
        ConvertError::InvalidOutput {
            path: self.path.to_owned(),
            to: self.to,
            reason: reason.into(),
        }
    }

    fn check_name(&self) -> Result<(), ConvertError> {
        let text = self.path.to_string_lossy();
        let names_directory = text.ends_with(std::path::is_separator);
        if self.path.file_name().is_none() {
            return Err(self.invalid("the path has no file name"));
        }
        if self.to.is_directory() {
            return Ok(());
        }
        if names_directory {
            return Err(self.invalid("expected the path of a file, got that of a directory"));
        }
        let extension = self
            .path
            .extension()
            .and_then(|e| e.to_str())
            .map(str::to_ascii_lowercase);
        match extension.filter(|extension| PYTORCH_EXTENSIONS.contains(&extension.as_str())) {
            Some(extension) => Err(self.invalid(format!(
                "expected the extension .safetensors, got .{extension}, which PyTorch unpickles"
            ))),
            None => Ok(()),
        }
    }

    fn check_inputs(&self, inputs: &[PathBuf]) -> Result<(), ConvertError> {
        let Ok(path) = fs::canonicalize(self.path) else {
            return Ok(());
        };
        let is_input = inputs
            .iter()
            .any(|input| fs::canonicalize(input).is_ok_and(|input| input.starts_with(&path)));
        if is_input {
            Err(ConvertError::OutputIsInput {
                path: self.path.to_owned(),
            })
        } else {
            Ok(())
        }
    }

    /// Checks what is there under the name, also right before it is replaced: another process may have written it
    /// since the work began.
    pub(super) fn check_target(&self) -> Result<(), ConvertError> {
        let parent = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            return Err(self.invalid(format!("the directory {} does not exist", parent.display())));
        }
        let Ok(existing) = fs::symlink_metadata(self.path) else {
            return Ok(());
        };
        // Links are followed; a dangling link still exists.
        let existing = fs::metadata(self.path).unwrap_or(existing);
        match (self.to.is_directory(), existing.is_dir()) {
            (false, true) => Err(self.invalid("a directory has this name")),
            (true, false) => Err(self.invalid("expected a directory, got a file")),
            (false, false) => self.check_file(existing.is_file() && existing.len() > 0),
            (true, true) => self.check_directory(),
        }
    }

    fn check_overwrite(&self) -> Result<(), ConvertError> {
        if self.replace {
            Ok(())
        } else {
            Err(ConvertError::OutputExists {
                path: self.path.to_owned(),
            })
        }
    }

    /// Checks that an existing file may be replaced. Only weights are replaced: a mistyped name may
    /// be that of a photo.
    fn check_file(&self, has_content: bool) -> Result<(), ConvertError> {
        self.check_overwrite()?;
        if has_content && !has_weights_signature(self.path) {
            return Err(self.invalid("the existing file is not a weights file and is not replaced"));
        }
        Ok(())
    }

    /// Checks that an existing directory may be replaced: it is empty, or has weights, and only files that such
    /// directories contain.
    fn check_directory(&self) -> Result<(), ConvertError> {
        let unreadable = ConvertError::io("list", self.path);
        let entries = fs::read_dir(self.path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.map_err(unreadable)?;
        if entries.is_empty() {
            return Ok(());
        }
        self.check_overwrite()?;
        let known = |entry: &fs::DirEntry| {
            ConversionTarget::ALL
                .iter()
                .flat_map(|to| to.files())
                .any(|name| entry.file_name() == *name)
                && entry.file_type().is_ok_and(|kind| kind.is_file())
        };
        match entries.iter().find(|entry| !known(entry)) {
            Some(entry) => Err(self.invalid(format!(
                "the existing directory contains {}, which would be lost",
                entry.file_name().to_string_lossy()
            ))),
            None if entries
                .iter()
                .any(|entry| has_weights_signature(entry.path())) =>
            {
                Ok(())
            }
            None => Err(self.invalid("the existing directory has no weights and is not replaced")),
        }
    }

    /// Fills a temporary directory beside the output with `fill` and gives it the name of the output.
    pub(super) fn write_directory(
        &self,
        fill: impl FnOnce(&Path) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        let new = NewDirectory::create(self.path)
            .map_err(ConvertError::io("create directory", self.path))?;
        fill(new.path())?;
        self.check_target()?;
        new.commit().map_err(ConvertError::io("write", self.path))
    }
}
