//! Proxies from the usual environment variables.
//!
//! [`Proxy::new`] parses the URLs. ureq's `Proxy::try_from_env` selects none of the proxies here: it
//! has one proxy for both schemes, prefers `ALL_PROXY` to `HTTPS_PROXY`, uses no proxy if its URL is
//! invalid, and its `NO_PROXY` knows neither subdomains of a plain domain, ports nor CIDR ranges.

use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use crate::env::EnvVars;
use crate::error::DownloadError;
use crate::http::redirect::origin;

/// Proxies by URL scheme, and hosts that are reached directly. Default: no proxy.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    no_proxy: Vec<String>,
}

impl Proxies {
    /// Reads `HTTPS_PROXY` and `HTTP_PROXY` for their schemes, with `ALL_PROXY` as the fallback,
    /// and the exceptions in `NO_PROXY`. Lower-case names take precedence.
    pub(super) fn from_env_vars(variables: &EnvVars<'_>) -> Result<Self, DownloadError> {
        let no_proxy = variables
            .get("no_proxy")
            .or_else(|| variables.get("NO_PROXY"));
        Ok(Self {
            http: proxy(
                variables,
                ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
            )?,
            https: proxy(
                variables,
                ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
            )?,
            no_proxy: no_proxy
                .unwrap_or_default()
                .to_string_lossy()
                .split([',', ' '])
                .map(|entry| entry.trim().to_ascii_lowercase())
                .filter(|entry| !entry.is_empty())
                .collect(),
        })
    }

    /// Proxy for a URL; `None` for a direct connection.
    pub(super) fn for_uri(&self, uri: &Uri) -> Option<&Proxy> {
        let (scheme, host, port) = origin(uri);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if self.no_proxy.iter().any(|entry| matches(entry, host, port)) {
            return None;
        }
        if scheme == "https" {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }
    }
}

/// Proxy from the first of the variables that is set.
fn proxy(
    variables: &EnvVars<'_>,
    names: [&'static str; 4],
) -> Result<Option<Proxy>, DownloadError> {
    let set = names
        .into_iter()
        .find_map(|name| Some((name, variables.get(name)?)));
    let Some((variable, value)) = set else {
        return Ok(None);
    };
    // The message does not contain the value, which may include a password.
    Proxy::new(value.to_string_lossy().trim())
        .map(Some)
        .map_err(|_| DownloadError::Environment {
            variable,
            problem: "must be a proxy URL such as http://HOST:PORT or socks5://HOST:PORT"
                .to_owned(),
        })
}

/// Whether an entry of `NO_PROXY` matches the host: `*`, a domain with its subdomains, an IP
/// address, or a CIDR range such as `10.0.0.0/8`. Domains may have a port.
fn matches(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        if let Some((network, bits)) = entry.split_once('/') {
            return match (network.parse(), bits.parse()) {
                (Ok(network), Ok(bits)) => is_within(address, network, bits),
                _ => false,
            };
        }
        let entry = entry.trim_start_matches('[').trim_end_matches(']');
        if let Ok(other) = entry.parse::<IpAddr>() {
            return other == address;
        }
    }
    let (domain, only) = match entry.rsplit_once(':') {
        Some((domain, digits)) if !domain.contains(':') => match digits.parse::<u16>() {
            Ok(only) => (domain, Some(only)),
            Err(_) => return false,
        },
        _ => (entry, None),
    };
    let domain = domain.trim_start_matches('*').trim_start_matches('.');
    let is_subdomain = || {
        host.strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    only.is_none_or(|only| only == port) && !domain.is_empty() && (host == domain || is_subdomain())
}

/// Whether an address is in the CIDR range `network/bits`.
fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (difference, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits() ^ b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits(), 128),
        _ => return false,
    };
    bits <= width && difference.checked_shr(width - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, DownloadError> {
        let get = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        Proxies::from_env_vars(&EnvVars::new(&get))
    }

    fn proxy_host(variables: &[(&str, &str)], uri: &str) -> Option<String> {
        proxies(variables)
            .unwrap()
            .for_uri(&uri.parse().unwrap())
            .map(|proxy| proxy.host().to_owned())
    }

    #[test]
    fn selects_proxy_by_scheme() {
        let variables = [
            ("HTTPS_PROXY", "http://safe:1"),
            ("HTTP_PROXY", "http://plain:1"),
            ("ALL_PROXY", "http://all:1"),
        ];
        assert_eq!(
            proxy_host(&variables, "https://a.test/").as_deref(),
            Some("safe")
        );
        assert_eq!(
            proxy_host(&variables, "http://a.test/").as_deref(),
            Some("plain")
        );
        assert_eq!(
            proxy_host(&variables[1..], "https://a.test/").as_deref(),
            Some("all")
        );
        assert_eq!(proxy_host(&[], "https://a.test/"), None);
        let both_cases = [
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "socks5h://lower:1"),
        ];
        assert_eq!(
            proxy_host(&both_cases, "https://a.test/").as_deref(),
            Some("lower")
        );
    }

    #[test]
    fn no_proxy_matches_hosts_domains_and_ranges() {
        let is_direct = |exceptions: &str, uri: &str| {
            proxy_host(
                &[("ALL_PROXY", "http://p:1"), ("NO_PROXY", exceptions)],
                uri,
            )
            .is_none()
        };
        for (exceptions, uri) in [
            ("*", "https://a.test/"),
            ("b.test, A.test", "https://a.test/"),
            ("a.test", "https://x.a.test/"),
            (".a.test", "https://x.a.test/"),
            ("*.a.test", "https://x.a.test/"),
            ("a.test:8443", "https://a.test:8443/"),
            ("127.0.0.1", "http://127.0.0.1:80/"),
            ("10.0.0.0/8", "http://10.200.3.4/"),
            ("0.0.0.0/0", "http://10.200.3.4/"),
            ("::/0", "http://[fd12::1]/"),
            ("::1", "http://[::1]:9/"),
            ("fd00::/8", "http://[fd12::1]/"),
        ] {
            assert!(is_direct(exceptions, uri), "{exceptions} {uri}");
        }
        for (exceptions, uri) in [
            ("", "https://a.test/"),
            ("a.test", "https://ba.test/"),
            ("a.test:8443", "https://a.test/"),
            ("10.0.0.0/8", "http://11.0.0.1/"),
            ("10.0.0.0/99", "http://10.0.0.1/"),
            (".", "https://a.test/"),
            ("127.0.0.1", "http://127.0.0.2/"),
        ] {
            assert!(!is_direct(exceptions, uri), "{exceptions} {uri}");
        }
    }

    #[test]
    fn output_does_not_contain_the_password() {
        let valid = proxies(&[("HTTPS_PROXY", "http://me:secret@p:1")]).unwrap();
        assert!(!format!("{valid:?}").contains("secret"), "{valid:?}");
        let error = proxies(&[("HTTPS_PROXY", "gopher://me:secret@p")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("HTTPS_PROXY") && !error.contains("secret"),
            "{error}"
        );
    }
}
