//! Test server with the built-in model, and an HTTP client that can send malformed requests.
#![allow(dead_code)]

pub(crate) mod browser;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clipn::classifier::{ClassPrompts, Classifier, ClassifierBuilder};
use clipn::detector::Detector;
use clipn::engine::image_tower;
use clipn::image::{DecodeOptions, Preprocessing};
use clipn::model::{
    FeatureMatrix, ImageBatch, ImageTower, ModelError, ModelWeights, PretrainedWeights,
};
use clipn::prompts::{PromptVariant, TemplateSet};
use clipn_serve::{ClassEncoder, ServeSettings, ServedBundle, ServedModel, Server};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::Value;

pub(crate) const CLASSES: [&str; 3] = ["goldfish", "school bus", "pizza"];

/// Weights of the built-in model, loaded once.
pub(crate) fn weights() -> &'static ModelWeights {
    static WEIGHTS: OnceLock<ModelWeights> = OnceLock::new();
    WEIGHTS.get_or_init(|| PretrainedWeights::mini().unwrap().weights(None).unwrap())
}

fn prompts() -> ClassPrompts {
    ClassPrompts::new(
        TemplateSet::resolve("simple").unwrap(),
        PromptVariant::Learnable,
    )
}

fn classifier() -> Classifier {
    static CLASSIFIER: OnceLock<Classifier> = OnceLock::new();
    let build = || {
        ClassifierBuilder::new(CLASSES)
            .with_prompts(prompts())
            .build(weights())
            .unwrap()
    };
    CLASSIFIER.get_or_init(build).clone()
}

pub(crate) fn preprocessing() -> Preprocessing {
    let size = weights().config().vision.image_size;
    Preprocessing {
        decode: DecodeOptions::for_display(),
        ..Preprocessing::clip(size)
    }
}

pub(crate) fn detector() -> Detector {
    detector_with(image_tower(weights()).into())
}

/// Detector with the given image tower.
pub(crate) fn detector_with(tower: Arc<dyn ImageTower<f32>>) -> Detector {
    Detector::from_classifier(classifier(), tower, preprocessing()).unwrap()
}

pub(crate) fn encoder() -> ClassEncoder {
    ClassEncoder::new(weights(), prompts()).unwrap()
}

/// Hook of a [`TestTower`], called before each batch with the number of images and whether one of
/// them is [`red`].
type Before = dyn Fn(usize, bool) + Send + Sync;

/// Built-in image tower with a hook before each batch.
pub(crate) struct TestTower {
    inner: Box<dyn ImageTower<f32>>,
    before: Box<Before>,
    /// Number of images that were encoded.
    pub(crate) encoded: AtomicUsize,
}

impl TestTower {
    pub(crate) fn new(before: impl Fn(usize, bool) + Send + Sync + 'static) -> Arc<Self> {
        let inner = image_tower(weights());
        Arc::new(Self {
            inner,
            before: Box::new(before),
            encoded: AtomicUsize::new(0),
        })
    }

    pub(crate) fn encoded(&self) -> usize {
        self.encoded.load(Ordering::SeqCst)
    }
}

impl ImageTower<f32> for TestTower {
    fn embed_dim(&self) -> usize {
        self.inner.embed_dim()
    }

    fn image_size(&self) -> usize {
        self.inner.image_size()
    }

    fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        let area = images.height() * images.width();
        let is_red = |pixels: &[f32]| pixels[0] > 1.8 && pixels[area] < -1.0;
        (self.before)(
            images.len(),
            images.pixels().chunks_exact(images.image_len()).any(is_red),
        );
        let features = self.inner.encode(images)?;
        self.encoded.fetch_add(images.len(), Ordering::SeqCst);
        Ok(features)
    }
}

/// Gate that blocks threads until it is opened.
#[derive(Default)]
pub(crate) struct Gate(AtomicBool);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Blocks until the gate is open, for at most 30 s.
    pub(crate) fn wait(&self) {
        wait_for("the gate", || self.0.load(Ordering::SeqCst));
    }
}

/// Waits until a condition is true, for at most 30 s.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "timeout while waiting for {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Settings for tests: a free port and two workers.
pub(crate) fn settings() -> ServeSettings {
    ServeSettings {
        port: 0,
        workers: 2,
        shutdown_grace: Duration::from_secs(10),
        ..ServeSettings::default()
    }
}

/// Server that runs until it is dropped.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<bool>>,
}

pub(crate) fn start(settings: ServeSettings, detector: Detector) -> TestServer {
    start_with(settings, detector, Some(encoder()))
}

pub(crate) fn start_with(
    settings: ServeSettings,
    detector: Detector,
    encoder: Option<ClassEncoder>,
) -> TestServer {
    run(Server::bind(settings, detector, "clipn-mini", encoder).unwrap())
}

/// Starts a server of several bundles.
pub(crate) fn start_bundles(settings: ServeSettings, bundles: Vec<ServedBundle>) -> TestServer {
    run(Server::bind_bundles(settings, bundles).unwrap())
}

/// Bundle of these classes, which is not in a file.
pub(crate) fn bundle(name: &str, classes: &[&str]) -> ServedBundle {
    let detector = detector_of(classes, image_tower(weights()).into());
    ServedBundle::new(
        name,
        ServedModel::new(detector, "clipn-mini").with_encoder(Some(encoder())),
    )
}

/// Detector of these classes with the given image tower.
pub(crate) fn detector_of(classes: &[&str], tower: Arc<dyn ImageTower<f32>>) -> Detector {
    let classifier = ClassifierBuilder::new(classes.iter().copied())
        .with_prompts(prompts())
        .build(weights())
        .unwrap();
    Detector::from_classifier(classifier, tower, preprocessing()).unwrap()
}

fn run(server: Server) -> TestServer {
    let (address, stop) = (server.local_addr(), Arc::<AtomicBool>::default());
    let stopped = Arc::clone(&stop);
    let run = move || {
        server
            .run_until(move || stopped.load(Ordering::SeqCst))
            .unwrap()
    };
    TestServer {
        address,
        stop,
        thread: Some(std::thread::spawn(run)),
    }
}

impl TestServer {
    pub(crate) fn request_shutdown(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Shuts down and returns whether all requests in progress were answered.
    pub(crate) fn shut_down(mut self) -> bool {
        self.request_shutdown();
        self.thread.take().unwrap().join().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Sends raw bytes and reads the response.
    pub(crate) fn raw(&self, bytes: &[u8]) -> HttpResponse {
        let mut stream = self.connect();
        // The server may respond and close the connection before it has read everything.
        let _ = stream.write_all(bytes);
        HttpResponse::read(&mut stream)
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        self.raw(&request(method, path, headers, body))
    }

    pub(crate) fn get(&self, path: &str) -> HttpResponse {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> HttpResponse {
        self.request("POST", path, &[("content-type", content_type)], body)
    }

    pub(crate) fn classify(&self, image: &[u8]) -> HttpResponse {
        self.post("/v1/classify", "image/bmp", image)
    }

    pub(crate) fn classify_json(&self, json: &Value) -> HttpResponse {
        self.post(
            "/v1/classify",
            "application/json",
            json.to_string().as_bytes(),
        )
    }

    /// Value of a series, for example `clipn_images_total{bundle="default",outcome="error"}`; 0 if it is missing.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find(|line| {
            line.rsplit_once(' ')
                .is_some_and(|(series, _)| series == name)
        });
        line.map_or(0.0, |line| {
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        })
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.request_shutdown();
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            assert!(
                result.is_ok() || std::thread::panicking(),
                "the server panicked"
            );
        }
    }
}

/// Builds a request with `Connection: close`.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n")
        .into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
    bytes.extend(body);
    bytes
}

/// Response of the server.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl HttpResponse {
    /// Reads until the connection is closed.
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Self::parse(&bytes)
    }

    /// Reads one response of a connection that stays open.
    pub(crate) fn read_one(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
        let mut response = Self::parse(&bytes);
        let length = response.header("content-length").unwrap().parse().unwrap();
        response.body = vec![0; length];
        stream.read_exact(&mut response.body).unwrap();
        response
    }

    #[track_caller]
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end =
            end.unwrap_or_else(|| panic!("no response in {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head: head.to_lowercase(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Checks the status and the form of an error and returns its code.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> String {
        let json = self.json();
        assert_eq!(self.status, status, "{json}");
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        let message = json["error"]["message"].as_str().unwrap();
        assert!(
            !message.is_empty() && !message.contains("/src/"),
            "{message}"
        );
        json["error"]["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn results(&self) -> Vec<Value> {
        let json = self.json();
        assert_eq!(self.status, 200, "{json}");
        json["results"].as_array().unwrap().clone()
    }
}

/// Builds a multipart form. Returns its content type and body.
pub(crate) fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        let file = file
            .map(|file| format!("; filename=\"{file}\""))
            .unwrap_or_default();
        body.extend(
            format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n")
                .bytes(),
        );
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

/// A 24-bit BMP.
pub(crate) fn bmp(width: u32, height: u32, color: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let mut bytes = b"BM".to_vec();
    for number in [
        54 + row * height,
        0,
        54,
        40,
        width,
        height,
        1 | 24 << 16,
        0,
        row * height,
        2835,
        2835,
        0,
        0,
    ] {
        bytes.extend(number.to_le_bytes());
    }
    for y in (0..height).rev() {
        let start = bytes.len();
        for x in 0..width {
            let [r, g, b] = color(x, y);
            bytes.extend([b, g, r]);
        }
        bytes.resize(start + row as usize, 0);
    }
    bytes
}

/// A valid BMP that depends on the seed.
pub(crate) fn image(seed: u32) -> Vec<u8> {
    bmp(40 + seed % 7, 30, |x, y| {
        [
            (x * (seed + 3)) as u8 / 2,
            (y * 7 + seed * 40) as u8,
            (x * y) as u8,
        ]
    })
}

/// Red image that a [`TestTower`] recognizes.
pub(crate) fn red() -> Vec<u8> {
    bmp(20, 20, |_, _| [255, 10, 10])
}

/// An RGB PNG whose header has the given size and whose data are the given bytes, even if they do
/// not match.
pub(crate) fn png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(pixels).unwrap();
    for (kind, data) in [
        (b"IHDR", header),
        (b"IDAT", zlib.finish().unwrap()),
        (b"IEND", Vec::new()),
    ] {
        bytes.extend((data.len() as u32).to_be_bytes());
        let chunk = [&kind[..], &data].concat();
        bytes.extend(&chunk);
        bytes.extend(crc(&chunk).to_be_bytes());
    }
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            0xEDB8_8320 ^ (crc >> 1)
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}
