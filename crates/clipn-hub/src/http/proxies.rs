use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use super::redirect::origin;
use crate::DownloadError;
use crate::settings::EnvVars;

/// Proxies by URL scheme, and hosts that are reached directly, from the usual environment
/// variables.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<String>,
}

impl Proxies {
    /// Reads `HTTPS_PROXY` and `HTTP_PROXY` for their schemes, with `ALL_PROXY` as the fallback,
    /// and the exceptions in `NO_PROXY`. Lower-case names take precedence.
    pub(super) fn from_lookup(variables: &EnvVars<'_>) -> Result<Self, DownloadError> {
        let all = [("all_proxy", "ALL_PROXY")];
        Ok(Self {
            http: first(variables, [("http_proxy", "HTTP_PROXY")].iter().chain(&all))?,
            https: first(
                variables,
                [("https_proxy", "HTTPS_PROXY")].iter().chain(&all),
            )?,
            exceptions: any_case(variables, "no_proxy", "NO_PROXY")
                .unwrap_or_default()
                .split([',', ' '])
                .map(|entry| entry.trim().to_ascii_lowercase())
                .filter(|entry| !entry.is_empty())
                .collect(),
        })
    }

    /// Proxy for a URL; `None` for a direct connection.
    pub(super) fn of(&self, uri: &Uri) -> Option<&Proxy> {
        let (scheme, host, port) = origin(uri);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if self
            .exceptions
            .iter()
            .any(|entry| matches_exception(entry, host, port))
        {
            return None;
        }
        if scheme == "https" {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }
    }
}

fn any_case(variables: &EnvVars<'_>, lower: &str, upper: &str) -> Option<String> {
    variables
        .get(lower)
        .or_else(|| variables.get(upper))
        .map(|value| value.to_string_lossy().into_owned())
}

fn first<'a>(
    variables: &EnvVars<'_>,
    names: impl Iterator<Item = &'a (&'static str, &'static str)>,
) -> Result<Option<Proxy>, DownloadError> {
    for (lower, upper) in names {
        if let Some(value) = any_case(variables, lower, upper) {
            let variable = if variables.get(lower).is_some() {
                lower
            } else {
                upper
            };
            // The message does not contain the value, which may include a password.
            let problem =
                "must be a proxy URL such as http://HOST:PORT or socks5://HOST:PORT".to_owned();
            return Proxy::new(value.trim())
                .map(Some)
                .map_err(|_| DownloadError::Environment { variable, problem });
        }
    }
    Ok(None)
}

/// Whether an entry of `NO_PROXY` matches the host: `*`, a domain with its subdomains, an IP
/// address, or a CIDR range such as `10.0.0.0/8`. Domains may have a port.
fn matches_exception(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        if let Some((network, bits)) = entry.split_once('/') {
            let (Ok(network), Ok(bits)) = (network.parse(), bits.parse()) else {
                return false;
            };
            return is_within(address, network, bits);
        }
        if let Ok(other) = entry
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
        {
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
    let is_below = || {
        host.strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    only.is_none_or(|only| only == port) && !domain.is_empty() && (host == domain || is_below())
}

/// Whether an address is in the CIDR range `network/bits`.
fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) if bits <= 32 => {
            bits == 0 || (a.to_bits() ^ b.to_bits()) >> (32 - bits) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if bits <= 128 => {
            bits == 0 || (a.to_bits() ^ b.to_bits()) >> (128 - bits) == 0
        }
        _ => false,
    }
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
        Proxies::from_lookup(&EnvVars::new(&get))
    }

    fn proxy_host(variables: &[(&str, &str)], uri: &str) -> Option<String> {
        proxies(variables)
            .unwrap()
            .of(&uri.parse().unwrap())
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
    fn invalid_proxy_error_does_not_contain_the_password() {
        let error = proxies(&[("HTTPS_PROXY", "gopher://me:secret@p")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("HTTPS_PROXY") && !error.contains("secret"),
            "{error}"
        );
    }
}
