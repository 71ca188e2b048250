//! Streams of unlabeled images from a directory, a list or an archive. Each image has a name and a
//! source of its bytes, which are read when the image is consumed. A million images therefore take
//! no more memory than a hundred.
mod folder;
mod list;
mod named;
mod shard;

pub use folder::FolderImages;
pub use list::{ListSeparator, PathList};
pub use named::{Content, MAX_STREAMED_IMAGE_BYTES, NamedImage};
pub use shard::{ArchiveImages, is_shard_name};
