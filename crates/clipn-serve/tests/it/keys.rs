//! API keys.

use crate::common::*;
use clipn_serve::{ApiKeys, ServeSettings};

const KEY: &str = "0123456789abcdef-ours";

#[test]
fn protected_routes_require_a_key() {
    let api_keys = ApiKeys::new([KEY, "fedcba9876543210-theirs"]).unwrap();
    let server = start(
        ServeSettings {
            api_keys,
            ..settings()
        },
        detector(),
    );
    for (method, path) in [
        ("GET", "/v1/info"),
        ("GET", "/metrics"),
        ("POST", "/v1/classify"),
        ("POST", "/v1/classes"),
    ] {
        let bearer = format!("Bearer {KEY}");
        let wrong: [&[(&str, &str)]; 7] = [
            &[],
            &[("authorization", "Bearer 0123456789abcdef-ourS")],
            &[("authorization", "Basic 0123456789abcdef-ours")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("x-api-key", "")],
            &[("x-api-key", "0123456789abcdef")],
        ];
        for headers in wrong {
            let response = server.request(method, path, headers, b"");
            assert_eq!(response.error(401), "unauthorized", "{path} {headers:?}");
            assert_eq!(response.header("www-authenticate"), Some("bearer"));
        }
        for headers in [
            [("authorization", bearer.as_str())],
            [("x-api-key", KEY)],
            [("authorization", &bearer.replace("Bearer", "bearer"))],
        ] {
            assert_ne!(
                server.request(method, path, &headers, b"").status,
                401,
                "{path} {headers:?}"
            );
        }
    }
    for path in ["/", "/docs", "/openapi.json", "/health", "/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

#[test]
fn authentication_is_disabled_without_keys() {
    let server = start(settings(), detector());
    assert_eq!(server.get("/v1/info").status, 200);
    assert!(!settings().allows_remote_access_without_key());
    let everywhere = ServeSettings {
        host: "0.0.0.0".parse().unwrap(),
        ..settings()
    };
    assert!(everywhere.allows_remote_access_without_key());
    let api_keys = ApiKeys::new([KEY]).unwrap();
    assert!(
        !ServeSettings {
            api_keys,
            ..everywhere
        }
        .allows_remote_access_without_key()
    );
}
