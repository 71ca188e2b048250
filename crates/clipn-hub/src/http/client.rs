use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use ureq::http::{Method, Request, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Error, Timeout};

use crate::error::DownloadError;
use crate::http::Network;
use crate::http::redirect::{host, join, origin, redirect_error, without_query};

/// Maximum number of redirects per request; browsers follow about 20.
const MAX_REDIRECTS: u32 = 10;

/// Maximum number of bytes that are read of a certificates file.
const MAX_PEM_BYTES: u64 = 16 << 20;

/// Redirect policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedirectPolicy {
    /// RedirectPolicy all redirects.
    All,
    /// RedirectPolicy redirects within the server, unless they describe a large file (`X-Linked-ETag`).
    /// Other redirects are returned as responses.
    SameOrigin,
}

/// HTTP client with the token, proxies and timeouts of a [`Network`].
#[derive(Debug)]
pub(crate) struct HubClient<'a> {
    network: &'a Network,
    agent: Agent,
    hub: (String, String, u16),
}

/// Response whose body is not read yet.
pub(crate) struct HttpResponse {
    uri: Uri,
    inner: Response<Body>,
}

impl<'a> HubClient<'a> {
    pub(crate) fn new(network: &'a Network) -> Result<Self, DownloadError> {
        let retry_policy = &network.retry_policy;
        let mut tls = TlsConfig::builder();
        if let Some(path) = &network.certificates {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(path)?));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Followed in `send`, because ureq's own redirects go to other schemes than HTTPS, do not
            // stop at responses that describe a large file, and with `RedirectAuthHeaders::SameHost`
            // send the token to any port of the host.
            .max_redirects(0)
            .proxy(None)
            .tls_config(tls.build())
            .user_agent(concat!("clipn/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(retry_policy.connect_timeout))
            .timeout_connect(Some(retry_policy.connect_timeout))
            .timeout_recv_response(Some(retry_policy.read_timeout))
            .timeout_per_read(Some(retry_policy.read_timeout))
            .timeout_per_write(Some(retry_policy.read_timeout));
        let endpoint: Uri = network
            .endpoint
            .parse()
            .map_err(|_| DownloadError::Environment {
                variable: "HF_ENDPOINT",
                problem: "must be a URL such as https://huggingface.co".to_owned(),
            })?;
        Ok(Self {
            network,
            agent: config.build().into(),
            hub: origin(&endpoint),
        })
    }

    pub(crate) fn network(&self) -> &'a Network {
        self.network
    }

    /// Whether a response comes from the hub itself.
    pub(crate) fn is_hub(&self, response: &HttpResponse) -> bool {
        origin(&response.uri) == self.hub
    }

    /// Sends a request without retries and follows redirects. The token is sent to the hub only,
    /// and no longer once a redirect has left the hub.
    ///
    /// # Errors
    /// [`DownloadError::Redirect`] if a redirect is refused, or an error of the connection. Any
    /// status is a response.
    pub(crate) fn send(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &[(&str, String)],
        redirects: RedirectPolicy,
    ) -> Result<HttpResponse, DownloadError> {
        let mut uri = uri.clone();
        let mut send_token = true;
        for _ in 0..=MAX_REDIRECTS {
            send_token &= origin(&uri) == self.hub;
            let response = self.send_once(method, &uri, headers, send_token)?;
            let Some(location) = response
                .header("location")
                .filter(|_| response.inner.status().is_redirection())
            else {
                return Ok(response);
            };
            let to = join(&uri, location)
                .ok_or_else(|| refused(&uri, &uri, "invalid `Location` header"))?;
            if redirects == RedirectPolicy::SameOrigin
                && (origin(&to) != origin(&uri) || response.header("x-linked-etag").is_some())
            {
                return Ok(response);
            }
            if let Some(reason) = redirect_error(&uri, &to) {
                return Err(refused(&uri, &to, reason));
            }
            uri = to;
        }
        Err(refused(&uri, &uri, "too many redirects"))
    }

    fn send_once(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &[(&str, String)],
        send_token: bool,
    ) -> Result<HttpResponse, DownloadError> {
        let mut request = Request::builder().method(method).uri(uri);
        // Without content encoding, lengths and ranges refer to the file itself.
        request = request.header("accept-encoding", "identity");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(token) = self.network.token.as_ref().filter(|_| send_token) {
            request = request.header("authorization", format!("Bearer {}", token.secret()));
        }
        let failed = |error: Error| failure(uri, error);
        let request = request.body(()).map_err(|error| failed(error.into()))?;
        let proxy = self.network.proxies.for_uri(uri).cloned();
        let request = self.agent.configure_request(request).proxy(proxy).build();
        let inner = self.agent.run(request).map_err(failed)?;
        Ok(HttpResponse {
            uri: uri.clone(),
            inner,
        })
    }
}

impl HttpResponse {
    pub(crate) fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// Parses a header as a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// Host of the server, with its port if the URL has one.
    pub(crate) fn host(&self) -> String {
        host(&self.uri)
    }

    /// Converts an unexpected status to [`DownloadError::Status`].
    pub(crate) fn status_error(&self, what: &str) -> DownloadError {
        DownloadError::Status {
            what: what.to_owned(),
            host: self.host(),
            status: self.status(),
            retry_after: self.number("retry-after").map(Duration::from_secs),
        }
    }

    /// Returns the body. Convert its I/O errors with [`BodySource::failure`].
    pub(crate) fn into_body(self) -> (impl Read, BodySource) {
        (self.inner.into_body().into_reader(), BodySource(self.uri))
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// [`DownloadError::TooLarge`] if it has more than `limit` bytes, or an error of the
    /// connection.
    pub(crate) fn read_to_end(self, what: &str, limit: u64) -> Result<Vec<u8>, DownloadError> {
        let (body, reading) = self.into_body();
        let mut bytes = Vec::new();
        let read = body.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| reading.failure(error, what, bytes.len() as u64))?;
        match bytes.len() as u64 {
            size if size > limit => Err(DownloadError::TooLarge {
                what: what.to_owned(),
                size,
                limit,
            }),
            _ => Ok(bytes),
        }
    }
}

/// Source of a body, for error messages.
pub(crate) struct BodySource(Uri);

impl BodySource {
    /// Converts an I/O error of a body after `received` bytes.
    pub(crate) fn failure(&self, error: io::Error, what: &str, received: u64) -> DownloadError {
        match Error::from(error) {
            Error::Io(_) | Error::Protocol(_) => DownloadError::ConnectionClosed {
                what: what.to_owned(),
                host: host(&self.0),
                received,
            },
            error => failure(&self.0, error),
        }
    }
}

fn refused(from: &Uri, to: &Uri, reason: &'static str) -> DownloadError {
    DownloadError::Redirect {
        from: without_query(from),
        to: without_query(to),
        reason,
    }
}

/// Converts an error of the HTTP client.
fn failure(uri: &Uri, error: Error) -> DownloadError {
    let host = host(uri);
    match error {
        Error::Timeout(timeout) => {
            let stage = match timeout {
                Timeout::Resolve => "resolving the host name",
                Timeout::Connect => "connecting",
                Timeout::SendRequest | Timeout::PerWrite => "sending the request",
                Timeout::RecvResponse => "waiting for the response",
                _ => "reading the body",
            };
            DownloadError::Timeout {
                host,
                stage: stage.to_owned(),
            }
        }
        Error::Rustls(error) => DownloadError::Tls {
            host,
            reason: error.to_string(),
        },
        Error::Tls(reason) => DownloadError::Tls {
            host,
            reason: reason.to_owned(),
        },
        // Handshake errors of rustls arrive as I/O errors of this kind.
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => DownloadError::Tls {
            host,
            reason: error.to_string(),
        },
        Error::Io(error) => DownloadError::Connection {
            host,
            reason: error.to_string(),
        },
        Error::HostNotFound => DownloadError::Connection {
            host,
            reason: "unknown host name".to_owned(),
        },
        error => DownloadError::Connection {
            host,
            reason: error.to_string(),
        },
    }
}

/// Reads the certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, DownloadError> {
    let failed = |source| DownloadError::Certificates {
        path: path.to_owned(),
        source,
    };
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PEM_BYTES).read_to_end(&mut pem))
        .map_err(failed)?;
    let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
    let items = items.map_err(|error| failed(io::Error::other(error)))?;
    let certificates = items.into_iter().filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        return Err(failed(io::Error::other("no certificate found")));
    }
    Ok(certificates)
}
