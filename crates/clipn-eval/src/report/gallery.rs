//! Rows of example images.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use clipn_data::read_archived_images;
use clipn_detect::detector::Evidence;
use clipn_image::{DecodeOptions, Preprocessing};
use rayon::prelude::*;

use clipn_ood::scores::Score;

use super::decisions::Example;
use super::html::{escape, format_score};
use super::maps::over_image;
use super::thumbnail::{self, Thumbnail};
use crate::evaluation::ScorePrecision;

/// Settings of all galleries of a page.
#[derive(Debug)]
pub(super) struct Gallery<'a> {
    pub(super) class_names: &'a [String],
    /// Score used for the decision.
    pub(super) score: &'static dyn Score,
    /// Precision that the scores were computed in.
    pub(super) precision: ScorePrecision,
    /// Long side of a thumbnail, in pixels.
    pub(super) side: u32,
    /// Maps by the path of an image.
    pub(super) evidence: &'a HashMap<PathBuf, Evidence>,
    /// How images are shown.
    pub(super) view: View,
    /// Number of figures with maps so far, which are numbered on the page.
    pub(super) maps: &'a Cell<usize>,
}

/// How images are shown: as the model sees them, if that is known.
#[derive(Debug)]
pub(super) struct View {
    decode: DecodeOptions,
    /// Part of the short side that the model sees.
    seen: f64,
}

impl View {
    pub(super) fn new(preprocessing: Option<&Preprocessing>) -> Self {
        match preprocessing {
            None => Self {
                decode: DecodeOptions::for_display(),
                seen: 1.0,
            },
            Some(own) => Self {
                decode: own.decode,
                seen: own.size as f64 / own.resize.short_side(own.size).max(1) as f64,
            },
        }
    }
}

/// A row of images with the same kind of decision.
#[derive(Debug)]
pub(super) struct GalleryRow<'a> {
    pub(super) heading: &'a str,
    /// Sentence with the number of images of this kind.
    pub(super) note: String,
    /// Whether the decisions are right.
    pub(super) right: bool,
    pub(super) examples: Vec<Example<'a>>,
}

impl Gallery<'_> {
    /// Returns the heading, the sentence and the images; empty without images.
    pub(super) fn row(&self, row: &GalleryRow<'_>, root: &Path) -> String {
        let GalleryRow {
            heading,
            note,
            right,
            examples,
        } = row;
        if examples.is_empty() {
            return String::new();
        }
        let archived = read_archived_images(examples.iter().map(|e| e.row.path.as_path()));
        let (side, decode) = (self.side, &self.view.decode);
        // Rows of features have no image, and others may have been moved.
        let thumbnails: Vec<Result<Thumbnail, &str>> = examples
            .par_iter()
            .map(|example| {
                let path = &example.row.path;
                match archived.get(path) {
                    Some(bytes) => {
                        thumbnail::create_from_bytes(bytes, decode, side).ok_or("unreadable")
                    }
                    None if !path.exists() => Err("no image found"),
                    None => thumbnail::create(path, decode, side).ok_or("unreadable"),
                }
            })
            .collect();
        let figures: String = examples
            .iter()
            .zip(&thumbnails)
            .map(|(e, thumbnail)| self.figure(e, *right, thumbnail, root))
            .collect();
        let (heading, note) = (escape(heading), escape(note));
        format!(
            "<h4>{heading}</h4><p class=\"note\">{note}</p><div class=\"gallery\">{figures}</div>"
        )
    }

    fn figure(
        &self,
        example: &Example<'_>,
        right: bool,
        thumbnail: &Result<Thumbnail, &str>,
        root: &Path,
    ) -> String {
        let path = &example.row.path;
        let name = escape(
            path.strip_prefix(root)
                .unwrap_or(path)
                .display()
                .to_string(),
        );
        let image = match thumbnail {
            Ok(Thumbnail { uri, pixelated, .. }) => {
                let class = if *pixelated {
                    " class=\"pixelated\""
                } else {
                    ""
                };
                format!("<img{class} src=\"{uri}\" alt=\"{name}\" loading=\"lazy\">")
            }
            Err(missing) => format!("<span class=\"missing\">{missing}</span>"),
        };
        let evidence = self.evidence.get(path);
        let size = thumbnail
            .as_ref()
            .map_or([1, 1], |thumbnail| thumbnail.size);
        self.maps.set(self.maps.get() + 1);
        let (choice, maps) = over_image(self.maps.get(), size, self.view.seen, evidence);
        let class = |index: usize| self.class_names.get(index).map_or("?", String::as_str);
        let predicted = escape(class(example.prediction));
        let mark = if right {
            "<b class=\"right\">✓"
        } else {
            "<b class=\"wrong\">✕"
        };
        let decision = if example.kept {
            format!("{mark} <bdi>{predicted}</bdi></b>")
        } else {
            format!("{mark} unknown</b><small>nearest: <bdi>{predicted}</bdi></small>")
        };
        let truth = match example
            .row
            .label
            .filter(|&label| label != example.prediction)
        {
            Some(label) => format!("<small>label: <bdi>{}</bdi></small>", escape(class(label))),
            None => String::new(),
        };
        let score = format_score(published(self.score, self.precision, example.score));
        format!(
            "<figure title=\"{name}\"><div class=\"frame\">{image}{maps}</div>\
             <div class=\"choice\">{choice}</div><figcaption>{decision}{truth}\
             <small>{} {score}</small><small class=\"path\"><bdi>{name}</bdi></small></figcaption></figure>",
            escape(self.score.display_name())
        )
    }
}

/// Returns a score in the published unit.
pub(super) fn published(score: &dyn Score, precision: ScorePrecision, value: f64) -> f64 {
    match precision {
        ScorePrecision::F32 => value,
        ScorePrecision::F64 => score.from_stable(value),
    }
}

/// Returns the common parent directory of all paths, to show names relative to it.
pub(super) fn common_parent<'a>(mut paths: impl Iterator<Item = &'a Path>) -> PathBuf {
    let Some(first) = paths.next().and_then(Path::parent) else {
        return PathBuf::new();
    };
    let mut common: Vec<Component<'a>> = first.components().collect();
    for path in paths {
        let parent = path.parent().unwrap_or(Path::new(""));
        let same = common
            .iter()
            .zip(parent.components())
            .take_while(|(a, b)| **a == *b)
            .count();
        common.truncate(same);
    }
    common.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_common_parent_directory() {
        let common = |paths: &[&str]| common_parent(paths.iter().map(Path::new));
        assert_eq!(common(&["/a/b/c/1.png", "/a/b/d/2.png"]), Path::new("/a/b"));
        assert_eq!(common(&["/a/b/1.png", "/a/bc/2.png"]), Path::new("/a"));
        assert_eq!(common(&["x/1.png"]), Path::new("x"));
        assert_eq!(common(&["1.png", "x/2.png"]), Path::new(""));
        assert_eq!(common(&[]), Path::new(""));
    }
}
