//! Where the output goes: what may stand there already, and folders written beside and renamed.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ConvertError, Target};
use clipn_checkpoint::{begins_as_weights, beside, sync_folder};

/// Endings of files that PyTorch writes and safetensors are not.
const OF_PYTORCH: [&str; 5] = ["pt", "pth", "bin", "pkl", "ckpt"];

/// An output that may be written.
#[derive(Debug)]
pub(super) struct Output<'a> {
    path: &'a Path,
    to: Target,
    replace: bool,
}

impl<'a> Output<'a> {
    /// Says whether the output may be written, before any work is done. `inputs` are the files that are read.
    pub(super) fn check(
        path: &'a Path,
        to: Target,
        replace: bool,
        inputs: &[PathBuf],
    ) -> Result<Self, ConvertError> {
        let output = Self { path, to, replace };
        output.check_name()?;
        output.check_inputs(inputs)?;
        output.check_place()?;
        Ok(output)
    }

    fn refused(&self, reason: impl Into<String>) -> ConvertError {
        ConvertError::Output {
            path: self.path.to_owned(),
            to: self.to,
            reason: reason.into(),
        }
    }

    fn check_name(&self) -> Result<(), ConvertError> {
        let text = self.path.to_string_lossy();
        let names_folder = text.ends_with(std::path::is_separator);
        if self.path.file_name().is_none() {
            return Err(self.refused("it has no name of its own; name what is to be made"));
        }
        if self.to.is_folder() {
            return Ok(());
        }
        if names_folder {
            return Err(self.refused("it names a folder; name a file, as model.safetensors"));
        }
        let ending = self
            .path
            .extension()
            .and_then(|e| e.to_str())
            .map(str::to_ascii_lowercase);
        match ending.filter(|ending| OF_PYTORCH.contains(&ending.as_str())) {
            Some(ending) => Err(self.refused(format!(
                "PyTorch would read a .{ending} as something else than safetensors; let the name end in .safetensors"
            ))),
            None => Ok(()),
        }
    }

    fn check_inputs(&self, inputs: &[PathBuf]) -> Result<(), ConvertError> {
        let Ok(path) = fs::canonicalize(self.path) else {
            return Ok(());
        };
        let is_taken = inputs
            .iter()
            .any(|input| fs::canonicalize(input).is_ok_and(|input| input.starts_with(&path)));
        if is_taken {
            Err(ConvertError::Same {
                path: self.path.to_owned(),
            })
        } else {
            Ok(())
        }
    }

    fn check_place(&self) -> Result<(), ConvertError> {
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(self.refused(format!(
                "there is no folder {}; make it first",
                folder.display()
            )));
        }
        let Ok(there) = fs::symlink_metadata(self.path) else {
            return Ok(());
        };
        // What a link leads to counts; one that leads nowhere is still there.
        let there = fs::metadata(self.path).unwrap_or(there);
        match (self.to.is_folder(), there.is_dir()) {
            (false, true) => Err(self.refused("it is a folder; name a file, as model.safetensors")),
            (true, false) => {
                Err(self.refused("it is a file, and a folder is to be made; give another name"))
            }
            (false, false) => self.check_file(there.is_file() && there.len() > 0),
            (true, true) => self.check_folder(),
        }
    }

    fn exists(&self) -> Result<(), ConvertError> {
        if self.replace {
            Ok(())
        } else {
            Err(ConvertError::Exists {
                path: self.path.to_owned(),
            })
        }
    }

    /// Weights may be replaced, and nothing else: a name that was given by mistake may be that of a photograph.
    fn check_file(&self, has_content: bool) -> Result<(), ConvertError> {
        self.exists()?;
        if has_content && !begins_as_weights(self.path) {
            return Err(self.refused(
                "what is there are no weights, and only weights are replaced; give another name",
            ));
        }
        Ok(())
    }

    /// An empty folder may be taken, and one that holds nothing but what such folders hold may be replaced.
    fn check_folder(&self) -> Result<(), ConvertError> {
        let unreadable = ConvertError::io("look into", self.path);
        let entries = fs::read_dir(self.path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.map_err(unreadable)?;
        if entries.is_empty() {
            return Ok(());
        }
        self.exists()?;
        let known = |entry: &fs::DirEntry| {
            Target::ALL
                .iter()
                .flat_map(|to| to.files())
                .any(|name| entry.file_name() == *name)
                && entry.file_type().is_ok_and(|kind| kind.is_file())
        };
        match entries.iter().find(|entry| !known(entry)) {
            Some(entry) => Err(self.refused(format!(
                "it holds {}, which is no part of such a folder, and would be lost; give another name",
                entry.file_name().to_string_lossy()
            ))),
            None => Ok(()),
        }
    }

    /// Has a folder filled beside the output and gives it the output's name.
    pub(super) fn write_folder(
        &self,
        fill: impl FnOnce(&Path) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        let beside = beside(self.path);
        fs::create_dir(&beside).map_err(ConvertError::io("make the folder", self.path))?;
        let written = fill(&beside).and_then(|()| self.put(&beside));
        if written.is_err() {
            // The error at hand says what went wrong; a second one about the leftover would hide it.
            let _ = fs::remove_dir_all(&beside);
        }
        written
    }

    /// A folder that has the name steps aside first and is deleted last.
    fn put(&self, filled: &Path) -> Result<(), ConvertError> {
        sync_folder(&filled.join("any")).map_err(ConvertError::io("sync", filled))?;
        let aside = fs::symlink_metadata(self.path)
            .is_ok()
            .then(|| beside(self.path));
        if let Some(aside) = &aside {
            fs::rename(self.path, aside).map_err(ConvertError::io("set aside", self.path))?;
        }
        if let Err(error) = fs::rename(filled, self.path) {
            if let Some(aside) = &aside {
                // Back as it was; where that fails too, the error at hand is the one to tell.
                let _ = fs::rename(aside, self.path);
            }
            return Err(ConvertError::io("write", self.path)(error));
        }
        sync_folder(self.path).map_err(ConvertError::io("sync", self.path))?;
        match &aside {
            Some(aside) => remove(aside).map_err(ConvertError::io("remove", aside)),
            None => Ok(()),
        }
    }
}

/// Removes a folder, or a link to one.
fn remove(path: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(path)?.is_symlink() {
        fs::remove_file(path)
    } else {
        fs::remove_dir_all(path)
    }
}
