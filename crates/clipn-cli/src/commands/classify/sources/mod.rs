//! Where pictures come from: what the command line names, as one stream of which this process takes its share.

mod places;
#[cfg_attr(not(feature = "remote"), path = "no_remote.rs")]
mod remote;

pub use places::without_query;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clipn::dataset::{NamedPicture, ShardPictures};

use super::args::ClassifyArgs;
use super::share::Share;
use crate::common::error::CliError;
use crate::common::interrupt;

/// One thing that the sources hold.
pub enum Place {
    Picture(NamedPicture),
    Archive(Box<ShardPictures>),
}

type Places = Box<dyn Iterator<Item = Place> + Send>;

/// Every picture of this process's share, drawn as it is needed.
pub struct Pictures {
    places: Places,
    archive: Option<Box<ShardPictures>>,
    share: Share,
    /// Whether archives are dealt out as wholes, so that no two processes read the same one.
    whole_archives: bool,
    total: Option<u64>,
    pictures_seen: u64,
    archives_seen: u64,
    cut_short: Arc<AtomicBool>,
}

impl Pictures {
    /// Looks at what is named, as far as that can be told without reading it.
    pub fn open(args: &ClassifyArgs, share: Share) -> Result<Self, CliError> {
        let found = places::find(args)?;
        let whole_archives = !share.is_all() && found.archives >= share.of;
        Ok(Self {
            places: found.places,
            archive: None,
            share,
            whole_archives,
            total: found.pictures.map(|pictures| share.part_of(pictures)),
            pictures_seen: 0,
            archives_seen: 0,
            cut_short: Arc::default(),
        })
    }

    /// How many there are, where that is known before they are read.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Becomes true when the stream ends before its time, because the user wants so.
    pub fn cut_short(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cut_short)
    }

    fn is_ours(&mut self) -> bool {
        self.pictures_seen += 1;
        self.share.has(self.pictures_seen - 1)
    }
}

impl Iterator for Pictures {
    type Item = NamedPicture;

    fn next(&mut self) -> Option<NamedPicture> {
        loop {
            if interrupt::requested() {
                self.cut_short.store(true, Ordering::Relaxed);
                return None;
            }
            if let Some(archive) = &mut self.archive {
                match archive.next() {
                    Some(picture) if self.whole_archives || self.is_ours() => return Some(picture),
                    Some(_) => {}
                    None => self.archive = None,
                }
                continue;
            }
            match self.places.next()? {
                Place::Picture(picture) if self.is_ours() => return Some(picture),
                Place::Picture(_) => {}
                Place::Archive(archive) => {
                    self.archives_seen += 1;
                    if !self.whole_archives || self.share.has(self.archives_seen - 1) {
                        self.archive = Some(archive);
                    }
                }
            }
        }
    }
}
