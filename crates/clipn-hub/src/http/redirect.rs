use ureq::http::Uri;

/// PretrainedSource of a URL: scheme, host and port, in lower case.
pub(super) fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let port = uri
        .port_u16()
        .unwrap_or(if scheme == "https" { 443 } else { 80 });
    (
        scheme,
        uri.host().unwrap_or_default().to_ascii_lowercase(),
        port,
    )
}

/// Host for messages, with its port if the URL has one.
pub(super) fn host(uri: &Uri) -> String {
    let (_, host, port) = origin(uri);
    match uri.port_u16() {
        Some(_) => format!("{host}:{port}"),
        None => host,
    }
}

/// URL without its query, which may contain signatures.
pub(super) fn without_query(uri: &Uri) -> String {
    format!(
        "{}://{}{}",
        uri.scheme_str().unwrap_or_default(),
        host(uri),
        uri.path()
    )
}

/// Resolves `location` against `base` (RFC 3986, section 5.2, without `..`, which servers resolve).
pub(super) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default().trim();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?.as_str());
    let joined = if location.is_empty() {
        return None;
    } else if location
        .split_once("://")
        .is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
    {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let parent = base
            .path()
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent);
        format!("{scheme}://{authority}{parent}/{location}")
    };
    joined.parse().ok()
}

/// Reason why a redirect must not be followed; `None` if it is allowed.
pub(super) fn redirect_error(from: &Uri, to: &Uri) -> Option<&'static str> {
    match (from.scheme_str(), to.scheme_str()) {
        (_, Some("https")) | (Some("http"), Some("http")) => {}
        (Some("https"), Some("http")) => return Some("downgrade from HTTPS to HTTP"),
        _ => return Some("not an HTTP URL"),
    }
    if to.host().is_none_or(str::is_empty) {
        return Some("no host in the URL");
    }
    to.authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
        .then_some("user name in the URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn resolves_locations() {
        let base = uri("https://hub.test:8443/a/b/resolve/main/x?y=1");
        for (location, joined) in [
            ("https://cdn.test/f?sig=1#top", "https://cdn.test/f?sig=1"),
            ("//cdn.test/f", "https://cdn.test/f"),
            (
                "/api/x?u=http://z",
                "https://hub.test:8443/api/x?u=http://z",
            ),
            ("z", "https://hub.test:8443/a/b/resolve/main/z"),
            ("?z=2", "https://hub.test:8443/a/b/resolve/main/x?z=2"),
        ] {
            assert_eq!(join(&base, location).unwrap(), uri(joined), "{location}");
        }
        assert_eq!((join(&base, ""), join(&base, "#x")), (None, None));
    }

    #[test]
    fn refuses_unsafe_redirects() {
        let (safe, plain) = (uri("https://a/"), uri("http://a/"));
        assert_eq!(redirect_error(&safe, &uri("https://b/")), None);
        assert_eq!(redirect_error(&plain, &uri("http://b/")), None);
        assert_eq!(redirect_error(&plain, &safe), None);
        for to in ["http://b/", "ftp://b/", "https://user:word@b/"] {
            assert!(redirect_error(&safe, &uri(to)).is_some(), "{to}");
        }
    }

    #[test]
    fn origin_is_scheme_host_and_port() {
        assert_eq!(
            origin(&uri("https://A.test/x")),
            origin(&uri("https://a.test:443/y"))
        );
        assert_ne!(
            origin(&uri("https://a.test/")),
            origin(&uri("http://a.test/"))
        );
        assert_ne!(
            origin(&uri("http://a.test:1/")),
            origin(&uri("http://a.test:2/"))
        );
        assert_eq!(
            without_query(&uri("https://a.test/x?secret=1")),
            "https://a.test/x"
        );
    }
}
