use std::fmt;
use std::path::{Path, PathBuf};

use super::table::{self, Row};
use super::{DownloadError, Origin};
use clipn_model::Pretrained;

/// Name of weights: a path, a repository on the hub, or a tag of open_clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// File or directory, which may not exist.
    Path(PathBuf),
    /// Repository on Hugging Face's hub, or a file of it.
    Hub(HubName),
    /// Tag of open_clip for an architecture.
    Tag(&'static Row),
}

impl Name {
    /// Parses a name.
    ///
    /// A name with the prefix `hf-hub:` is a repository. A name with `/`, `\` or `.`, an existing
    /// file and the built-in model are paths. Any other name is a tag of the architecture `model`;
    /// without `model` it is a path, unless open_clip has such a tag.
    ///
    /// # Errors
    /// - [`DownloadError::Name`] if the name of a repository is invalid.
    /// - [`DownloadError::TagWithoutModel`] if a tag is given without `model`.
    /// - [`DownloadError::UnknownTag`] if `model` has no such tag.
    pub fn of(given: &Path, model: Option<&str>) -> Result<Self, DownloadError> {
        let path = || Self::Path(given.to_owned());
        let Some(text) = given.to_str() else {
            return Ok(path());
        };
        if text.starts_with(HubName::PREFIX) {
            return HubName::parse(text).map(Self::Hub);
        }
        let exists = || given.exists() || Pretrained::is_builtin_name(given);
        if text.contains(['/', '\\', '.']) || text.is_empty() || exists() {
            return Ok(path());
        }
        let with_tag: Vec<&Row> = table::rows()
            .iter()
            .filter(|row| row.has_tag(text))
            .collect();
        let Some(model) = model else {
            return if with_tag.is_empty() {
                Ok(path())
            } else {
                Err(DownloadError::TagWithoutModel {
                    tag: text.to_owned(),
                    models: join(with_tag.iter().map(|row| row.model)),
                })
            };
        };
        if let Some(row) = with_tag.into_iter().find(|row| row.is_of(model)) {
            return Ok(Self::Tag(row));
        }
        let known: Vec<&str> = table::rows_of(model).map(|row| row.tag).collect();
        Err(DownloadError::UnknownTag {
            tag: text.to_owned(),
            model: model.to_owned(),
            known: join(known.into_iter()),
        })
    }
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Hub(name) => write!(f, "{name}"),
            Self::Tag(row) => match &row.origin {
                Origin::Hub(name) => write!(f, "{} of {} ({name})", row.tag, row.model),
                Origin::Url { .. } => write!(f, "{} of {}", row.tag, row.model),
            },
        }
    }
}

/// Repository on Hugging Face's hub, with an optional file and a revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubName {
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) file: Option<String>,
    pub(super) revision: String,
}

impl HubName {
    /// Prefix of repository names, as in open_clip.
    pub const PREFIX: &str = "hf-hub:";

    /// Parses `hf-hub:OWNER/NAME[/FILE][@REVISION]`. The revision is a branch, tag or commit; the
    /// default is `main`.
    ///
    /// # Errors
    /// [`DownloadError::Name`] if the name does not have this form, or if a part contains
    /// characters that the hub does not allow.
    pub fn parse(given: &str) -> Result<Self, DownloadError> {
        let wrong = |problem| DownloadError::Name {
            given: sanitized(given),
            problem,
        };
        let rest = given
            .strip_prefix(Self::PREFIX)
            .ok_or_else(|| wrong("missing prefix `hf-hub:`"))?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let mut parts = path.splitn(3, '/');
        let (Some(owner), Some(name)) = (parts.next(), parts.next()) else {
            return Err(wrong("missing owner"));
        };
        if !is_repository_part(owner) || !is_repository_part(name) {
            return Err(wrong(
                "owner and name must have 1 to 96 letters and digits, with `-`, `_` and `.` between them",
            ));
        }
        let file = parts.next().map(str::to_owned);
        if file.as_deref().is_some_and(|file| !is_inside(file)) {
            return Err(wrong(
                "the file must be a relative path inside the repository",
            ));
        }
        if !is_inside(revision) {
            return Err(wrong("the revision must be a branch, a tag or a commit"));
        }
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            file,
            revision: revision.to_owned(),
        })
    }

    /// Name of the repository without its owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Repository ID, `OWNER/NAME`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// `hf-hub:OWNER/NAME`, without file and revision.
    pub(super) fn short(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.owner, self.name)
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short())?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        match self.revision.as_str() {
            "main" => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

/// A name for use in a message: truncated to 200 characters, control characters replaced.
fn sanitized(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Whether `part` is a valid owner or repository name. `--` is excluded, because the cache uses it
/// as a separator.
fn is_repository_part(part: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    (1..=96).contains(&part.len())
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && is_end(part.chars().next())
        && is_end(part.chars().next_back())
        && !part.contains("--")
        && !part.contains("..")
}

/// Whether a file or revision, with `/` between its parts, cannot leave its base directory on any
/// operating system.
pub(super) fn is_inside(path: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.len() <= 255
            && !part.ends_with(['.', ' '])
            && !part.starts_with(' ')
            && !part.contains(['\\', ':', '*', '?', '"', '<', '>', '|'])
            && !part.chars().any(char::is_control)
    };
    path.len() <= 1024 && path.split('/').all(is_part)
}

/// Whether `text` is a complete commit hash: 40 or 64 lower-case hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_repository_names() {
        let name = HubName::parse("hf-hub:laion/CLIP-ViT-B-16").unwrap();
        assert_eq!(
            (name.repository().as_str(), name.revision.as_str()),
            ("laion/CLIP-ViT-B-16", "main")
        );
        assert_eq!(name.to_string(), "hf-hub:laion/CLIP-ViT-B-16");
        let name = HubName::parse("hf-hub:a/b_.c/epochs/epoch_10.pt@refs/pr/1").unwrap();
        assert_eq!(name.file.as_deref(), Some("epochs/epoch_10.pt"));
        assert_eq!(name.revision, "refs/pr/1");
        assert_eq!(
            name.to_string(),
            "hf-hub:a/b_.c/epochs/epoch_10.pt@refs/pr/1"
        );
    }

    #[test]
    fn rejects_names_that_leave_the_cache() {
        let parts = [
            "", ".", "..", "-a", "a-", ".a", "a.", "a--b", "a..b", "a b", "a\\b", "a:b", "ä",
            "a\0b",
        ];
        let long = "a".repeat(97);
        for part in parts.into_iter().chain([long.as_str()]) {
            for given in [format!("hf-hub:{part}/b"), format!("hf-hub:a/{part}")] {
                assert!(
                    matches!(HubName::parse(&given), Err(DownloadError::Name { .. })),
                    "{given}"
                );
            }
        }
        for given in [
            "hf-hub:",
            "hf-hub:a",
            "hf-hub:a/b@",
            "hf-hub:a/b@..",
            "hf-hub:a/b@../../x",
            "hf-hub:a/b@/etc",
            "hf-hub:a/b/",
            "hf-hub:a/b/../c",
            "hf-hub:a/b//c",
            "hf-hub:a/b/c/..",
            "hf-hub:a/b/C:x",
            "hf-hub:a/b@x\\..\\y",
            "a/b",
        ] {
            assert!(
                matches!(HubName::parse(given), Err(DownloadError::Name { .. })),
                "{given}"
            );
        }
    }

    proptest! {
        #[test]
        fn valid_names_stay_inside_the_cache_and_round_trip(
            rest in "[a-zA-Z0-9._/@:\\\\ -]{0,24}|\\PC{0,12}|[a-c.]{1,3}/[a-c.-]{1,4}(/[a-c./]{1,6})?(@[a-c./]{1,6})?",
        ) {
            let Ok(name) = HubName::parse(&format!("hf-hub:{rest}")) else { return Ok(()) };
            prop_assert_eq!(&HubName::parse(&name.to_string()).unwrap(), &name);
            let parts = [Some(&name.owner), Some(&name.name), name.file.as_ref(), Some(&name.revision)];
            for part in parts.into_iter().flatten() {
                prop_assert!(!part.is_empty() && !part.contains('\\'));
                let is_normal = |part| matches!(part, std::path::Component::Normal(_));
                prop_assert!(Path::new(part).components().all(is_normal), "{part:?}");
            }
        }
    }

    #[test]
    fn other_names_are_paths() {
        for path in ["epoch_10.pt", "models/openai", "nowhere", ".", "/"] {
            assert_eq!(
                Name::of(Path::new(path), None).unwrap(),
                Name::Path(path.into()),
                "{path}"
            );
        }
        // A file or directory of that name exists.
        assert_eq!(
            Name::of(Path::new("src"), Some("ViT-B-32")).unwrap(),
            Name::Path("src".into())
        );
    }

    #[test]
    fn tags_need_an_architecture() {
        let parse = |tag: &str, model: Option<&str>| Name::of(Path::new(tag), model);
        for (model, tag) in [
            ("ViT-B-16", "openai"),
            ("ViT-B-16-quickgelu", "OpenAI"),
            ("vit-b/16", "openai"),
        ] {
            let Name::Tag(row) = parse(tag, Some(model)).unwrap() else {
                panic!("{model} {tag}")
            };
            assert_eq!((row.model, row.tag), ("ViT-B-16-quickgelu", "openai"));
        }
        let Name::Tag(row) = parse("laion2b-s34b-b88k", Some("ViT-B-16")).unwrap() else {
            panic!()
        };
        assert_eq!((row.model, row.tag), ("ViT-B-16", "laion2b_s34b_b88k"));

        let error = parse("laion2b_s34b_b88k", None).unwrap_err().to_string();
        assert!(
            error.contains("needs an architecture") && error.contains("ViT-B-16, ViT-g-14"),
            "{error}"
        );
        let error = parse("laion3b", Some("ViT-B-16")).unwrap_err().to_string();
        assert!(
            error.contains("laion2b_s34b_b88k") && error.contains("openai"),
            "{error}"
        );
        // These weights were not trained with QuickGELU.
        assert!(parse("laion2b_s34b_b88k", Some("ViT-B-16-quickgelu")).is_err());
    }
}
