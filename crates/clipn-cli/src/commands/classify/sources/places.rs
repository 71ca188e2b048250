//! What a path on the command line, or in a list, stands for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clipn::dataset::{
    Content, FolderPictures, ListSeparator, MAX_PICTURE_BYTES, NamedPicture, PathList,
    ShardPictures, expand_braces, is_shard_name,
};

use super::remote::Remote;
use super::{Place, Places};
use crate::commands::classify::args::ClassifyArgs;
use crate::common::error::CliError;

/// Places, and how many of them there are where that is told without reading them.
pub struct Found {
    pub places: Places,
    /// Pictures, where there is nothing but these and their number is known.
    pub pictures: Option<u64>,
    /// Archives that are named.
    pub archives: u64,
}

impl Found {
    fn none() -> Self {
        Self {
            places: Box::new(std::iter::empty()),
            pictures: Some(0),
            archives: 0,
        }
    }

    fn one(place: Place) -> Self {
        let (pictures, archives) = match place {
            Place::Picture(_) => (Some(1), 0),
            Place::Archive(_) => (None, 1),
        };
        Self {
            places: Box::new(std::iter::once(place)),
            pictures,
            archives,
        }
    }

    fn and(self, next: Self) -> Self {
        Self {
            places: Box::new(self.places.chain(next.places)),
            pictures: self.pictures.zip(next.pictures).map(|(a, b)| a + b),
            archives: self.archives + next.archives,
        }
    }
}

/// What opens addresses, made when the first one is met.
#[derive(Clone, Default)]
struct Net(Arc<OnceLock<Result<Remote, String>>>);

impl Net {
    fn open(&self) -> Result<&Remote, String> {
        self.0
            .get_or_init(Remote::open)
            .as_ref()
            .map_err(Clone::clone)
    }
}

/// Everything that the arguments name: the paths, then the lists.
pub fn find(args: &ClassifyArgs) -> Result<Found, CliError> {
    let net = Net::default();
    let mut found = Vec::new();
    for path in &args.paths {
        found.push(named(path, &net)?);
    }
    let separator = if args.null {
        ListSeparator::Nul
    } else {
        ListSeparator::Line
    };
    for list in &args.list {
        found.push(listed(list, separator, &net)?);
    }
    // Chained in pairs, so that a million paths are not a chain a million deep.
    while found.len() > 1 {
        let mut joined = Vec::with_capacity(found.len().div_ceil(2));
        let mut rest = found.into_iter();
        while let Some(first) = rest.next() {
            joined.push(match rest.next() {
                Some(second) => first.and(second),
                None => first,
            });
        }
        found = joined;
    }
    Ok(found.pop().unwrap_or_else(Found::none))
}

/// What one argument stands for.
fn named(path: &Path, net: &Net) -> Result<Found, CliError> {
    if path.as_os_str() == "-" {
        let content = Content::Fetch(Box::new(|| read_limited(io::stdin().lock())));
        return Ok(Found::one(Place::Picture(NamedPicture {
            name: "-".to_owned(),
            content,
        })));
    }
    if path.is_dir() {
        return folder(path);
    }
    let text = path.to_str().filter(|_| !path.exists());
    match text {
        Some(text) if text.contains('{') => {
            let texts = expand_braces(text).map_err(|e| CliError::Usage(e.to_string()))?;
            if texts.len() > 1 {
                return several(texts, net);
            }
            without_braces(text, net)
        }
        Some(text) => without_braces(text, net),
        None => Ok(Found::one(at(path.to_owned()))),
    }
}

/// What braces stand for. Names and patterns may be many; addresses of prefixes are opened one by one.
fn several(texts: Vec<String>, net: &Net) -> Result<Found, CliError> {
    let plain = |text: &String| {
        !text.contains(['*', '?', '[']) && !text.ends_with('/') && !Path::new(text).is_dir()
    };
    if texts.iter().all(plain) {
        if texts.iter().any(|text| is_address(text)) {
            net.open().map_err(CliError::Usage)?;
        }
        let archives = texts
            .iter()
            .filter(|text| is_shard_name(without_query(text)))
            .count() as u64;
        let pictures = (archives == 0).then_some(texts.len() as u64);
        let net = net.clone();
        let places = texts
            .into_iter()
            .map(move |text| entry(PathBuf::from(text), &net));
        return Ok(Found {
            places: Box::new(places),
            pictures,
            archives,
        });
    }
    let mut found = Found::none();
    for text in texts {
        let path = Path::new(&text);
        let next = if path.is_dir() {
            folder(path)?
        } else if path.exists() {
            Found::one(at(path.to_owned()))
        } else {
            without_braces(&text, net)?
        };
        found = found.and(next);
    }
    Ok(found)
}

/// An address, a pattern, or a name of which nothing is there.
fn without_braces(text: &str, net: &Net) -> Result<Found, CliError> {
    if is_address(text) {
        let remote = net.open().map_err(CliError::Usage)?;
        if let Some(places) = remote.prefix(text).map_err(CliError::Usage)? {
            return Ok(Found {
                places,
                pictures: None,
                archives: 0,
            });
        }
        return Ok(Found::one(remote.place(text)));
    }
    if text.contains(['*', '?', '[']) {
        pattern(text)
    } else {
        Ok(Found::one(at(PathBuf::from(text))))
    }
}

fn folder(path: &Path) -> Result<Found, CliError> {
    let pictures = FolderPictures::open(path)?;
    let total = pictures.total();
    Ok(Found {
        places: Box::new(pictures.map(Place::Picture)),
        pictures: Some(total),
        archives: 0,
    })
}

/// What matches a pattern, in the order of the names; counted first, and looked up again as it is needed.
fn pattern(text: &str) -> Result<Found, CliError> {
    let matches = || {
        glob::glob(text)
            .map_err(|error| CliError::Usage(format!("the pattern `{text}` is wrong: {error}")))
    };
    let (mut files, mut archives, mut folders) = (0, 0, 0);
    for path in matches()?.filter_map(Result::ok) {
        *if path.is_dir() {
            &mut folders
        } else if is_archive(&path) {
            &mut archives
        } else {
            &mut files
        } += 1;
    }
    if files + archives + folders == 0 {
        return Err(CliError::Usage(format!(
            "nothing matches the pattern `{text}`: check the path"
        )));
    }
    let places = matches()?.flat_map(|path| -> Places {
        match path {
            Ok(path) if path.is_dir() => match FolderPictures::open(&path) {
                Ok(pictures) => Box::new(pictures.map(Place::Picture)),
                Err(error) => Box::new(std::iter::once(lost(
                    &path,
                    io::Error::other(error.to_string()),
                ))),
            },
            Ok(path) => Box::new(std::iter::once(at(path))),
            Err(error) => {
                let path = error.path().to_owned();
                Box::new(std::iter::once(lost(&path, error.into())))
            }
        }
    });
    let pictures = (archives + folders == 0).then_some(files);
    Ok(Found {
        places: Box::new(places),
        pictures,
        archives,
    })
}

/// The places of a list, which are counted where that can be done without keeping them.
fn listed(list: &Path, separator: ListSeparator, net: &Net) -> Result<Found, CliError> {
    let name = list.display().to_string();
    let unreadable = |source| CliError::ReadList {
        path: list.to_owned(),
        source,
    };
    let (source, pictures): (Box<dyn BufRead + Send>, _) = if list.as_os_str() == "-" {
        (Box::new(BufReader::new(io::stdin())), None)
    } else {
        let file = File::open(list).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        let counted = if metadata.is_file() {
            count(list, separator).map_err(unreadable)?
        } else {
            None
        };
        (Box::new(BufReader::new(file)), counted)
    };
    let net = net.clone();
    let places = PathList::new(source, separator).map(move |path| match path {
        Ok(path) => entry(path, &net),
        Err(error) => Place::Picture(NamedPicture::lost(name.as_str(), error)),
    });
    Ok(Found {
        places: Box::new(places),
        pictures,
        archives: 0,
    })
}

/// How many pictures a list has, if it has no archives.
fn count(list: &Path, separator: ListSeparator) -> io::Result<Option<u64>> {
    let mut pictures = 0;
    for path in PathList::new(BufReader::new(File::open(list)?), separator) {
        if path.as_deref().is_ok_and(is_archive) {
            return Ok(None);
        }
        pictures += 1;
    }
    Ok(Some(pictures))
}

/// What a path in a list is: a file, or an address.
fn entry(path: PathBuf, net: &Net) -> Place {
    match path.to_str().filter(|text| is_address(text)) {
        Some(address) => match net.open() {
            Ok(remote) => remote.place(address),
            Err(error) => lost(Path::new(without_query(address)), io::Error::other(error)),
        },
        None => at(path),
    }
}

/// A file on this machine.
fn at(path: PathBuf) -> Place {
    if is_archive(&path) {
        Place::Archive(Box::new(ShardPictures::open(&path)))
    } else {
        Place::Picture(NamedPicture::file(path))
    }
}

fn lost(path: &Path, error: io::Error) -> Place {
    Place::Picture(NamedPicture::lost(path.display().to_string(), error))
}

fn is_archive(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| is_shard_name(without_query(name)))
}

/// Whether a text is an address and not a path.
fn is_address(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else {
        return false;
    };
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// An address without what stands behind a question mark, which may be a signature that is nobody's business.
pub fn without_query(address: &str) -> &str {
    match address.split_once('?') {
        Some((path, _)) if is_address(address) => path,
        _ => address,
    }
}

/// What `source` holds, if that is not too much for a picture.
pub fn read_limited(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_PICTURE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PICTURE_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

pub fn too_large() -> io::Error {
    io::Error::other(format!("it is larger than {MAX_PICTURE_BYTES} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        for address in ["s3://b/k", "gs://b", "https://h/a.jpg?x=1", "ftp://h"] {
            assert!(is_address(address), "{address}");
        }
        for path in ["a.jpg", "/a://b", "://x", "a b://c"] {
            assert!(!is_address(path), "{path}");
        }
        assert_eq!(
            without_query("https://h/a.tar?sig=secret"),
            "https://h/a.tar"
        );
        assert_eq!(without_query("what?.jpg"), "what?.jpg");
    }

    #[test]
    fn too_much_is_refused() {
        assert_eq!(read_limited(&b"abc"[..]).unwrap(), b"abc");
        assert!(read_limited(io::repeat(0)).is_err());
    }
}
