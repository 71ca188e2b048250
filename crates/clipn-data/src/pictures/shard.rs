use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use super::{Content, MAX_PICTURE_BYTES, NamedPicture};
use crate::is_image_name;
use crate::webdataset::{Archive, SHARD_ENDINGS, guarded, open_shard, unpack_shard};

/// Whether a name ends as those of tar archives do: `.tar`, `.tar.gz`, `.tgz`, `.tar.zst`, `.tzst`.
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

/// The pictures in a tar archive, plain or packed with gzip or zstd: every file whose name is that of an image, called
/// `ARCHIVE/NAME`. Texts and whatever else lies beside them are passed over.
///
/// An archive that cannot be opened, is damaged or holds no picture gives one lost picture of its own name, behind those
/// before the damage.
pub struct ShardPictures {
    name: String,
    state: State,
    given: u64,
}

impl ShardPictures {
    /// The pictures of the archive at `path`, which is opened when the first is asked for.
    pub fn open(path: &Path) -> Self {
        let file = path.to_path_buf();
        Self::new(
            path.display().to_string(),
            Box::new(move || open_shard(&file)),
        )
    }

    /// The pictures of an archive of this name, whose bytes, packed or not, are opened when the first is asked for.
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
            given: 0,
        }
    }

    fn advance(&mut self) -> io::Result<Option<NamedPicture>> {
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
                if self.given > 0 {
                    return Ok(None);
                }
                return Err(io::Error::other("the archive holds no picture"));
            };
            let name = String::from_utf8_lossy(&entry.name);
            if !is_image_name(OsStr::new(name.rsplit('/').next().unwrap_or_default())) {
                continue;
            }
            let name = format!("{}/{}", self.name, name.strip_prefix("./").unwrap_or(&name));
            let content = match archive.read(MAX_PICTURE_BYTES)? {
                Some(bytes) => Content::Bytes(bytes),
                None => Content::Lost(io::Error::other(format!(
                    "it is said to have {} bytes, and at most {MAX_PICTURE_BYTES} are read",
                    entry.size
                ))),
            };
            return Ok(Some(NamedPicture { name, content }));
        }
    }
}

impl Iterator for ShardPictures {
    type Item = NamedPicture;

    fn next(&mut self) -> Option<NamedPicture> {
        match guarded(|| self.advance().transpose()) {
            Some(Ok(picture)) => {
                self.given += 1;
                Some(picture)
            }
            Some(Err(error)) => {
                self.state = State::Finished;
                Some(NamedPicture::lost(self.name.clone(), error))
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

    fn pictures(bytes: Vec<u8>) -> Vec<(String, String)> {
        ShardPictures::from_reader("s.tar".to_string(), move || Ok(io::Cursor::new(bytes)))
            .map(|picture| (picture.name, format!("{:?}", picture.content)))
            .collect()
    }

    #[test]
    fn images_are_taken_and_the_rest_is_passed_over() {
        let bytes = archive(&[
            ("./a.jpg", b"123"),
            ("a.txt", b"x"),
            ("d/._b.png", b"x"),
            ("d/b.PNG", b""),
        ]);
        assert_eq!(
            pictures(bytes),
            [
                ("s.tar/a.jpg".into(), "Bytes(3)".into()),
                ("s.tar/d/b.PNG".into(), "Bytes(0)".into())
            ]
        );
    }

    #[test]
    fn damage_is_told_once_after_what_came_before() {
        let mut bytes = archive(&[("a.jpg", b"123"), ("b.jpg", b"123")]);
        bytes[1024] ^= 1;
        let found = pictures(bytes);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0, "s.tar");
        assert!(found[1].1.contains("checksum"), "{found:?}");
        assert!(
            pictures(archive(&[("a.txt", b"x")]))[0]
                .1
                .contains("holds no picture")
        );
        let absent: Vec<_> = ShardPictures::open(Path::new("absent.tar")).collect();
        assert_eq!(absent.len(), 1);
        assert_eq!(absent[0].name, "absent.tar");
    }

    #[test]
    fn archives_are_known_by_their_names() {
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
