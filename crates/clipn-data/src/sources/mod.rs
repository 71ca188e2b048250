//! Streams of unlabeled images from a directory, a list, a table or an archive.
//!
//! Each image has a name and a source of its bytes, which are read when the image is consumed. Only
//! the file names of the current directory are in memory.

mod archive_images;
mod folder;
mod lost_source;
mod named_image;
#[cfg(feature = "parquet")]
mod parquet_images;
mod path_list;
mod table_images;

pub use archive_images::ArchiveImages;
pub use folder::FolderImages;
pub use lost_source::LostSource;
pub use named_image::{ImageContent, MAX_STREAMED_IMAGE_BYTES, NamedImage};
#[cfg(feature = "parquet")]
pub(crate) use parquet_images::{image_column, read_row, row_path};
pub use path_list::{ListSeparator, PathList};
pub use table_images::TableImages;
pub(crate) use table_images::{beside, scan};
