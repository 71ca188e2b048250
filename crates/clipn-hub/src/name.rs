use std::fmt;
use std::path::{Path, PathBuf};

use super::table::{self, Row};
use super::{DownloadError, Origin};
use clipn_model::Pretrained;

/// What stands for weights on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// A file or folder.
    Path(PathBuf),
    /// A repository of the hub.
    Hub(HubName),
    /// One of open_clip's tags for an architecture.
    Tag(&'static Row),
}

impl Name {
    /// Tells which it is: `hf-hub:…`, something that lies there, the built-in model, a tag of the architecture `model`,
    /// or a path.
    ///
    /// # Errors
    /// [`DownloadError::Name`]; a tag without its architecture, or one that the architecture does not have.
    pub fn of(given: &Path, model: Option<&str>) -> Result<Self, DownloadError> {
        let path = || Self::Path(given.to_owned());
        let Some(text) = given.to_str() else {
            return Ok(path());
        };
        if text.starts_with(HubName::PREFIX) {
            return HubName::parse(text).map(Self::Hub);
        }
        let is_there = || given.exists() || Pretrained::is_mini(given);
        if text.contains(['/', '\\', '.']) || text.is_empty() || is_there() {
            return Ok(path());
        }
        let of_tag: Vec<&Row> = table::rows()
            .iter()
            .filter(|row| row.has_tag(text))
            .collect();
        let Some(model) = model else {
            return match of_tag.is_empty() {
                true => Ok(path()),
                false => Err(DownloadError::TagWithoutModel {
                    tag: text.to_owned(),
                    models: listed(of_tag.iter().map(|row| row.model)),
                }),
            };
        };
        if let Some(row) = of_tag.into_iter().find(|row| row.is_of(model)) {
            return Ok(Self::Tag(row));
        }
        let known: Vec<&str> = table::rows_of(model).map(|row| row.tag).collect();
        Err(DownloadError::UnknownTag {
            tag: text.to_owned(),
            model: model.to_owned(),
            known: listed(known.into_iter()),
        })
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
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

/// A repository on the hub, and what of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubName {
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) file: Option<String>,
    pub(super) revision: String,
}

impl HubName {
    /// What names of repositories begin with, as in open_clip.
    pub const PREFIX: &str = "hf-hub:";

    /// Reads `hf-hub:OWNER/NAME`, with a file of the repository after a further `/` and a branch, tag or commit after
    /// `@`, where they are meant.
    ///
    /// # Errors
    /// [`DownloadError::Name`]: not of this form, or with parts that no repository can have.
    pub fn parse(given: &str) -> Result<Self, DownloadError> {
        let wrong = |problem| DownloadError::Name {
            given: shown(given),
            problem,
        };
        let rest = given
            .strip_prefix(Self::PREFIX)
            .ok_or_else(|| wrong("it does not begin with `hf-hub:`"))?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let mut parts = path.splitn(3, '/');
        let (Some(owner), Some(name)) = (parts.next(), parts.next()) else {
            return Err(wrong("it has no owner before the name"));
        };
        if !is_repository_part(owner) || !is_repository_part(name) {
            return Err(wrong(
                "owner and name have letters, digits, and `-`, `_` and `.` between them, at most 96 characters",
            ));
        }
        let file = parts.next().map(str::to_owned);
        if file.as_deref().is_some_and(|file| !is_inside(file)) {
            return Err(wrong("its file must be a plain path inside the repository"));
        }
        if !is_inside(revision) {
            return Err(wrong(
                "its revision must be the name of a branch or tag, or a commit",
            ));
        }
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            file,
            revision: revision.to_owned(),
        })
    }

    /// The name of the repository alone, without its owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `OWNER/NAME`.
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

/// A name as an error shows it: not longer than it must be, nothing that moves the cursor.
fn shown(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Whether it can be an owner or a repository. No `--`, which the cache puts between the two.
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

/// Whether a file or revision, with `/` between its parts, stays inside the folder that it is looked for in, on every
/// system.
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

/// Whether it is the whole hash of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_repositories() {
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
    fn names_that_lead_out_of_the_cache_are_none() {
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
        fn whatever_is_a_name_stays_inside_and_reads_as_it_is_shown(
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
    fn a_path_stays_a_path() {
        for path in ["epoch_10.pt", "models/openai", "nowhere", ".", "/"] {
            assert_eq!(
                Name::of(Path::new(path), None).unwrap(),
                Name::Path(path.into()),
                "{path}"
            );
        }
        // Something of that name lies there.
        assert_eq!(
            Name::of(Path::new("src"), Some("ViT-B-32")).unwrap(),
            Name::Path("src".into())
        );
    }

    #[test]
    fn tags_go_with_an_architecture() {
        let of = |tag: &str, model: Option<&str>| Name::of(Path::new(tag), model);
        for (model, tag) in [
            ("ViT-B-16", "openai"),
            ("ViT-B-16-quickgelu", "OpenAI"),
            ("vit-b/16", "openai"),
        ] {
            let Name::Tag(row) = of(tag, Some(model)).unwrap() else {
                panic!("{model} {tag}")
            };
            assert_eq!((row.model, row.tag), ("ViT-B-16-quickgelu", "openai"));
        }
        let Name::Tag(row) = of("laion2b-s34b-b88k", Some("ViT-B-16")).unwrap() else {
            panic!()
        };
        assert_eq!((row.model, row.tag), ("ViT-B-16", "laion2b_s34b_b88k"));

        let error = of("laion2b_s34b_b88k", None).unwrap_err().to_string();
        assert!(
            error.contains("--model") && error.contains("ViT-B-16, ViT-g-14"),
            "{error}"
        );
        let error = of("laion3b", Some("ViT-B-16")).unwrap_err().to_string();
        assert!(
            error.contains("laion2b_s34b_b88k") && error.contains("openai"),
            "{error}"
        );
        // QuickGELU is not what these were trained with.
        assert!(of("laion2b_s34b_b88k", Some("ViT-B-16-quickgelu")).is_err());
    }
}
