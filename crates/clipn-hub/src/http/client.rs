use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use ureq::http::{Method, Request, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Error, Timeout};

use super::Network;
use super::redirect::{bare, host, join, objection, origin};
use crate::DownloadError;

/// As many redirects as browsers follow, or fewer.
const MOST_REDIRECTS: u32 = 10;

/// The largest file of certificates.
const LARGEST_PEM: u64 = 16 << 20;

/// Which redirects are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Every one.
    Anywhere,
    /// Those within the server that say nothing of a large file elsewhere; another is an answer.
    Within,
}

/// Asks servers.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    network: &'a Network,
    agent: Agent,
    hub: (String, String, u16),
}

/// The head of an answer, whose body is still to come.
pub(crate) struct Answer {
    uri: Uri,
    response: Response<Body>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(network: &'a Network) -> Result<Self, DownloadError> {
        let patience = &network.patience;
        let mut tls = TlsConfig::builder();
        if let Some(path) = &network.certificates {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(path)?));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed here, where the token is known.
            .max_redirects(0)
            .proxy(None)
            .tls_config(tls.build())
            .user_agent(concat!("clipn/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.read))
            .timeout_per_read(Some(patience.read))
            .timeout_per_write(Some(patience.read));
        let endpoint: Uri = network
            .endpoint
            .parse()
            .map_err(|_| DownloadError::Variable {
                variable: "HF_ENDPOINT",
                problem: "must be an address, as https://huggingface.co".to_owned(),
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

    /// Whether the hub itself gave the answer.
    pub(crate) fn is_hub(&self, answer: &Answer) -> bool {
        origin(&answer.uri) == self.hub
    }

    /// Sends a request, once, and follows redirects. The token goes to the hub only, and never again after a redirect
    /// has left it.
    pub(crate) fn ask(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &[(&str, String)],
        follow: Follow,
    ) -> Result<Answer, DownloadError> {
        let mut uri = uri.clone();
        let mut is_trusted = true;
        for _ in 0..=MOST_REDIRECTS {
            is_trusted &= origin(&uri) == self.hub;
            let answer = self.once(method, &uri, headers, is_trusted)?;
            let Some(location) = answer
                .header("location")
                .filter(|_| answer.response.status().is_redirection())
            else {
                return Ok(answer);
            };
            let to = join(&uri, location)
                .ok_or_else(|| refused(&uri, &uri, "its address cannot be read"))?;
            if follow == Follow::Within
                && (origin(&to) != origin(&uri) || answer.header("x-linked-etag").is_some())
            {
                return Ok(answer);
            }
            if let Some(reason) = objection(&uri, &to) {
                return Err(refused(&uri, &to, reason));
            }
            uri = to;
        }
        Err(refused(&uri, &uri, "there are too many in a row"))
    }

    fn once(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &[(&str, String)],
        is_trusted: bool,
    ) -> Result<Answer, DownloadError> {
        let mut request = Request::builder().method(method).uri(uri);
        // Lengths and ranges are those of the file itself.
        request = request.header("accept-encoding", "identity");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(token) = self.network.token.as_ref().filter(|_| is_trusted) {
            request = request.header("authorization", format!("Bearer {}", token.secret()));
        }
        let told = |error: Error| failure(uri, error);
        let request = request.body(()).map_err(|error| told(error.into()))?;
        let proxy = self.network.proxies.of(uri).cloned();
        let request = self.agent.configure_request(request).proxy(proxy).build();
        let response = self.agent.run(request).map_err(told)?;
        Ok(Answer {
            uri: uri.clone(),
            response,
        })
    }
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// Host and port that answered.
    pub(crate) fn host(&self) -> String {
        host(&self.uri)
    }

    /// The error that a status stands for, where nothing more is known of it.
    pub(crate) fn refusal(&self, what: &str) -> DownloadError {
        DownloadError::Status {
            what: what.to_owned(),
            host: self.host(),
            status: self.status(),
            after: self.number("retry-after").map(Duration::from_secs),
        }
    }

    /// The body. Its errors are told by [`Reading::failure`].
    pub(crate) fn into_body(self) -> (impl Read, Reading) {
        (self.response.into_body().into_reader(), Reading(self.uri))
    }

    /// The whole body, which may have so many bytes.
    pub(crate) fn whole(
        self,
        what: &str,
        limit: u64,
    ) -> Result<Vec<u8>, DownloadError> {
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

/// Where a body is read from.
pub(crate) struct Reading(Uri);

impl Reading {
    /// Why a body could not be read on, after `got` bytes.
    pub(crate) fn failure(
        &self,
        error: io::Error,
        what: &str,
        got: u64,
    ) -> DownloadError {
        match Error::from(error) {
            Error::Io(_) | Error::Protocol(_) => DownloadError::Cut {
                what: what.to_owned(),
                host: host(&self.0),
                got,
            },
            error => failure(&self.0, error),
        }
    }
}

fn refused(from: &Uri, to: &Uri, reason: &'static str) -> DownloadError {
    DownloadError::Redirect {
        from: bare(from),
        to: bare(to),
        reason,
    }
}

/// What a client's error means.
fn failure(uri: &Uri, error: Error) -> DownloadError {
    let host = host(uri);
    match error {
        Error::Timeout(timeout) => {
            let stage = match timeout {
                Timeout::Resolve => "looking up its name",
                Timeout::Connect => "connecting",
                Timeout::SendRequest | Timeout::PerWrite => "sending the request",
                Timeout::RecvResponse => "waiting for its answer",
                _ => "waiting for the next bytes",
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
        // What rustls finds wrong comes so.
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
            reason: "its name is not known".to_owned(),
        },
        error => DownloadError::Connection {
            host,
            reason: error.to_string(),
        },
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, DownloadError> {
    let reading = |source| DownloadError::Certificates {
        path: path.to_owned(),
        source,
    };
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_PEM).read_to_end(&mut pem))
        .map_err(reading)?;
    let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
    let items = items.map_err(|error| reading(io::Error::other(error)))?;
    let found = items.into_iter().filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return Err(reading(io::Error::other("there is no certificate in it")));
    }
    Ok(found)
}
