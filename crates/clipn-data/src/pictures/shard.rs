use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use super::{Content, MAX_STREAMED_IMAGE_BYTES, NamedImage};
use crate::is_image_name;
use crate::webdataset::{Archive, SHARD_ENDINGS, catch_panic, open_shard, unpack_shard};

/// Returns whether a name has the extension of a tar archive: `.tar`, `.tar.gz`, `.tgz`, `.tar.zst`
/// or `.tzst`.
pub fn is_shard_name(name: &str) -> bool {
    let name = name.to_lowercase();
    SHARD_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

type Opening = Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>;

enum State {
    Closed(Opening),
    Open(Archive<Box<dyn Read + Send>>),
    Finished,
}

/// Iterator over the images in a tar archive, plain or compressed with gzip or zstd. Every file
/// with an image extension is an image named `ARCHIVE/NAME`; other files are skipped.
///
/// An archive that cannot be opened, is damaged or contains no images yields one failed image with
/// the archive's name, after the images before the damage.
pub struct ArchiveImages {
    name: String,
    state: State,
    yielded: u64,
}

impl ArchiveImages {
    /// Creates an iterator over the archive at `path`, which is opened on the first call of `next`.
    pub fn open(path: &Path) -> Self {
        let file = path.to_path_buf();
        Self::new(
            path.display().to_string(),
            Box::new(move || open_shard(&file)),
        )
    }

    /// Creates an iterator over an archive with this name. `open` returns its bytes, compressed or
    /// not, and is called on the first call of `next`.
    pub fn from_reader<R: Read + Send + 'static>(
        name: String,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> Self {
        Self::new(name, Box::new(|| unpack_shard(open()?)))
    }

    fn new(name: String, open: Opening) -> Self {
        Self {
            name,
            state: State::Closed(open),
            yielded: 0,
        }
    }

    fn advance(&mut self) -> io::Result<Option<NamedImage>> {
        loop {
            let archive = match &mut self.state {
                State::Finished => return Ok(None),
                State::Open(archive) => archive,
                State::Closed(_) => {
                    if let State::Closed(open) = std::mem::replace(&mut self.state, State::Finished)
                    {
                        self.state = State::Open(Archive::new(open()?));
                    }
                    continue;
                }
            };
            let Some(entry) = archive.next()? else {
                self.state = State::Finished;
                if self.yielded > 0 {
                    return Ok(None);
                }
                return Err(io::Error::other("no images in the archive"));
            };
            let name = String::from_utf8_lossy(&entry.name);
            if !is_image_name(OsStr::new(name.rsplit('/').next().unwrap_or_default())) {
                continue;
            }
            let name = format!("{}/{}", self.name, name.strip_prefix("./").unwrap_or(&name));
            let content = match archive.read(MAX_STREAMED_IMAGE_BYTES)? {
                Some(bytes) => Content::Bytes(bytes),
                None => Content::Failed(io::Error::other(format!(
                    "declared size {} exceeds the limit of {MAX_STREAMED_IMAGE_BYTES} bytes",
                    entry.size
                ))),
            };
            return Ok(Some(NamedImage { name, content }));
        }
    }
}

impl Iterator for ArchiveImages {
    type Item = NamedImage;

    fn next(&mut self) -> Option<NamedImage> {
        match catch_panic(|| self.advance().transpose()) {
            Some(Ok(image)) => {
                self.yielded += 1;
                Some(image)
            }
            Some(Err(error)) => {
                self.state = State::Finished;
                Some(NamedImage::lost(self.name.clone(), error))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn images(bytes: Vec<u8>) -> Vec<(String, String)> {
        ArchiveImages::from_reader("s.tar".to_string(), move || Ok(io::Cursor::new(bytes)))
            .map(|image| (image.name, format!("{:?}", image.content)))
            .collect()
    }

    #[test]
    fn yields_images_and_skips_other_files() {
        let bytes = archive(&[
            ("./a.jpg", b"123"),
            ("a.txt", b"x"),
            ("d/._b.png", b"x"),
            ("d/b.PNG", b""),
        ]);
        assert_eq!(
            images(bytes),
            [
                ("s.tar/a.jpg".into(), "Bytes(3)".into()),
                ("s.tar/d/b.PNG".into(), "Bytes(0)".into())
            ]
        );
    }

    #[test]
    fn reports_damage_once_after_the_images_before_it() {
        let mut bytes = archive(&[("a.jpg", b"123"), ("b.jpg", b"123")]);
        bytes[1024] ^= 1;
        let found = images(bytes);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0, "s.tar");
        assert!(found[1].1.contains("checksum"), "{found:?}");
        assert!(
            images(archive(&[("a.txt", b"x")]))[0]
                .1
                .contains("no images")
        );
        let absent: Vec<_> = ArchiveImages::open(Path::new("absent.tar")).collect();
        assert_eq!(absent.len(), 1);
        assert_eq!(absent[0].name, "absent.tar");
    }

    #[test]
    fn recognizes_archives_by_extension() {
        for name in [
            "a.tar",
            "b/A.TAR.GZ",
            "c.tgz",
            "https://h/x.tar.zst",
            "d.tzst",
        ] {
            assert!(is_shard_name(name), "{name}");
        }
        for name in ["a.jpg", "tar", "a.tar.jpg", "a.gz"] {
            assert!(!is_shard_name(name), "{name}");
        }
    }
}
