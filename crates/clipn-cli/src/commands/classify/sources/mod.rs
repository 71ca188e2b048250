//! Sources of images: what the command line names, as one stream. This process takes its shard of it.

mod items;
#[cfg_attr(not(feature = "remote"), path = "no_remote.rs")]
mod remote;

pub(crate) use items::without_query;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clipn::dataset::{ArchiveImages, NamedImage, SkippedFiles};

use super::args::SourceArgs;
use super::shard::ShardSpec;
use crate::common::error::CliError;
use crate::common::interrupt;

/// One image or archive of the sources.
pub(crate) enum SourceItem {
    Image(NamedImage),
    Archive(Box<ArchiveImages>),
}

/// Counts of skipped files that all sources add to while they are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedSkippedFiles(Arc<Mutex<SkippedFiles>>);

impl SharedSkippedFiles {
    pub(crate) fn merge(&self, skipped: &SkippedFiles) {
        self.lock().merge(skipped);
    }

    /// The counts so far.
    pub(crate) fn get(&self) -> SkippedFiles {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, SkippedFiles> {
        // Counts are whole, even if another thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type SourceItems = Box<dyn Iterator<Item = SourceItem> + Send>;

/// Iterator over the images of this process's shard, opened lazily.
pub(crate) struct ImageStream {
    items: SourceItems,
    archive: Option<Box<ArchiveImages>>,
    shard: ShardSpec,
    /// Whether archives are split whole, so that no two processes read the same one.
    whole_archives: bool,
    total: Option<u64>,
    images_seen: u64,
    archives_seen: u64,
    interrupted: Arc<AtomicBool>,
    skipped: SharedSkippedFiles,
}

impl ImageStream {
    /// Resolves the sources, and counts their images if that needs no reading of archives.
    pub(crate) fn open(args: &SourceArgs, shard: ShardSpec) -> Result<Self, CliError> {
        let skipped = SharedSkippedFiles::default();
        let sources = items::resolve(args, skipped.clone())?;
        let whole_archives = !shard.is_all() && sources.archives >= shard.count;
        Ok(Self {
            items: sources.items,
            archive: None,
            shard,
            whole_archives,
            total: sources.images.map(|images| shard.len_of(images)),
            images_seen: 0,
            archives_seen: 0,
            interrupted: Arc::default(),
            skipped,
        })
    }

    /// Number of images, if known before they are read.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }

    /// Flag that becomes true if the stream ends early because the user interrupted it.
    pub(crate) fn interrupted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    /// Files that are no images, counted as far as the stream was read.
    pub(crate) fn skipped(&self) -> SharedSkippedFiles {
        self.skipped.clone()
    }

    fn is_ours(&mut self) -> bool {
        self.images_seen += 1;
        self.shard.contains(self.images_seen - 1)
    }
}

impl Iterator for ImageStream {
    type Item = NamedImage;

    fn next(&mut self) -> Option<NamedImage> {
        loop {
            if interrupt::requested() {
                self.interrupted.store(true, Ordering::Relaxed);
                return None;
            }
            if let Some(mut archive) = self.archive.take() {
                let Some(image) = archive.next() else {
                    self.skipped.merge(archive.skipped());
                    continue;
                };
                self.archive = Some(archive);
                if self.whole_archives || self.is_ours() {
                    return Some(image);
                }
                continue;
            }
            match self.items.next()? {
                SourceItem::Image(image) if self.is_ours() => return Some(image),
                SourceItem::Image(_) => {}
                SourceItem::Archive(archive) => {
                    self.archives_seen += 1;
                    if !self.whole_archives || self.shard.contains(self.archives_seen - 1) {
                        self.archive = Some(archive);
                    }
                }
            }
        }
    }
}
