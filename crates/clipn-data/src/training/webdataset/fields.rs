//! Selection of a sample's image and caption among its files.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::training::skipped::{SkipReason, SkippedSample};

/// Source of a caption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CaptionField {
    /// A text file, unchanged.
    Text {
        /// Extension of the file, such as `txt`, or a pattern such as `*.txt`.
        extension: String,
    },
    /// A string in a JSON object.
    Json {
        /// Extension of the file, such as `json`.
        extension: String,
        /// Key of the string.
        key: String,
    },
    /// The name of a class whose index is in a text file.
    Class {
        /// Extension of the file, such as `cls`.
        extension: String,
        /// Names of the classes, by index.
        names: Vec<String>,
    },
}

impl CaptionField {
    /// Returns the extension of the file.
    pub fn extension(&self) -> &str {
        match self {
            Self::Text { extension }
            | Self::Json { extension, .. }
            | Self::Class { extension, .. } => extension,
        }
    }
}

/// Extensions of the files of a sample that are read. An extension is everything after the first
/// dot of a file name, in lower case. In names with further dots it may differ from sample to
/// sample: `*.jpg` stands for every extension that is `jpg` or ends with `.jpg`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleFields {
    /// Extensions of images; the first one present is used.
    pub images: Vec<String>,
    /// Sources of captions; the first one present is used.
    pub captions: Vec<CaptionField>,
    /// Maximum size of an image in bytes.
    pub max_image_bytes: u64,
}

/// Maximum size of a caption file in bytes.
const MAX_CAPTION_BYTES: u64 = 1 << 20;

impl Default for SampleFields {
    /// Returns images `jpg`, `jpeg`, `png` and `webp` of at most 64 MiB, with captions from `txt`
    /// or else from `caption` in `json`.
    fn default() -> Self {
        Self {
            images: ["jpg", "jpeg", "png", "webp"].map(String::from).to_vec(),
            captions: vec![
                CaptionField::Text {
                    extension: "txt".to_string(),
                },
                CaptionField::Json {
                    extension: "json".to_string(),
                    key: "caption".to_string(),
                },
            ],
            max_image_bytes: 64 << 20,
        }
    }
}

/// Maximum size of all requested files of a sample, in sizes of an image. Links and the holes of
/// sparse files take no room in a shard, but in memory.
const MAX_SAMPLE_IMAGES: u64 = 4;

/// Whether an extension is the one of a field, or fits its pattern.
fn is_of_field(field: &str, extension: &str) -> bool {
    match field.strip_prefix("*.") {
        Some(last) => extension
            .strip_suffix(last)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
        None => field == extension,
    }
}

impl SampleFields {
    /// Returns the maximum size in bytes of a file with this extension, or `None` if it is not
    /// read.
    pub(super) fn limit(&self, extension: &str) -> Option<u64> {
        let is_caption = |field: &CaptionField| is_of_field(field.extension(), extension);
        if self
            .images
            .iter()
            .any(|known| is_of_field(known, extension))
        {
            Some(self.max_image_bytes)
        } else if self.captions.iter().any(is_caption) {
            Some(MAX_CAPTION_BYTES)
        } else {
            None
        }
    }

    /// Returns the image's bytes and the caption of a sample; `sample_key` names it in errors.
    pub(super) fn take(
        &self,
        mut group: SampleFiles,
        sample_key: &str,
    ) -> Result<(Vec<u8>, String), SkippedSample> {
        let skip = |(reason, detail): (SkipReason, String)| {
            SkippedSample::new(sample_key.to_string(), reason, detail)
        };
        if let Some(problem) = group.problem.take() {
            return Err(skip(problem));
        }
        let captions: Vec<&str> = self.captions.iter().map(CaptionField::extension).collect();
        let images: Vec<&str> = self.images.iter().map(String::as_str).collect();
        let found = group
            .find(&captions, SkipReason::NoCaption)
            .and_then(|(index, extension)| {
                let bytes = group.files.get(&extension).map_or(&[][..], Vec::as_slice);
                self.captions[index].caption(&extension, bytes)
            })
            .and_then(|caption| Ok((caption, group.find(&images, SkipReason::NoImage)?.1)));
        let (caption, image) = found.map_err(skip)?;
        let image = group.files.remove(&image).unwrap_or_default();
        Ok((image, caption))
    }
}

/// Requested files of a sample.
#[derive(Debug, Default)]
pub(crate) struct SampleFiles {
    /// Path up to the first dot of the base name.
    pub key: String,
    /// Contents by extension.
    pub files: BTreeMap<String, Vec<u8>>,
    /// All extensions found, read or not, to detect the start of the next sample.
    pub seen: Vec<String>,
    /// Why a requested file has no contents: the first such file.
    pub problem: Option<(SkipReason, String)>,
}

impl SampleFiles {
    pub(super) fn new(key: String) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }

    /// Returns the maximum size in bytes of the next file with this extension, or `None` if it is
    /// not read.
    pub(super) fn limit(&self, fields: &SampleFields, extension: &str) -> Option<u64> {
        let read: u64 = self.files.values().map(|bytes| bytes.len() as u64).sum();
        let left = fields
            .max_image_bytes
            .saturating_mul(MAX_SAMPLE_IMAGES)
            .saturating_sub(read);
        Some(fields.limit(extension)?.min(left))
    }

    pub(super) fn add_problem(&mut self, reason: SkipReason, extension: &str, problem: &str) {
        let problem = || (reason, format!("{extension}: {problem}"));
        self.problem.get_or_insert_with(problem);
    }

    /// Returns the first of the fields that the sample has, and the extension of its file.
    ///
    /// # Errors
    /// `missing` if it has none, or if several files fit the pattern of a field.
    fn find(
        &self,
        fields: &[&str],
        missing: SkipReason,
    ) -> Result<(usize, String), (SkipReason, String)> {
        for (index, field) in fields.iter().enumerate() {
            let mut fitting = self
                .files
                .keys()
                .filter(|extension| is_of_field(field, extension));
            let Some(extension) = fitting.next() else {
                continue;
            };
            if fitting.next().is_some() {
                if let Some(merged) = self.merged_problem() {
                    return Err(merged);
                }
                let problem = format!("several files fit `{field}`: {}", self.shown_fields());
                return Err((missing, problem));
            }
            return Ok((index, extension.clone()));
        }
        if let Some(merged) = self.merged_problem() {
            return Err(merged);
        }
        let problem = format!(
            "expected one of the files {}, got {}",
            fields.join(", "),
            self.shown_fields()
        );
        Err((missing, problem))
    }

    /// Lists the extensions of the sample's files.
    pub(super) fn shown_fields(&self) -> String {
        let shown: Vec<&str> = self
            .seen
            .iter()
            .take(MAX_SHOWN_FIELDS)
            .map(String::as_str)
            .collect();
        let more = if self.seen.len() > shown.len() {
            ", …"
        } else {
            ""
        };
        format!("{}{more}", shown.join(", "))
    }
}

/// Maximum number of extensions in a message.
const MAX_SHOWN_FIELDS: usize = 8;

impl CaptionField {
    /// Returns the caption in the bytes of the file with this extension.
    fn caption(&self, extension: &str, bytes: &[u8]) -> Result<String, (SkipReason, String)> {
        let bad = |problem: String| (SkipReason::BadCaption, format!("{extension}: {problem}"));
        let text = str::from_utf8(bytes).map_err(|error| bad(format!("not UTF-8: {error}")))?;
        let caption = match self {
            Self::Text { .. } => text.to_string(),
            Self::Json { key, .. } => {
                let value: Value = serde_json::from_str(text)
                    .map_err(|error| bad(format!("not JSON: {error}")))?;
                match value.get(key) {
                    Some(Value::String(caption)) => caption.clone(),
                    Some(_) => return Err(bad(format!("`{key}` is not a string"))),
                    None => {
                        return Err((
                            SkipReason::NoCaption,
                            format!("{extension}: missing key `{key}`"),
                        ));
                    }
                }
            }
            Self::Class { names, .. } => {
                let index: Option<usize> = text.trim().parse().ok();
                let name = index.and_then(|index| names.get(index));
                name.cloned().ok_or_else(|| {
                    bad(format!(
                        "expected a class index from 0 to {}",
                        names.len().saturating_sub(1)
                    ))
                })?
            }
        };
        if caption.trim().is_empty() {
            return Err((
                SkipReason::NoCaption,
                format!("{extension}: the caption is empty"),
            ));
        }
        Ok(caption)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(fields: &SampleFields, files: &[(&str, &[u8])]) -> Result<String, SkipReason> {
        let mut group = SampleFiles::new("k".to_string());
        for (name, bytes) in files {
            group.seen.push(name.to_string());
            if fields.limit(name).is_some() {
                group.files.insert(name.to_string(), bytes.to_vec());
            }
        }
        fields
            .take(group, "k")
            .map(|(_, caption)| caption)
            .map_err(|skipped| skipped.reason)
    }

    #[test]
    fn the_first_source_present_provides_the_caption() {
        let fields = SampleFields::default();
        let json: &[u8] = br#"{"caption": "from json"}"#;
        assert_eq!(
            taken(&fields, &[("jpg", b"x"), ("txt", b"a \n"), ("json", json)]),
            Ok("a \n".to_string())
        );
        assert_eq!(
            taken(&fields, &[("png", b"x"), ("json", json)]),
            Ok("from json".to_string())
        );
        assert_eq!(taken(&fields, &[("jpg", b"x")]), Err(SkipReason::NoCaption));
        assert_eq!(
            taken(&fields, &[("jpg", b"x"), ("txt", b" \n")]),
            Err(SkipReason::NoCaption)
        );
        assert_eq!(taken(&fields, &[("txt", b"a")]), Err(SkipReason::NoImage));
        assert_eq!(
            taken(&fields, &[("jpg", b"x"), ("txt", b"\xff")]),
            Err(SkipReason::BadCaption)
        );
        assert_eq!(
            taken(&fields, &[("jpg", b"x"), ("json", b"[1]")]),
            Err(SkipReason::NoCaption)
        );
        assert_eq!(
            taken(&fields, &[("jpg", b"x"), ("json", b"{\"caption\": 3}")]),
            Err(SkipReason::BadCaption)
        );
        assert_eq!(
            taken(&fields, &[("jpg", b"x"), ("json", b"{")]),
            Err(SkipReason::BadCaption)
        );
    }

    #[test]
    fn patterns_name_extensions_that_differ() {
        let fields = SampleFields {
            images: vec!["*.jpg".to_string()],
            captions: vec![CaptionField::Text {
                extension: "*.txt".to_string(),
            }],
            ..SampleFields::default()
        };
        let sample =
            |image: &str, caption: &str| taken(&fields, &[(image, b"x"), (caption, b"a cat")]);
        assert_eq!(sample("03.jpg", "03.txt"), Ok("a cat".to_string()));
        assert_eq!(sample("jpg", "x.y.txt"), Ok("a cat".to_string()));
        assert_eq!(sample("notjpg", "txt"), Err(SkipReason::NoImage));
        let several: &[(&str, &[u8])] = &[("1.jpg", b"x"), ("2.jpg", b"x"), ("1.txt", b"a")];
        assert_eq!(taken(&fields, several), Err(SkipReason::NoImage));
    }

    #[test]
    fn a_missing_file_is_reported_with_those_present() {
        let mut group = SampleFiles::new("k".to_string());
        group.seen = vec!["input.jpg".to_string(), "outputs.txt".to_string()];
        let skipped = SampleFields::default().take(group, "k").unwrap_err();
        assert_eq!(
            skipped.detail,
            "expected one of the files txt, json, got input.jpg, outputs.txt"
        );
    }

    #[test]
    fn class_indices_become_names() {
        let names = vec!["cat".to_string(), "dog".to_string()];
        let captions = vec![CaptionField::Class {
            extension: "cls".to_string(),
            names,
        }];
        let fields = SampleFields {
            captions,
            ..SampleFields::default()
        };
        assert_eq!(
            taken(&fields, &[("jpg", b"x"), ("cls", b"1\n")]),
            Ok("dog".to_string())
        );
        for wrong in [&b"2"[..], b"-1", b"dog", b""] {
            assert_eq!(
                taken(&fields, &[("jpg", b"x"), ("cls", wrong)]),
                Err(SkipReason::BadCaption)
            );
        }
    }
}
