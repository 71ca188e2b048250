//! Asks a server on this machine as much as it can take, and holds every answer against the one that was to come:
//!
//! ```text
//! cargo run --release -p clipn-serve --example load -- 127.0.0.1:8080 --seconds 60 --connections 64 --poison 0.05 \
//!   --pictures photos
//! ```
//!
//! Requests are mixed: single pictures as they are, forms of several, JSON with Base64. `--poison` is the share of
//! pictures that are 1×1, 40,000×1, truncated, bombs, of a wrong kind or empty. A server that is away is waited for, so
//! that it can be killed and started again meanwhile. Exit code 1: an answer was lost, or not the one that was to come.
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

/// What is asked, and how long.
struct Plan {
    address: SocketAddr,
    connections: usize,
    duration: Duration,
    poison: f64,
    key: Option<String>,
    good: Vec<Vec<u8>>,
    bad: Vec<Bad>,
}

/// A picture that may have to fail.
struct Bad {
    bytes: Vec<u8>,
    /// The error that it must have; none for a strange picture that can be read.
    code: Option<&'static str>,
}

/// What came of it.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    statuses: BTreeMap<u16, u64>,
    pictures: u64,
    failed_as_intended: u64,
    unintended: BTreeMap<String, u64>,
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
    let begun = Instant::now();
    let threads: Vec<_> = (0..plan.connections)
        .map(|index| {
            let plan = Arc::clone(&plan);
            std::thread::spawn(move || ask(&plan, index as u64))
        })
        .collect();
    let mut all = Tally::default();
    for thread in threads {
        all.add(thread.join().unwrap());
    }
    all.print(begun.elapsed());
    if all.lost == 0 && all.unintended.is_empty() {
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
        good: Vec::new(),
        bad: Vec::new(),
    };
    let mut folder = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if !name.starts_with("--") {
            let address = name.trim_start_matches("http://").trim_end_matches('/');
            plan.address = address
                .parse()
                .map_err(|_| format!("{name} is no address and port"))?;
            continue;
        }
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        let number = || {
            value
                .parse::<f64>()
                .map_err(|_| format!("{name} {value} is no number"))
        };
        match name.as_str() {
            "--connections" => plan.connections = number()? as usize,
            "--seconds" => plan.duration = Duration::from_secs_f64(number()?),
            "--poison" => plan.poison = number()?,
            "--pictures" => folder = Some(PathBuf::from(&value)),
            "--key" => plan.key = Some(value),
            _ => return Err(format!("there is no {name}")),
        }
    }
    if !plan.address.ip().is_loopback() {
        return Err("only a server on this machine is put under load".to_owned());
    }
    plan.good = match folder {
        Some(folder) => read_pictures(&folder)?,
        None => (0..8).map(drawn).collect(),
    };
    plan.bad = poisons();
    Ok(plan)
}

/// At most 200 files of a folder that are small enough for a mixed request.
fn read_pictures(folder: &PathBuf) -> Result<Vec<Vec<u8>>, String> {
    let unread = |error: std::io::Error| format!("{}: {error}", folder.display());
    let files = std::fs::read_dir(folder)
        .map_err(unread)?
        .flatten()
        .map(|entry| entry.path());
    let bytes = files.filter(|path| path.is_file()).flat_map(std::fs::read);
    let found: Vec<_> = bytes
        .filter(|bytes| (1..2 << 20).contains(&bytes.len()))
        .take(200)
        .collect();
    if found.is_empty() {
        Err(format!("{} has no pictures", folder.display()))
    } else {
        Ok(found)
    }
}

/// A BMP of 256×192 pixels.
fn drawn(seed: u32) -> Vec<u8> {
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

fn poisons() -> Vec<Bad> {
    let plain = bmp(64, 64, |x, y| x * y);
    let mut bomb = plain.clone();
    bomb[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    bomb[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    vec![
        Bad {
            bytes: bmp(1, 1, |_, _| 7),
            code: None,
        },
        Bad {
            bytes: bmp(40_000, 1, |x, _| x),
            code: None,
        },
        Bad {
            bytes: plain[..plain.len() / 2].to_vec(),
            code: Some("truncated_image"),
        },
        Bad {
            bytes: bomb,
            code: Some("image_too_large"),
        },
        Bad {
            bytes: b"%PDF-1.7 and nothing else".to_vec(),
            code: Some("not_an_image"),
        },
        Bad {
            bytes: b"words, words, words".to_vec(),
            code: Some("not_an_image"),
        },
        Bad {
            bytes: Vec::new(),
            code: Some("empty_image"),
        },
    ]
}

/// xorshift64*: which requests a connection sends is the same each time.
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

    fn chance(&mut self, share: f64) -> bool {
        ((self.next() >> 11) as f64) < share * (1u64 << 53) as f64
    }
}

/// One connection's requests until the time is over.
fn ask(plan: &Plan, index: u64) -> Tally {
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
        let begun = Instant::now();
        let Some((stream, status, body)) = exchange(stream, &request) else {
            tally.lost += 1;
            continue;
        };
        connection = stream;
        tally.note(status, &body, &expected, begun.elapsed());
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

/// A request, and for each of its pictures the error that it must have.
fn request(plan: &Plan, random: &mut Random) -> (Vec<u8>, Vec<Option<&'static str>>) {
    let kind = random.below(10);
    let pictures = if kind < 5 { 1 } else { 1 + random.below(8) };
    let mut expected = Vec::new();
    let mut bodies: Vec<&[u8]> = Vec::new();
    for _ in 0..pictures {
        if random.chance(plan.poison) {
            let bad = &plan.bad[random.below(plan.bad.len())];
            expected.push(bad.code);
            bodies.push(&bad.bytes);
        } else {
            expected.push(None);
            bodies.push(&plan.good[random.below(plan.good.len())]);
        }
    }
    let (content_type, body) = match kind {
        0..5 => ("application/octet-stream", bodies[0].to_vec()),
        5..7 => (
            "multipart/form-data; boundary=an-edge-that-no-picture-has",
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
        form.extend(b"--an-edge-that-no-picture-has\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n");
        form.extend(*body);
        form.extend(b"\r\n");
    }
    form.extend(b"--an-edge-that-no-picture-has--\r\n");
    form
}

/// The connection, where it stays open; status and body of the answer.
type Exchanged = (Option<BufReader<TcpStream>>, u16, Vec<u8>);

/// Sends a request and reads its answer; none where it was lost.
fn exchange(mut stream: BufReader<TcpStream>, request: &[u8]) -> Option<Exchanged> {
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
    /// Holds an answer against the one that was to come. A full queue and a stopping server may say so.
    fn note(
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
        let answer: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if let ([Some(code)], true) = (expected, status != 200) {
            if answer["error"]["code"] == *code {
                self.failed_as_intended += 1;
            } else {
                self.wrong(format!(
                    "{status} {} instead of {code}",
                    answer["error"]["code"]
                ));
            }
            return;
        }
        let Some(results) = answer["results"].as_array().filter(|_| status == 200) else {
            return self.wrong(format!("{status} {}", answer["error"]["code"]));
        };
        self.latencies.push(took);
        if results.len() != expected.len() {
            return self.wrong(format!(
                "{} results for {} pictures",
                results.len(),
                expected.len()
            ));
        }
        for (index, (result, expected)) in results.iter().zip(expected).enumerate() {
            let code = result["error"]["code"].as_str();
            if code != *expected || result["index"] != index {
                self.wrong(format!("{code:?} instead of {expected:?} for a picture"));
            } else if code.is_some() {
                self.failed_as_intended += 1;
            } else if result["score"].is_f64() && result["reason"].is_string() {
                self.pictures += 1;
            } else {
                self.wrong("a result without a score".to_owned());
            }
        }
    }

    fn wrong(&mut self, what: String) {
        *self.unintended.entry(what).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (what, count) in other.unintended {
            *self.unintended.entry(what).or_default() += count;
        }
        self.pictures += other.pictures;
        self.failed_as_intended += other.failed_as_intended;
        self.lost += other.lost;
        self.unreachable += other.unreachable;
    }

    fn print(&mut self, took: Duration) {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = ((self.latencies.len() as f64 * share) as usize)
                .min(self.latencies.len().saturating_sub(1));
            self.latencies
                .get(index)
                .map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        };
        println!("time               {:.1} s", took.as_secs_f64());
        println!(
            "pictures           {} ({:.1} a second)",
            self.pictures,
            self.pictures as f64 / took.as_secs_f64()
        );
        println!("failed as intended {}", self.failed_as_intended);
        println!(
            "latency            p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        );
        let statuses: Vec<String> = self
            .statuses
            .iter()
            .map(|(status, n)| format!("{status}: {n}"))
            .collect();
        println!("answers            {}", statuses.join(", "));
        println!(
            "not as intended    {}",
            self.unintended.values().sum::<u64>()
        );
        for (what, count) in &self.unintended {
            println!("  {count} × {what}");
        }
        println!("lost               {}", self.lost);
        println!("not reachable      {} times", self.unreachable);
    }
}
