//! Names of the columns or keys that hold images and captions.

/// Other usual names of images, if the default is missing.
pub(crate) const IMAGE_KEYS: [&str; 5] = ["image", "image_path", "file_name", "path", "img"];

/// Other usual names of captions, if the default is missing.
pub(crate) const CAPTION_KEYS: [&str; 4] = ["caption", "text", "label", "prompt"];

/// Maximum number of keys in a message.
const MAX_SHOWN: usize = 8;

/// Returns the wanted key if it exists, or else, if it is the default, the first usual one.
pub(crate) fn find_key<'a>(
    keys: &[&'a str],
    wanted: &str,
    default: &str,
    usual: &[&str],
) -> Option<&'a str> {
    let find = |name: &str| keys.iter().copied().find(|key| *key == name);
    let found = find(wanted);
    if wanted != default {
        return found;
    }
    found.or_else(|| usual.iter().find_map(|name| find(name)))
}

/// Lists the first keys, each in quotes and cut.
pub(crate) fn list_keys<S: AsRef<str>>(keys: &[S]) -> String {
    let shown: Vec<String> = keys
        .iter()
        .take(MAX_SHOWN)
        .map(|key| format!("`{:.40}`", key.as_ref().escape_debug().to_string()))
        .collect();
    let more = if keys.len() > MAX_SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_default_is_replaced() {
        let keys = ["id", "image", "text"];
        let image = |wanted| find_key(&keys, wanted, "filepath", &IMAGE_KEYS);
        assert_eq!(image("filepath"), Some("image"));
        assert_eq!(image("id"), Some("id"));
        assert_eq!(image("photo"), None);
        assert_eq!(
            find_key(&["filepath", "image"], "filepath", "filepath", &IMAGE_KEYS),
            Some("filepath")
        );
        assert_eq!(list_keys(&["a\u{1b}"]), "`a\\u{1b}`");
    }
}
