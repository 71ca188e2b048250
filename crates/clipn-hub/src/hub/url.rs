use ureq::http::Uri;

use crate::error::DownloadError;
use crate::http::HubClient;

/// URL on the hub from an percent_encode path.
pub(super) fn hub_url(client: &HubClient<'_>, path: &str) -> Result<Uri, DownloadError> {
    let endpoint = &client.network().endpoint;
    format!("{endpoint}/{path}")
        .parse()
        .map_err(|_| DownloadError::NotAHub {
            host: endpoint.clone(),
            problem: "invalid URL".to_owned(),
        })
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3) and `keep`.
pub(super) fn percent_encode(text: &str, keep: char) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric()
            || matches!(c, '-' | '.' | '_' | '~')
            || (c == keep && c.is_ascii())
        {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encodes_reserved_characters() {
        assert_eq!(percent_encode("refs/pr/1", '.'), "refs%2Fpr%2F1");
        assert_eq!(
            percent_encode("a b/é?#%.pt", '/'),
            "a%20b/%C3%A9%3F%23%25.pt"
        );
    }
}
