use std::fmt;
use std::str::FromStr;

use crate::error::DownloadError;

/// Repository on Hugging Face's hub, with an optional file and a revision.
///
/// ```
/// use clipn_hub::HubName;
///
/// let name: HubName = "hf-hub:laion/CLIP-ViT-B-16-laion2B-s34B-b88K@main".parse()?;
/// assert_eq!(name.repo_id(), "laion/CLIP-ViT-B-16-laion2B-s34B-b88K");
/// # Ok::<(), clipn_hub::DownloadError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubName {
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) file: Option<String>,
    pub(crate) revision: String,
}

impl HubName {
    /// Prefix of repository names, as in open_clip.
    pub const PREFIX: &str = "hf-hub:";

    /// Parses `hf-hub:OWNER/NAME[/FILE][@REVISION]`. The revision is a branch, tag or commit; the
    /// default is `main`.
    ///
    /// # Errors
    /// [`DownloadError::InvalidName`] if the name does not have this form, or if a part contains
    /// characters that the hub does not allow.
    pub fn parse(given: &str) -> Result<Self, DownloadError> {
        let wrong = |problem| DownloadError::InvalidName {
            name: sanitized(given),
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
        if file.as_deref().is_some_and(|file| !is_safe_path(file)) {
            return Err(wrong(
                "the file must be a relative path inside the repository",
            ));
        }
        if !is_safe_path(revision) {
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
    pub fn repo_id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// `hf-hub:OWNER/NAME`, without file and revision.
    pub(crate) fn without_revision(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.owner, self.name)
    }
}

impl FromStr for HubName {
    type Err = DownloadError;

    /// Same as [`HubName::parse`].
    fn from_str(text: &str) -> Result<Self, DownloadError> {
        Self::parse(text)
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.without_revision())?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        match self.revision.as_str() {
            "main" => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

/// A name for use in a message: cut to 200 characters, control characters escaped.
fn sanitized(text: &str) -> String {
    clipn_base::text::escape_control(text, 200).into_owned()
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
pub(crate) fn is_safe_path(path: &str) -> bool {
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
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_repository_names() {
        let name = HubName::parse("hf-hub:laion/CLIP-ViT-B-16").unwrap();
        assert_eq!(
            (name.repo_id().as_str(), name.revision.as_str()),
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
                    matches!(
                        HubName::parse(&given),
                        Err(DownloadError::InvalidName { .. })
                    ),
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
                matches!(
                    HubName::parse(given),
                    Err(DownloadError::InvalidName { .. })
                ),
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
}
