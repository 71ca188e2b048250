//! Samples: the consecutive files of an archive that share a key.
use std::collections::BTreeMap;
use std::io::{self, Read};

use super::archive::Archive;
use super::fields::SampleFields;

/// The files of one sample that are asked for.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The path up to the first dot of the base name.
    pub key: String,
    /// Contents by extension.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Every extension met, whether read or not, to tell where the next sample begins.
    seen: Vec<String>,
    /// What is said of a file over the limit.
    pub too_large: Option<String>,
}

impl Group {
    pub(super) fn new(key: String) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }
}

/// Reads samples from an archive in order.
pub(super) struct Groups<R> {
    archive: Archive<R>,
    /// A sample whose end is not met yet.
    current: Option<Group>,
    /// Met while a sample was still to be handed out.
    broken: Option<io::Error>,
    failed: bool,
}

/// The most extensions told apart in one sample; more than any writer uses.
const MAX_FILES: usize = 64;

impl<R: Read> Groups<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            archive: Archive::new(source),
            current: None,
            broken: None,
            failed: false,
        }
    }

    /// The next sample, with the files that `fields` asks for, or with none at all when `fields` is `None`; the same
    /// holds for the first file of the sample after it, which is met on the way. After an
    /// error there is nothing more: the sample that it broke is lost with the rest.
    pub(super) fn next(&mut self, fields: Option<&SampleFields>) -> Option<io::Result<Group>> {
        if self.failed {
            return None;
        }
        let next = self.broken.take().map_or_else(|| self.advance(fields), Err);
        match next {
            Ok(group) => group.map(Ok),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }

    fn advance(&mut self, fields: Option<&SampleFields>) -> io::Result<Option<Group>> {
        while let Some(entry) = self.archive.next()? {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let Some((key, extension)) = key_and_extension(&name) else {
                continue;
            };
            let mut finished = None;
            // A key with a second file of the same kind is another sample, as where two archives were joined.
            let belongs = |group: &Group| {
                group.key == key && !group.seen.contains(&extension) && group.seen.len() < MAX_FILES
            };
            if !self.current.as_ref().is_some_and(belongs) {
                finished = self.current.replace(Group::new(key.to_string()));
            }
            if let Some(group) = &mut self.current {
                if let Some(limit) = fields.and_then(|fields| fields.limit(&extension)) {
                    match self.archive.read(limit) {
                        Ok(Some(bytes)) => {
                            group.files.insert(extension.clone(), bytes);
                        }
                        Ok(None) => {
                            let size = entry.size;
                            group.too_large = Some(format!(
                                "{extension} is said to have {size} bytes, and at most {limit} are read"
                            ));
                        }
                        Err(error) if finished.is_some() => {
                            self.broken = Some(error);
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

/// WebDataset's rule: the key is the path up to the first dot of the base name, the extension the rest, in lower case.
/// `None` for hidden files, files without a dot and names in double underscores, which belong to no sample.
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
