//! Local HTTP server that replies like the Hugging Face hub, or with faults that a test injects.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Removes a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        for line in lines {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Self {
            method,
            target,
            headers,
        })
    }
}

/// HTTP response with optional faults.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// `Content-Length`, if it differs from the length of the body.
    pub length: Option<u64>,
    /// Number of bytes of the body after which the connection is closed.
    pub cut: Option<usize>,
    /// Time for which the connection then stays open and silent.
    pub stall: Duration,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }

    fn write(&self, request: &Request, mut stream: &TcpStream) -> std::io::Result<()> {
        let length = self.length.unwrap_or(self.body.len() as u64);
        let mut head = format!(
            "HTTP/1.1 {} x\r\nContent-Length: {length}\r\nConnection: close\r\n",
            self.status
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        stream.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            stream.write_all(
                &self.body[..self.cut.unwrap_or(self.body.len()).min(self.body.len())],
            )?;
        }
        stream.flush()?;
        std::thread::sleep(self.stall);
        Ok(())
    }
}

/// Server that runs until the test process exits.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server that replies to every request with `answer`.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::accept(move |request, stream| {
            let _ = answer(request).write(request, stream);
        })
    }

    /// Starts an HTTP `CONNECT` proxy that connects to any requested target.
    pub fn proxy() -> Self {
        Self::accept(|request, stream| {
            let Ok(target) = TcpStream::connect(&request.target) else {
                return;
            };
            let mut stream = stream;
            let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
            let (mut from, mut to) = (stream.try_clone().unwrap(), target.try_clone().unwrap());
            let up = std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
            let _ = std::io::copy(&mut &target, &mut stream);
            let _ = stream.shutdown(std::net::Shutdown::Both);
            let _ = up.join();
        })
    }

    fn accept(serve: impl Fn(&Request, &TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (serve, log) = (Arc::new(serve), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serve, log) = (Arc::clone(&serve), Arc::clone(&log));
                std::thread::spawn(move || {
                    stream
                        .set_read_timeout(Some(Duration::from_secs(20)))
                        .unwrap();
                    let Some(request) = Request::read(&stream) else {
                        return;
                    };
                    log.lock().unwrap().push(request.clone());
                    serve(&request, &stream);
                });
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests since the previous call.
    pub fn seen(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Hub with one repository.
#[derive(Debug, Clone)]
pub struct Hub {
    pub repository: String,
    pub commit: String,
    /// Files by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Base URL of the storage of large files, if it is another server.
    pub storage: Option<String>,
    /// Minimum size in bytes of a large file, which is redirected to the storage.
    pub large: usize,
}

impl Hub {
    pub fn new(repository: &str, files: &[(&str, &[u8])]) -> Self {
        Self {
            repository: repository.to_owned(),
            commit: COMMIT.to_owned(),
            files: files
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
                .collect(),
            storage: None,
            large: 2000,
        }
    }

    /// Starts a server for this repository.
    pub fn serve(self) -> Server {
        Server::start(move |request| self.answer(request))
    }

    /// Returns the reply of a hub without faults.
    pub fn answer(&self, request: &Request) -> Reply {
        let target = request.target.as_str();
        if let Some(revision) =
            target.strip_prefix(&format!("/api/models/{}/revision/", self.repository))
        {
            return if [self.commit.as_str(), "main", "v1.0", "refs%2Fpr%2F1"].contains(&revision) {
                Reply::new(200).body(self.listing().as_bytes())
            } else {
                Reply::new(404).header("X-Error-Code", "RevisionNotFound")
            };
        }
        if let Some(hash) = target.strip_prefix("/storage/") {
            let found = self
                .files
                .values()
                .find(|bytes| sha256(bytes) == hash.split('?').next().unwrap());
            return found.map_or_else(|| Reply::new(403), |bytes| content(request, bytes, hash));
        }
        let file = target.strip_prefix(&format!("/{}/resolve/{}/", self.repository, self.commit));
        let Some((file, bytes)) = file.and_then(|file| self.files.get_key_value(file)) else {
            return Reply::new(404).header(
                "X-Error-Code",
                if file.is_some() {
                    "EntryNotFound"
                } else {
                    "RepoNotFound"
                },
            );
        };
        let hash = sha256(bytes);
        if bytes.len() < self.large {
            return content(request, bytes, &hash[..40]);
        }
        let storage = self.storage.as_deref().unwrap_or_default();
        Reply::new(302)
            .header("X-Repo-Commit", &self.commit)
            .header("X-Linked-ETag", &format!("\"{hash}\""))
            .header("X-Linked-Size", &bytes.len().to_string())
            .header("Location", &format!("{storage}/storage/{hash}?for={file}"))
    }

    pub fn listing(&self) -> String {
        let siblings: Vec<_> = self
            .files
            .keys()
            .map(|name| serde_json::json!({ "rfilename": name }))
            .collect();
        serde_json::json!({ "id": self.repository, "sha": self.commit, "siblings": siblings })
            .to_string()
    }
}

/// Returns the bytes, or the range that the request selects.
pub fn content(request: &Request, bytes: &[u8], etag: &str) -> Reply {
    let etag = format!("\"{}\"", etag.split('?').next().unwrap());
    let whole = Reply::new(200).header("ETag", &etag).body(bytes);
    let Some(range) = request.header("range") else {
        return whole;
    };
    if request
        .header("if-range")
        .is_some_and(|condition| condition != etag)
    {
        return whole;
    }
    let start: usize = range
        .strip_prefix("bytes=")
        .unwrap()
        .strip_suffix('-')
        .unwrap()
        .parse()
        .unwrap();
    if start >= bytes.len() {
        return Reply::new(416).header("Content-Range", &format!("bytes */{}", bytes.len()));
    }
    Reply::new(206)
        .header("ETag", &etag)
        .header(
            "Content-Range",
            &format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
        )
        .body(&bytes[start..])
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Generates pseudorandom bytes from a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}
