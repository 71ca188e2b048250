//! Grouping of an archive's files into samples: consecutive files with the same key.
use std::io;
use std::path::Path;

use crate::archive::{ArchiveReader, Content};
use crate::skipped_files::SkippedFiles;
use crate::training::skipped::SkipReason;
use crate::training::webdataset::fields::{SampleFields, SampleFiles};

/// Reader of an archive's samples, in order.
pub(crate) struct SampleReader {
    archive: ArchiveReader,
    /// Sample whose end has not been reached.
    current: Option<SampleFiles>,
    /// Error to report after the sample that precedes it.
    pending_error: Option<io::Error>,
    failed: bool,
    /// Members that are no files and belong to no sample.
    skipped: SkippedFiles,
}

/// Maximum number of extensions in a sample, more than any writer uses.
const MAX_FILES: usize = 64;

impl SampleReader {
    /// Opens an archive, plain or compressed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            archive: ArchiveReader::open(path)?,
            current: None,
            pending_error: None,
            failed: false,
            skipped: SkippedFiles::default(),
        })
    }

    /// Returns the next sample with the files that `fields` requests, or without files if `fields`
    /// is `None`. The same applies to the first file of the following sample, which is read ahead.
    /// An error ends the iteration; the sample in which it occurs is lost with the rest.
    pub(crate) fn next(
        &mut self,
        fields: Option<&SampleFields>,
    ) -> Option<io::Result<SampleFiles>> {
        if self.failed {
            return None;
        }
        let next = self
            .pending_error
            .take()
            .map_or_else(|| self.advance(fields), Err);
        match next {
            Ok(group) => group.map(Ok),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }

    /// Returns the members that were skipped since the last call, because they are no files and
    /// belong to no sample.
    pub(crate) fn take_skipped(&mut self) -> SkippedFiles {
        std::mem::take(&mut self.skipped)
    }

    fn advance(&mut self, fields: Option<&SampleFields>) -> io::Result<Option<SampleFiles>> {
        while let Some(entry) = self.archive.next()? {
            for label in self.archive.take_labels() {
                self.skipped.add_member("volume label", &label);
            }
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let Some((key, extension)) = key_and_extension(&name) else {
                if let Some(kind) = entry.special {
                    self.skipped.add_member(&kind.to_string(), &name);
                }
                continue;
            };
            let mut finished = None;
            // A second file of the same kind starts a new sample with the same key, as in
            // concatenated archives.
            let belongs = |group: &SampleFiles| {
                group.key == key && !group.seen.contains(&extension) && group.seen.len() < MAX_FILES
            };
            if !self.current.as_ref().is_some_and(belongs) {
                finished = self.current.replace(SampleFiles::new(key.to_string()));
            }
            if let Some(group) = &mut self.current {
                let limit = fields.and_then(|fields| group.limit(fields, &extension));
                if let Some(limit) = limit {
                    match self.archive.read(limit) {
                        Ok(Content::Bytes(bytes)) => {
                            group.files.insert(extension.clone(), bytes);
                        }
                        Ok(Content::TooLarge(size)) => {
                            let problem =
                                format!("declared size {size} exceeds the limit of {limit} bytes");
                            group.add_problem(SkipReason::TooLarge, &extension, &problem);
                        }
                        Ok(Content::Unavailable(problem)) => {
                            group.add_problem(SkipReason::NotAFile, &extension, &problem);
                        }
                        Err(error) if finished.is_some() => {
                            self.pending_error = Some(error);
                            return Ok(finished);
                        }
                        Err(error) => return Err(error),
                    }
                }
                group.seen.push(extension);
            }
            if finished.is_some() {
                return Ok(finished);
            }
        }
        Ok(self.current.take())
    }
}

/// Splits a name by WebDataset's rule: the key is the path up to the first dot of the base name,
/// the extension is the rest in lower case. Returns `None` for files that belong to no sample:
/// hidden files, files without a dot, and names in double underscores.
fn key_and_extension(name: &str) -> Option<(&str, String)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    let hidden = dot == base;
    if hidden || (name[base..].starts_with("__") && name.ends_with("__")) {
        return None;
    }
    Some((&name[..dot], name[dot + 1..].to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_dot_of_the_base_name() {
        assert_eq!(
            key_and_extension("a.b/c.seg.JPG"),
            Some(("a.b/c", "seg.jpg".to_string()))
        );
        assert_eq!(
            key_and_extension("000001.jpg"),
            Some(("000001", "jpg".to_string()))
        );
        assert_eq!(
            key_and_extension("./000001.txt"),
            Some(("./000001", "txt".to_string()))
        );
        for none in ["a/._b.jpg", ".hidden", "README", "a.b/c", "__meta.x__", ""] {
            assert_eq!(key_and_extension(none), None, "{none}");
        }
    }
}
