//! Which host a request was meant for. A browser sends requests of any web page to this machine too, and
//! a name that leads here by DNS makes such a page the same origin.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, shown};
use super::state::App;
use crate::ServeSettings;

/// Paths that say how the server is, and nothing of what it does.
const PROBES: [&str; 2] = ["/health", "/ready"];

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Middleware that refuses requests without a host, and those for other hosts or from other sites where
/// only this machine may send some.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match refusal(&app.settings, &request) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(settings: &ServeSettings, request: &Request) -> Option<ApiError> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Some(ApiError::bad_request("more than one Host header")),
        (None, _) if request.version() >= Version::HTTP_11 => {
            return Some(ApiError::bad_request("missing Host header"));
        }
        (host, _) => host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
    };
    if !settings.checks_hosts() {
        return None;
    }
    // Probes of Kubernetes and load balancers go to the address of the server, which its settings cannot know.
    let is_probe = !settings.host.is_loopback() && PROBES.contains(&request.uri().path());
    if let Some(host) = host.filter(|host| !is_probe && !is_allowed(settings, host)) {
        let message = format!("the host {} is not allowed", shown(&host));
        return Some(ApiError::new(403, "host_not_allowed", message));
    }
    if let Some(origin) = foreign_origin(settings, headers) {
        let message = format!("requests of {} are not allowed", shown(&origin));
        return Some(ApiError::new(403, "origin_not_allowed", message));
    }
    // A link on another site to a page of this server sends a GET without an origin.
    let is_cross_site = headers
        .get(FETCH_SITE)
        .is_some_and(|site| site == "cross-site");
    let is_page = request.method() == Method::GET && !request.uri().path().starts_with("/v1/");
    (is_cross_site && !is_page).then(|| {
        ApiError::new(
            403,
            "origin_not_allowed",
            "requests of other sites are not allowed",
        )
    })
}

/// The origin of a request that is neither missing nor an allowed host.
fn foreign_origin(settings: &ServeSettings, headers: &HeaderMap) -> Option<String> {
    let origin = String::from_utf8_lossy(headers.get(header::ORIGIN)?.as_bytes()).into_owned();
    let host = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    let is_known = host.is_some_and(|host| is_allowed(settings, host));
    (!is_known).then_some(origin)
}

/// Whether a host, with or without a port, is this machine or one of the settings.
fn is_allowed(settings: &ServeSettings, host: &str) -> bool {
    let name = without_port(host);
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    name.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|address| address.is_loopback() || address == settings.host)
        || settings
            .allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(host))
}

fn without_port(host: &str) -> &str {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (name.ends_with(']') || !name.contains(':')) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::keys::ApiKeys;

    fn code(settings: &ServeSettings, method: &str, path: &str, fields: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        refusal(settings, &request).map_or(200, |error| error.into_response().status().as_u16())
    }

    #[test]
    fn a_server_of_this_machine_answers_only_to_its_names() {
        let settings = ServeSettings::default();
        let host = |host: &str| code(&settings, "GET", "/v1/info", &[("host", host)]);
        for own in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:1",
            "127.3.2.1",
            "[::1]:80",
            "[::1]",
        ] {
            assert_eq!(host(own), 200, "{own}");
        }
        for other in [
            "evil.example",
            "evil.example:8080",
            "10.0.0.1",
            "localhost.evil",
            "",
            "[::2]",
        ] {
            assert_eq!(host(other), 403, "{other}");
        }
        assert_eq!(code(&settings, "GET", "/", &[]), 400);
        assert_eq!(
            code(&settings, "GET", "/", &[("host", "a"), ("host", "b")]),
            400
        );
    }

    #[test]
    fn pages_of_other_sites_can_link_here_but_not_send_requests() {
        let settings = ServeSettings::default();
        let post = |field: (&str, &str)| {
            code(
                &settings,
                "POST",
                "/v1/classify",
                &[("host", "localhost"), field],
            )
        };
        assert_eq!(post(("origin", "http://localhost:8080")), 200);
        assert_eq!(post(("origin", "http://127.0.0.1:9")), 200);
        assert_eq!(post(("origin", "https://evil.example")), 403);
        assert_eq!(post(("origin", "null")), 403);
        assert_eq!(post(("sec-fetch-site", "cross-site")), 403);
        assert_eq!(post(("sec-fetch-site", "same-origin")), 200);
        let get = |path| {
            let fields = [("host", "localhost"), ("sec-fetch-site", "cross-site")];
            code(&settings, "GET", path, &fields)
        };
        assert_eq!((get("/"), get("/v1/info")), (200, 403));
    }

    #[test]
    fn keys_other_addresses_and_allowed_hosts_change_what_is_checked() {
        let host = |settings: &ServeSettings, host: &str| {
            code(settings, "GET", "/v1/info", &[("host", host)])
        };
        let keys = ApiKeys::new(["0123456789abcdef0123456789abcdef"]).unwrap();
        let with_keys = ServeSettings {
            api_keys: keys,
            ..ServeSettings::default()
        };
        assert_eq!(host(&with_keys, "shop.example"), 200);
        let everywhere = ServeSettings {
            host: [0, 0, 0, 0].into(),
            ..ServeSettings::default()
        };
        assert_eq!(host(&everywhere, "shop.example"), 200);
        let allow = |names: &[&str]| ServeSettings {
            allowed_hosts: names.iter().map(|name| (*name).to_owned()).collect(),
            ..everywhere.clone()
        };
        assert_eq!(host(&allow(&["shop.example"]), "Shop.Example:443"), 200);
        assert_eq!(host(&allow(&["shop.example"]), "127.0.0.1"), 200);
        assert_eq!(host(&allow(&["shop.example"]), "evil.example"), 403);
        assert_eq!(host(&allow(&["a", "*"]), "evil.example"), 200);
        let probe = |settings: &ServeSettings, fields: &[(&str, &str)]| {
            code(
                settings,
                "GET",
                "/health",
                &[&[("host", "10.2.3.4:8080")], fields].concat(),
            )
        };
        assert_eq!(probe(&allow(&["shop.example"]), &[]), 200);
        let foreign = [("origin", "http://evil.example")];
        assert_eq!(probe(&allow(&["shop.example"]), &foreign), 403);
        assert_eq!(probe(&ServeSettings::default(), &[]), 403);
    }
}
