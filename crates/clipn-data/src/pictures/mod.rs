//! Streams of pictures that have no labels: a folder's, a list's, an archive's. Each has a name and a way to its bytes,
//! which are read when its turn comes, so that a million pictures take no more memory than a hundred.
mod folder;
mod list;
mod named;
mod shard;

pub use folder::FolderPictures;
pub use list::{ListSeparator, PathList};
pub use named::{Content, MAX_PICTURE_BYTES, NamedPicture};
pub use shard::{ShardPictures, is_shard_name};
