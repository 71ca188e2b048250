//! Load generator for a server on this machine that checks every response:
//!
//! ```text
//! cargo run --release -p clipn-serve --example load -- 127.0.0.1:8080 \
//!   --seconds 60 --connections 64 --poison 0.05 --images photos
//! ```
//!
//! It mixes single image files, forms with several files, and JSON with Base64. `--poison` is the
//! fraction of hostile images: 1×1, 40,000×1, truncated, decompression bombs, other file types or
//! empty. Connecting is retried while the server is down, so that it can be killed and restarted
//! meanwhile. The exit code is 1 if a response was lost or differs from the expected one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Parsed arguments and the images to send.
struct Plan {
    address: SocketAddr,
    connections: usize,
    duration: Duration,
    poison: f64,
    key: Option<String>,
    valid: Vec<Vec<u8>>,
    hostile: Vec<HostileImage>,
}

/// Hostile image and its expected outcome.
struct HostileImage {
    bytes: Vec<u8>,
    /// Expected error code; `None` for an unusual image that is valid.
    code: Option<&'static str>,
}

/// Counts and latencies of all responses.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    statuses: BTreeMap<u16, u64>,
    images: u64,
    expected_errors: u64,
    unexpected: BTreeMap<String, u64>,
    lost: u64,
    unreachable: u64,
}

fn main() -> ExitCode {
    let plan = match plan() {
        Ok(plan) => Arc::new(plan),
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let threads: Vec<_> = (0..plan.connections)
        .map(|index| {
            let plan = Arc::clone(&plan);
            std::thread::spawn(move || run_connection(&plan, index as u64))
        })
        .collect();
    let mut all = Tally::default();
    for thread in threads {
        all.add(thread.join().unwrap());
    }
    all.print(started.elapsed());
    if all.lost == 0 && all.unexpected.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn plan() -> Result<Plan, String> {
    let mut plan = Plan {
        address: SocketAddr::from(([127, 0, 0, 1], 8080)),
        connections: 64,
        duration: Duration::from_secs(10),
        poison: 0.0,
        key: None,
        valid: Vec::new(),
        hostile: Vec::new(),
    };
    let mut directory = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if !name.starts_with("--") {
            let address = name.trim_start_matches("http://").trim_end_matches('/');
            plan.address = address
                .parse()
                .map_err(|_| format!("expected an address and port, got {name}"))?;
            continue;
        }
        let value = arguments
            .next()
            .ok_or(format!("missing value for {name}"))?;
        let number = || {
            value
                .parse::<f64>()
                .map_err(|_| format!("{name}: expected a number, got {value}"))
        };
        match name.as_str() {
            "--connections" => plan.connections = number()? as usize,
            "--seconds" => plan.duration = Duration::from_secs_f64(number()?),
            "--poison" => plan.poison = number()?,
            "--images" => directory = Some(PathBuf::from(&value)),
            "--key" => plan.key = Some(value),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    if !plan.address.ip().is_loopback() {
        return Err("the server must be on this machine: expected a loopback address".to_owned());
    }
    plan.valid = match directory {
        Some(directory) => read_images(&directory)?,
        None => (0..8).map(pattern).collect(),
    };
    plan.hostile = hostile_images();
    Ok(plan)
}

/// Reads up to 200 files smaller than 2 MiB, so that several fit into one request.
fn read_images(directory: &PathBuf) -> Result<Vec<Vec<u8>>, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", directory.display());
    let files = std::fs::read_dir(directory)
        .map_err(unreadable)?
        .flatten()
        .map(|entry| entry.path());
    let bytes = files.filter(|path| path.is_file()).flat_map(std::fs::read);
    let found: Vec<_> = bytes
        .filter(|bytes| (1..2 << 20).contains(&bytes.len()))
        .take(200)
        .collect();
    if found.is_empty() {
        Err(format!("{} contains no images", directory.display()))
    } else {
        Ok(found)
    }
}

/// A BMP of 256×192 pixels with a pattern that depends on the seed.
fn pattern(seed: u32) -> Vec<u8> {
    bmp(256, 192, |x, y| (x * (seed + 1)) ^ (y * 3))
}

fn bmp(width: u32, height: u32, value: impl Fn(u32, u32) -> u32) -> Vec<u8> {
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
    for y in 0..height {
        let start = bytes.len();
        (0..width).for_each(|x| bytes.extend(&value(x, y).to_le_bytes()[..3]));
        bytes.resize(start + row as usize, 0);
    }
    bytes
}

fn hostile_images() -> Vec<HostileImage> {
    let valid = bmp(64, 64, |x, y| x * y);
    let mut bomb = valid.clone();
    bomb[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    bomb[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    vec![
        HostileImage {
            bytes: bmp(1, 1, |_, _| 7),
            code: None,
        },
        HostileImage {
            bytes: bmp(40_000, 1, |x, _| x),
            code: None,
        },
        HostileImage {
            bytes: valid[..valid.len() / 2].to_vec(),
            code: Some("truncated_image"),
        },
        HostileImage {
            bytes: bomb,
            code: Some("image_too_large"),
        },
        HostileImage {
            bytes: b"%PDF-1.7 and nothing else".to_vec(),
            code: Some("not_an_image"),
        },
        HostileImage {
            bytes: b"words, words, words".to_vec(),
            code: Some("not_an_image"),
        },
        HostileImage {
            bytes: Vec::new(),
            code: Some("empty_image"),
        },
    ]
}

/// xorshift64* generator with a fixed seed per connection, so that runs are repeatable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 33) as usize) % n
    }

    fn chance(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

/// Sends requests over one connection until the time is over.
fn run_connection(plan: &Plan, index: u64) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ ((index + 1) << 20));
    let until = Instant::now() + plan.duration;
    let mut connection = None;
    while Instant::now() < until {
        let Some(stream) = connection.take().or_else(|| connect(plan.address)) else {
            tally.unreachable += 1;
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        let (request, expected) = request(plan, &mut random);
        let started = Instant::now();
        let Some((stream, status, body)) = exchange(stream, &request) else {
            tally.lost += 1;
            continue;
        };
        connection = stream;
        tally.record(status, &body, &expected, started.elapsed());
        if status == 429 || status == 503 {
            std::thread::sleep(Duration::from_millis(20 + random.below(60) as u64));
        }
    }
    tally
}

fn connect(address: SocketAddr) -> Option<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_nodelay(true).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    Some(BufReader::new(stream))
}

/// Returns a request and the expected error code of each image.
fn request(plan: &Plan, random: &mut Random) -> (Vec<u8>, Vec<Option<&'static str>>) {
    let kind = random.below(10);
    let images = if kind < 5 { 1 } else { 1 + random.below(8) };
    let mut expected = Vec::new();
    let mut bodies: Vec<&[u8]> = Vec::new();
    for _ in 0..images {
        if random.chance(plan.poison) {
            let image = &plan.hostile[random.below(plan.hostile.len())];
            expected.push(image.code);
            bodies.push(&image.bytes);
        } else {
            expected.push(None);
            bodies.push(&plan.valid[random.below(plan.valid.len())]);
        }
    }
    let (content_type, body) = match kind {
        0..5 => ("application/octet-stream", bodies[0].to_vec()),
        5..7 => (
            "multipart/form-data; boundary=boundary-that-is-in-no-image",
            form(&bodies),
        ),
        _ => {
            let images: Vec<Value> = bodies
                .iter()
                .map(|bytes| json!({ "base64": STANDARD.encode(bytes) }))
                .collect();
            (
                "application/json",
                json!({ "images": images }).to_string().into_bytes(),
            )
        }
    };
    let key = plan
        .key
        .as_ref()
        .map(|key| format!("x-api-key: {key}\r\n"))
        .unwrap_or_default();
    let mut request = format!(
        "POST /v1/classify HTTP/1.1\r\nhost: {}\r\n{key}content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        plan.address,
        body.len()
    )
    .into_bytes();
    request.extend(body);
    (request, expected)
}

fn form(bodies: &[&[u8]]) -> Vec<u8> {
    let mut form = Vec::new();
    for body in bodies {
        form.extend(b"--boundary-that-is-in-no-image\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n");
        form.extend(*body);
        form.extend(b"\r\n");
    }
    form.extend(b"--boundary-that-is-in-no-image--\r\n");
    form
}

/// The connection if it stays open, and the status and body of the response.
type Exchange = (Option<BufReader<TcpStream>>, u16, Vec<u8>);

/// Sends a request and reads its response. `None` if the response was lost.
fn exchange(mut stream: BufReader<TcpStream>, request: &[u8]) -> Option<Exchange> {
    let _ = stream.get_mut().write_all(request);
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut close) = (0, false);
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        close |= header == "connection: close";
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(((!close).then_some(stream), status, body))
}

impl Tally {
    /// Compares a response with the expected one. Status 429 and 503 are always accepted.
    fn record(
        &mut self,
        status: u16,
        body: &[u8],
        expected: &[Option<&'static str>],
        took: Duration,
    ) {
        *self.statuses.entry(status).or_default() += 1;
        if matches!(status, 429 | 503) {
            return;
        }
        let response: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if let ([Some(code)], true) = (expected, status != 200) {
            if response["error"]["code"] == *code {
                self.expected_errors += 1;
            } else {
                self.record_unexpected(format!(
                    "expected {code}, got {status} {}",
                    response["error"]["code"]
                ));
            }
            return;
        }
        let Some(results) = response["results"].as_array().filter(|_| status == 200) else {
            return self.record_unexpected(format!("{status} {}", response["error"]["code"]));
        };
        self.latencies.push(took);
        if results.len() != expected.len() {
            return self.record_unexpected(format!(
                "expected {} results, got {}",
                expected.len(),
                results.len()
            ));
        }
        for (index, (result, expected)) in results.iter().zip(expected).enumerate() {
            let code = result["error"]["code"].as_str();
            if code != *expected || result["index"] != index {
                self.record_unexpected(format!("image: expected {expected:?}, got {code:?}"));
            } else if code.is_some() {
                self.expected_errors += 1;
            } else if result["score"].is_f64() && result["reason"].is_string() {
                self.images += 1;
            } else {
                self.record_unexpected("result without a score".to_owned());
            }
        }
    }

    fn record_unexpected(&mut self, what: String) {
        *self.unexpected.entry(what).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (what, count) in other.unexpected {
            *self.unexpected.entry(what).or_default() += count;
        }
        self.images += other.images;
        self.expected_errors += other.expected_errors;
        self.lost += other.lost;
        self.unreachable += other.unreachable;
    }

    fn print(&mut self, took: Duration) {
        self.latencies.sort_unstable();
        let quantile = |q: f64| {
            let index = ((self.latencies.len() as f64 * q) as usize)
                .min(self.latencies.len().saturating_sub(1));
            self.latencies
                .get(index)
                .map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        };
        println!("time               {:.1} s", took.as_secs_f64());
        println!(
            "images             {} ({:.1}/s)",
            self.images,
            self.images as f64 / took.as_secs_f64()
        );
        println!("expected errors    {}", self.expected_errors);
        println!(
            "latency            p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(1.0)
        );
        let statuses: Vec<String> = self
            .statuses
            .iter()
            .map(|(status, n)| format!("{status}: {n}"))
            .collect();
        println!("responses          {}", statuses.join(", "));
        println!(
            "unexpected         {}",
            self.unexpected.values().sum::<u64>()
        );
        for (what, count) in &self.unexpected {
            println!("  {count} × {what}");
        }
        println!("lost responses     {}", self.lost);
        println!("failed connects    {}", self.unreachable);
    }
}
