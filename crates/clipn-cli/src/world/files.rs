//! Writers for PNG images, shards of samples and directories.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clipn::image::RgbImage;

use super::{DemoError, WorldSample};

/// Encodes pixels `[side, side, 3]` as PNG.
pub(super) fn png(pixels: &[u8], side: usize) -> io::Result<Vec<u8>> {
    RgbImage::new(side as u32, side as u32, pixels.to_vec())
        .map_err(io::Error::other)?
        .to_png()
}

/// Writes samples with their keys as one shard: `000000.png`, `000000.txt` and `000000.cls` for key
/// 0.
pub(super) fn write_shard(
    path: &Path,
    samples: impl Iterator<Item = (usize, WorldSample)>,
) -> Result<(), DemoError> {
    let write = || -> io::Result<()> {
        let mut tar = tar::Builder::new(BufWriter::new(File::create(path)?));
        for (key, sample) in samples {
            append(
                &mut tar,
                &format!("{key:06}.png"),
                &png(&sample.pixels, sample.side)?,
            )?;
            append(
                &mut tar,
                &format!("{key:06}.txt"),
                sample.caption.as_bytes(),
            )?;
            append(
                &mut tar,
                &format!("{key:06}.cls"),
                sample.class.to_string().as_bytes(),
            )?;
        }
        tar.into_inner()?.flush()
    };
    write().map_err(failed(path))
}

/// Appends a regular file. Times, users and groups are zero, so that the same files give the same
/// bytes.
fn append(tar: &mut tar::Builder<impl Write>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, name, content)
}

/// Writes a file.
pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<(), DemoError> {
    clipn::files::replace(path, content).map_err(failed(path))
}

/// Creates a directory and its parents.
pub(super) fn make_folder(path: &Path) -> Result<(), DemoError> {
    clipn::files::create_directories(path).map_err(failed(path))
}

/// Creates a directory, or accepts an existing empty one.
///
/// # Errors
/// [`DemoError::NotEmpty`] if the directory has entries, [`DemoError::Write`] if it cannot be
/// created or read.
pub(crate) fn create_empty_directory(path: &Path) -> Result<(), DemoError> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(DemoError::NotEmpty {
                path: path.to_owned(),
            }),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => make_folder(path),
        Err(source) => Err(DemoError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Returns a conversion from an I/O error to [`DemoError::Write`] for `path`.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> DemoError {
    let path: PathBuf = path.to_owned();
    move |source| DemoError::Write {
        path: path.clone(),
        source,
    }
}
