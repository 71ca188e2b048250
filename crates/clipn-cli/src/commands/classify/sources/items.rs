//! Resolution of paths, patterns, lists and URLs to images and archives.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clipn::dataset::{
    ArchiveImages, DatasetError, FolderImages, ImageContent, ListSeparator,
    MAX_STREAMED_IMAGE_BYTES, MatchedPaths, NamedImage, PathList, TableImages, TableKind,
    expand_braces, is_archive_name, is_table_file, matched_paths, unmatched_names,
};

use clipn::content::ContentKind;

use super::remote::Remote;
use super::{SharedSkippedFiles, SourceItem, SourceItems};
use crate::commands::classify::args::SourceArgs;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::messages::{detail, hint, note, warning};

/// Source items, and their number as far as it is known without reading them.
pub(crate) struct Sources {
    pub items: SourceItems,
    /// Number of images, if there are only images and their number is known.
    pub images: Option<u64>,
    /// Number of archives that are named.
    pub archives: u64,
    /// Number of tables that are named.
    tables: u64,
}

impl Sources {
    fn none() -> Self {
        Self {
            items: Box::new(std::iter::empty()),
            images: Some(0),
            archives: 0,
            tables: 0,
        }
    }

    fn one(item: SourceItem) -> Self {
        let (images, archives) = match item {
            SourceItem::Image(_) => (Some(1), 0),
            SourceItem::Archive(_) => (None, 1),
        };
        Self {
            items: Box::new(std::iter::once(item)),
            images,
            archives,
            tables: 0,
        }
    }

    fn and(self, next: Self) -> Self {
        Self {
            items: Box::new(self.items.chain(next.items)),
            images: self.images.zip(next.images).map(|(a, b)| a + b),
            archives: self.archives + next.archives,
            tables: self.tables + next.tables,
        }
    }
}

/// Client for URLs, created for the first one.
#[derive(Clone, Default)]
struct LazyRemote(Arc<OnceLock<Result<Remote, String>>>);

impl LazyRemote {
    fn open(&self) -> Result<&Remote, String> {
        self.0
            .get_or_init(Remote::open)
            .as_ref()
            .map_err(Clone::clone)
    }
}

/// What all sources share.
#[derive(Clone)]
struct Shared {
    remote: LazyRemote,
    skipped: SharedSkippedFiles,
    /// Key or column of images in tables.
    image_key: Option<String>,
}

/// Resolves everything that the arguments name: the paths, then the lists. Files that are no images
/// are counted in `skipped` when they are found.
pub(crate) fn resolve(args: &SourceArgs, skipped: SharedSkippedFiles) -> Result<Sources, CliError> {
    let shared = Shared {
        remote: LazyRemote::default(),
        skipped,
        image_key: args.image_key.clone(),
    };
    let mut found = Vec::new();
    for path in &args.paths {
        found.push(if is_table_file(path) {
            table(path, &shared)?
        } else {
            argument(path, &shared)?
        });
    }
    let separator = if args.null {
        ListSeparator::Nul
    } else {
        ListSeparator::Line
    };
    for list in &args.list {
        found.push(if is_table_file(list) {
            table(list, &shared)?
        } else {
            listed(list, separator, &shared)?
        });
    }
    if let Some(key) = &shared.image_key
        && found.iter().all(|sources| sources.tables == 0)
    {
        return Err(CliError::usage_with_hint(
            format!("--image-key {key}: none of the inputs is a table"),
            "tables are .jsonl and .parquet files",
        ));
    }
    // Chain in pairs: a million paths must not become a chain a million deep.
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
    Ok(found.pop().unwrap_or_else(Sources::none))
}

/// Resolves the images of a table.
fn table(path: &Path, shared: &Shared) -> Result<Sources, CliError> {
    let images = TableImages::open(path, shared.image_key.as_deref())?;
    detail(format_args!(
        "{}: images from `{}`",
        path.display(),
        images.image_key()
    ));
    Ok(Sources {
        images: Some(images.total()),
        items: Box::new(images.map(SourceItem::Image)),
        archives: 0,
        tables: 1,
    })
}

/// Resolves one argument.
fn argument(path: &Path, shared: &Shared) -> Result<Sources, CliError> {
    if path.as_os_str() == "-" {
        let content = ImageContent::Fetch(Box::new(|| read_limited(io::stdin().lock())));
        return Ok(Sources::one(SourceItem::Image(NamedImage {
            name: "-".to_owned(),
            content,
        })));
    }
    if path.is_dir() {
        return directory(path, shared);
    }
    let text = path.to_str().filter(|_| !path.exists());
    match text {
        Some(text) if text.contains('{') => {
            let texts = expand_braces(text).map_err(|e| CliError::usage(e.to_string()))?;
            if texts.len() > 1 {
                return several(texts, shared);
            }
            without_braces(text, shared)
        }
        Some(text) => without_braces(text, shared),
        None => Ok(Sources::one(named(path.to_owned()))),
    }
}

/// Resolves the expansion of braces. Plain names are kept as a lazy list; patterns, directories and
/// prefixes are opened one by one.
fn several(texts: Vec<String>, shared: &Shared) -> Result<Sources, CliError> {
    let plain = |text: &String| {
        let path = Path::new(text);
        !(text.contains(['*', '?', '[']) || text.ends_with('/') || path.is_dir() || is_table(path))
    };
    if texts.iter().all(plain) {
        if texts.iter().any(|text| is_url(text)) {
            shared.remote.open().map_err(CliError::usage)?;
        }
        let archives = texts
            .iter()
            .filter(|text| is_archive_name(without_query(text)))
            .count() as u64;
        let images = (archives == 0).then_some(texts.len() as u64);
        let remote = shared.remote.clone();
        let items = texts
            .into_iter()
            .map(move |text| entry(PathBuf::from(text), &remote));
        return Ok(Sources {
            items: Box::new(items),
            images,
            archives,
            tables: 0,
        });
    }
    let mut found = Sources::none();
    for text in texts {
        let path = Path::new(&text);
        let next = if path.is_dir() {
            directory(path, shared)?
        } else if is_table(path) {
            table(path, shared)?
        } else if path.exists() {
            Sources::one(named(path.to_owned()))
        } else {
            without_braces(&text, shared)?
        };
        found = found.and(next);
    }
    Ok(found)
}

/// Resolves a URL, a pattern, or the path of a missing file.
fn without_braces(text: &str, shared: &Shared) -> Result<Sources, CliError> {
    if is_url(text) {
        let remote = shared.remote.open().map_err(CliError::usage)?;
        let items = remote.prefix(text, &shared.skipped);
        if let Some(items) = items.map_err(CliError::usage)? {
            return Ok(Sources {
                items,
                images: None,
                archives: 0,
                tables: 0,
            });
        }
        return Ok(Sources::one(remote.item(text)));
    }
    if text.contains(['*', '?', '[']) {
        pattern(text, shared)
    } else {
        Ok(Sources::one(local(PathBuf::from(text))))
    }
}

fn directory(path: &Path, shared: &Shared) -> Result<Sources, CliError> {
    let images = FolderImages::open(path)?;
    shared.skipped.merge(images.skipped());
    let total = images.total();
    Ok(Sources {
        items: Box::new(images.map(SourceItem::Image)),
        images: Some(total),
        archives: 0,
        tables: 0,
    })
}

/// Resolves a glob pattern, in the order of the names. Matches are counted first, and listed again
/// lazily.
fn pattern(text: &str, shared: &Shared) -> Result<Sources, CliError> {
    let matches = || {
        let found = matched_paths(text)
            .map_err(|error| CliError::usage(format!("invalid pattern `{text}`: {error}")))?;
        Ok::<_, CliError>(without_nested(found))
    };
    let (mut files, mut archives, mut directories, mut tables) = (0, 0, 0, 0);
    let mut unreadable = None;
    for path in matches()? {
        *match path {
            Ok(path) if path.is_dir() => &mut directories,
            Ok(path) if is_archive(&path) => &mut archives,
            Ok(path) if is_table(&path) => &mut tables,
            Ok(_) => &mut files,
            Err((path, source)) => {
                unreadable.get_or_insert(CliError::ReadFile { path, source });
                continue;
            }
        } += 1;
    }
    let found = files + archives + directories + tables;
    if let (0, Some(error)) = (found, unreadable) {
        return Err(error);
    }
    let unmatched = unmatched_names(text);
    let named = unmatched.first().map(|first| {
        let count = unmatched.len();
        let first = first.display();
        format!("names that are not UTF-8 and match no pattern: {count}, such as {first}")
    });
    const HINT: &str = "give the directory to read all of its images";
    match (found, named) {
        (0, None) => {
            return Err(CliError::usage(format!(
                "nothing matches the pattern `{text}`"
            )));
        }
        (0, Some(named)) => {
            let message = format!("nothing matches the pattern `{text}`; {named}");
            return Err(CliError::usage_with_hint(message, HINT));
        }
        (_, Some(named)) => {
            warning(format_args!("{text}: {named}"));
            hint(HINT);
        }
        _ => {}
    }
    let (skipped, image_key) = (shared.skipped.clone(), shared.image_key.clone());
    let items = matches()?.flat_map(move |path| -> SourceItems {
        let unread = |path: &Path, error: DatasetError| -> SourceItems {
            let error = io::Error::other(chain_in_one_line(&error));
            let image = NamedImage::lost(path.display().to_string(), 0, error);
            Box::new(std::iter::once(SourceItem::Image(image)))
        };
        match path {
            Ok(path) if is_table(&path) => match TableImages::open(&path, image_key.as_deref()) {
                Ok(images) => Box::new(images.map(SourceItem::Image)),
                Err(error) => unread(&path, error),
            },
            Ok(path) if path.is_dir() => match FolderImages::open(&path) {
                Ok(images) => {
                    skipped.merge(images.skipped());
                    Box::new(images.map(SourceItem::Image))
                }
                Err(DatasetError::NoImages {
                    path,
                    skipped: others,
                }) => {
                    skipped.merge(&others);
                    note(format_args!(
                        "no images in {}, which the pattern matches",
                        path.display()
                    ));
                    Box::new(std::iter::empty())
                }
                Err(error) => unread(&path, error),
            },
            Ok(path) => Box::new(std::iter::once(local(path))),
            Err((path, error)) => Box::new(std::iter::once(lost(&path, error))),
        }
    });
    let images = (found == files).then_some(files);
    Ok(Sources {
        items: Box::new(items),
        images,
        archives,
        tables,
    })
}

/// Leaves out what is in a directory that the pattern matches too, and whose images are all read; archives stay.
fn without_nested(
    found: MatchedPaths,
) -> impl Iterator<Item = Result<PathBuf, (PathBuf, io::Error)>> + Send {
    let mut last: Option<PathBuf> = None;
    found.filter(move |path| {
        let Ok(path) = path else { return true };
        let is_directory = path.is_dir();
        if last.as_ref().is_some_and(|last| path.starts_with(last)) {
            return !is_directory && is_archive(path);
        }
        if is_directory {
            last = Some(path.clone());
        }
        true
    })
}

/// Resolves the entries of a list. They are counted unless the list is standard input or a pipe.
fn listed(list: &Path, separator: ListSeparator, shared: &Shared) -> Result<Sources, CliError> {
    let name = list.display().to_string();
    let unreadable = |source| CliError::ReadFile {
        path: list.to_owned(),
        source,
    };
    let (source, images): (Box<dyn BufRead + Send>, _) = if list.as_os_str() == "-" {
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
        if metadata.is_file()
            && let Some(kind) = unlike_list(list).map_err(unreadable)?
        {
            return Err(CliError::usage_with_hint(
                format!("expected a list of paths in {name}, got {kind}"),
                kind.advice()
                    .unwrap_or("give images and archives themselves without --list"),
            ));
        }
        if counted == Some(0) {
            return Err(CliError::usage_with_hint(
                format!("no images in the list {name}"),
                "a list has one path per line",
            ));
        }
        (Box::new(BufReader::new(file)), counted)
    };
    let mut read = 0;
    let remote = shared.remote.clone();
    let items = PathList::new(source, separator).map(move |path| match path {
        Ok(path) => {
            read += 1;
            entry(path, &remote)
        }
        Err(error) => SourceItem::Image(NamedImage::lost(name.as_str(), read, error)),
    });
    Ok(Sources {
        items: Box::new(items),
        images,
        archives: 0,
        tables: 0,
    })
}

/// What a file is that is no list of paths.
fn unlike_list(list: &Path) -> io::Result<Option<ContentKind>> {
    let kind = ContentKind::of_file(list)?;
    let is_list = matches!(
        kind,
        ContentKind::Text | ContentKind::Unknown | ContentKind::Empty
    );
    Ok((!is_list).then_some(kind))
}

/// Number of images in a list, or `None` if it has archives.
fn count(list: &Path, separator: ListSeparator) -> io::Result<Option<u64>> {
    let mut images = 0;
    for path in PathList::new(BufReader::new(File::open(list)?), separator) {
        if path.as_deref().is_ok_and(is_archive) {
            return Ok(None);
        }
        images += 1;
    }
    Ok(Some(images))
}

/// Resolves an entry of a list: a file or a URL.
fn entry(path: PathBuf, remote: &LazyRemote) -> SourceItem {
    match path.to_str().filter(|text| is_url(text)) {
        Some(url) => match remote.open() {
            Ok(remote) => remote.item(url),
            Err(error) => lost(Path::new(without_query(url)), io::Error::other(error)),
        },
        // An image is checked when it is read.
        None if is_archive(&path) && is_special(&path) => {
            lost(&path, io::Error::other("not a regular file"))
        }
        None => local(path),
    }
}

/// An argument that exists: a file, or a pipe or device that is meant to be read, as of `<(…)`.
fn named(path: PathBuf) -> SourceItem {
    if is_archive(&path) || !is_special(&path) {
        return local(path);
    }
    SourceItem::Image(NamedImage {
        name: path.display().to_string(),
        content: ImageContent::Fetch(Box::new(move || read_limited(File::open(&path)?))),
    })
}

/// Whether a path is a pipe, a socket or a device, from which a read may never return.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// An image file or archive on this machine.
fn local(path: PathBuf) -> SourceItem {
    if is_archive(&path) {
        SourceItem::Archive(Box::new(ArchiveImages::open(&path)))
    } else {
        SourceItem::Image(NamedImage::from_path(path))
    }
}

/// An image that becomes a row with this error.
fn lost(path: &Path, error: io::Error) -> SourceItem {
    SourceItem::Image(NamedImage::failed(path.display().to_string(), error))
}

/// Whether a file is a table by its name. Of names that are listed, files are not opened to find out.
fn is_table(path: &Path) -> bool {
    let kind = TableKind::of_file(path);
    matches!(kind, Some(TableKind::JsonLines | TableKind::Parquet)) && path.is_file()
}

fn is_archive(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| is_archive_name(without_query(name)))
}

/// Whether a text is a URL rather than a path.
fn is_url(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else {
        return false;
    };
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// Removes the query of a URL, which may be a secret signature.
pub(crate) fn without_query(url: &str) -> &str {
    match url.split_once('?') {
        Some((path, _)) if is_url(url) => path,
        _ => url,
    }
}

/// Reads `source` to its end.
///
/// # Errors
/// [`too_large`] if it has more bytes than an image may have.
pub(crate) fn read_limited(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source
        .take(MAX_STREAMED_IMAGE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_STREAMED_IMAGE_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

fn too_large() -> io::Error {
    io::Error::other(format!(
        "exceeds the size limit of {MAX_STREAMED_IMAGE_BYTES} bytes"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_urls_from_paths() {
        for url in ["s3://b/k", "gs://b", "https://h/a.jpg?x=1", "ftp://h"] {
            assert!(is_url(url), "{url}");
        }
        for path in ["a.jpg", "/a://b", "://x", "a b://c"] {
            assert!(!is_url(path), "{path}");
        }
        assert_eq!(
            without_query("https://h/a.tar?sig=secret"),
            "https://h/a.tar"
        );
        assert_eq!(without_query("what?.jpg"), "what?.jpg");
    }

    #[test]
    fn rejects_oversized_input() {
        assert_eq!(read_limited(&b"abc"[..]).unwrap(), b"abc");
        assert!(read_limited(io::repeat(0)).is_err());
    }
}
