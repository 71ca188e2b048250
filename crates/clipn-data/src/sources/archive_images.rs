use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use clipn_image::{IMAGE_START_BYTES, is_image_start};

use crate::archive::{ArchiveReader, Content, catch_panic};
use crate::image_name::NameKind;
use crate::skipped_files::SkippedFiles;
use crate::sources::{ImageContent, MAX_STREAMED_IMAGE_BYTES, NamedImage};

type OpenFn = Box<dyn FnOnce() -> io::Result<ArchiveReader> + Send>;

enum ReaderState {
    Closed(OpenFn),
    Open(Box<ArchiveReader>),
    Finished,
}

/// Iterator over the images in a tar archive, plain or compressed with gzip or zstd. Every file
/// with an image extension, or without an extension and with the first bytes of an image, is an
/// image named `ARCHIVE/NAME`. Other files are skipped and counted, hidden ones ignored.
///
/// Hard and symbolic links are images with the contents of their targets in the archive, and sparse
/// files have their holes restored. A link that leads to no file, a pipe, a device or a piece of a
/// multi-volume file is a failed image if it has the name of one, and counted if not. Links in an
/// archive on disk may lead to any member, those in a stream only to the images shortly before.
///
/// An archive that cannot be opened, is damaged or contains no images yields one failed image with
/// the archive's name, after the images before the damage. The error of a damaged one is a
/// [`LostSource`](crate::LostSource), since it is not known how many images are lost.
///
/// ```
/// use std::io::Cursor;
///
/// use clipn_data::ArchiveImages;
///
/// let mut tar = tar::Builder::new(Vec::new());
/// let mut header = tar::Header::new_gnu();
/// header.set_size(3);
/// tar.append_data(&mut header, "cat.jpg", &b"..."[..])?;
/// let bytes = tar.into_inner()?;
/// let mut images = ArchiveImages::from_reader("pets.tar".to_string(), || Ok(Cursor::new(bytes)));
/// assert_eq!(images.next().unwrap().name, "pets.tar/cat.jpg");
/// assert!(images.next().is_none());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ArchiveImages {
    name: String,
    state: ReaderState,
    yielded: u64,
    skipped: SkippedFiles,
}

impl fmt::Debug for ArchiveImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveImages")
            .field("name", &self.name)
            .field("yielded", &self.yielded)
            .finish_non_exhaustive()
    }
}

impl ArchiveImages {
    /// Creates an iterator over the archive at `path`, which is opened on the first call of `next`.
    pub fn open(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let file = path.to_path_buf();
        Self::new(
            path.display().to_string(),
            Box::new(move || ArchiveReader::open(&file)),
        )
    }

    /// Creates an iterator over an archive with this name. `open` returns its bytes, compressed or
    /// not, and is called on the first call of `next`.
    pub fn from_reader<R: Read + Send + 'static>(
        name: String,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> Self {
        Self::new(name, Box::new(|| ArchiveReader::from_stream(open()?)))
    }

    fn new(name: String, open: OpenFn) -> Self {
        Self {
            name,
            state: ReaderState::Closed(open),
            yielded: 0,
            skipped: SkippedFiles::default(),
        }
    }

    /// Returns the files that were skipped so far because they are no images.
    pub fn skipped(&self) -> &SkippedFiles {
        &self.skipped
    }

    fn advance(&mut self) -> io::Result<Option<NamedImage>> {
        loop {
            let archive = match &mut self.state {
                ReaderState::Finished => return Ok(None),
                ReaderState::Open(archive) => archive,
                ReaderState::Closed(_) => {
                    if let ReaderState::Closed(open) =
                        std::mem::replace(&mut self.state, ReaderState::Finished)
                    {
                        self.state = ReaderState::Open(Box::new(open()?));
                    }
                    continue;
                }
            };
            let entry = archive.next()?;
            for label in archive.take_labels() {
                self.skipped.add_member("volume label", &label);
            }
            let Some(entry) = entry else {
                self.state = ReaderState::Finished;
                if self.yielded > 0 {
                    return Ok(None);
                }
                let error = io::Error::other(match self.skipped.total() {
                    0 => "no images in the archive".to_owned(),
                    _ => format!("no images in the archive ({})", self.skipped),
                });
                return Ok(Some(NamedImage::failed(self.name.clone(), error)));
            };
            let name = String::from_utf8_lossy(&entry.name);
            let (is_image, start) = match NameKind::from_member_path(&name) {
                NameKind::Ignored => continue,
                NameKind::Image => (true, Vec::new()),
                NameKind::NoExtension => {
                    let start = archive.read_start(IMAGE_START_BYTES, MAX_STREAMED_IMAGE_BYTES)?;
                    (is_image_start(&start), start)
                }
                NameKind::Other => (false, Vec::new()),
            };
            if !is_image {
                match entry.special {
                    Some(kind) => self.skipped.add_member(&kind.to_string(), &name),
                    None => self.skipped.add(file_name(&name)),
                }
                continue;
            }
            let name = format!("{}/{}", self.name, name.strip_prefix("./").unwrap_or(&name));
            let failed = |problem: String| ImageContent::Failed(io::Error::other(problem));
            let content = match archive.read(MAX_STREAMED_IMAGE_BYTES)? {
                Content::Bytes(rest) if start.is_empty() => ImageContent::Bytes(rest),
                Content::Bytes(rest) => ImageContent::Bytes([start, rest].concat()),
                Content::TooLarge(size) => failed(format!(
                    "declared size {size} exceeds the limit of {MAX_STREAMED_IMAGE_BYTES} bytes"
                )),
                Content::Unavailable(problem) => failed(problem),
            };
            return Ok(Some(NamedImage { name, content }));
        }
    }
}

/// Last part of a path in an archive.
fn file_name(path: &str) -> &OsStr {
    OsStr::new(path.rsplit('/').next().unwrap_or_default())
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
                self.state = ReaderState::Finished;
                Some(NamedImage::lost(self.name.clone(), self.yielded, error))
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
        let jpeg = [&b"\xFF\xD8\xFF"[..], &[0; 100]].concat();
        let bytes = archive(&[
            ("./a.jpg", b"123"),
            ("a.txt", b"x"),
            ("d/._b.png", b"x"),
            ("__MACOSX/b.png", b"x"),
            ("d/b.PNG", b""),
            ("d/c.HEIC", b"12"),
            ("d/0a1b", &jpeg),
            ("d/LICENSE", b"MIT"),
            ("d/empty", b""),
            ("d/e.jfif", b"1"),
        ]);
        let expected = [
            ("a.jpg", 3),
            ("d/b.PNG", 0),
            ("d/c.HEIC", 2),
            ("d/0a1b", 103),
            ("d/e.jfif", 1),
        ];
        let expected =
            expected.map(|(name, length)| (format!("s.tar/{name}"), format!("Bytes({length})")));
        assert_eq!(images(bytes.clone()), expected);
        let mut stream =
            ArchiveImages::from_reader("s.tar".to_string(), || Ok(io::Cursor::new(bytes)));
        assert_eq!(stream.by_ref().count(), expected.len());
        assert_eq!(stream.skipped().to_string(), "no extension 2, .txt 1");
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
}
