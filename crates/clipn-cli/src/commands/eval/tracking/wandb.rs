//! W&B: an offline run that `wandb sync DIR/wandb/offline-run-…` uploads.
//!
//! The file is a log in LevelDB's framing: blocks of 32 KiB with records of a checksum, a length and a type, whose contents are
//! protobuf messages of `wandb_internal.proto`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::utc::timestamp;
use super::{FileError, TrackedRun, write_file};

/// Size of a block.
const BLOCK: usize = 32 << 10;

/// Checksum, length and type before each part of a record.
const HEADER: usize = 7;

/// Writes settings and metrics as one offline run.
pub(super) fn write(directory: &Path, run: &TrackedRun<'_>) -> Result<PathBuf, FileError> {
    let id = &run.id[..8];
    let own = directory.join("wandb").join(format!(
        "offline-run-{}-{id}",
        timestamp(run.time.as_secs())
    ));
    let mut log = RecordLog::new();
    let settings = run.settings.as_object().into_iter().flatten();
    let config: Vec<u8> = settings
        .flat_map(|(name, value)| item(name, value))
        .collect();
    let start = [
        varint_field(1, run.time.as_secs()),
        varint_field(2, run.time.subsec_nanos().into()),
    ];
    log.push(
        17,
        &[
            bytes_field(1, id.as_bytes()),
            bytes_field(3, b"clipn-eval"),
            bytes_field(4, &config),
            bytes_field(8, run.name.as_bytes()),
            bytes_field(17, &start.concat()),
        ]
        .concat(),
    );
    let metrics: Vec<u8> = run
        .metrics
        .iter()
        .map(|(name, value)| (name.as_str(), json!(value)))
        .chain([
            ("_step", json!(0)),
            ("_timestamp", json!(run.time.as_secs_f64())),
        ])
        .flat_map(|(name, value)| item(name, &value))
        .collect();
    log.push(
        2,
        &[metrics.clone(), bytes_field(2, &varint_field(1, 0))].concat(),
    );
    log.push(3, &metrics);
    log.push(18, &varint_field(1, 0));
    write_file(&own.join(format!("run-{id}.wandb")), &log.bytes)?;
    Ok(own)
}

/// The field 1 of a list of items: a key, and a value as JSON.
fn item(name: &str, value: &Value) -> Vec<u8> {
    let value = value.to_string();
    bytes_field(
        1,
        &[
            bytes_field(1, name.as_bytes()),
            bytes_field(16, value.as_bytes()),
        ]
        .concat(),
    )
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn varint_field(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn bytes_field(number: u64, value: &[u8]) -> Vec<u8> {
    [
        varint(number << 3 | 2),
        varint(value.len() as u64),
        value.to_vec(),
    ]
    .concat()
}

/// The bytes of a log.
struct RecordLog {
    bytes: Vec<u8>,
    records: u64,
}

impl RecordLog {
    fn new() -> Self {
        // Name, magic number and version of the format.
        Self {
            bytes: [b":W&B".as_slice(), &0xBEE1_u16.to_le_bytes(), &[0]].concat(),
            records: 0,
        }
    }

    /// Appends a record with a message in the field of this number.
    fn push(&mut self, field: u64, message: &[u8]) {
        self.records += 1;
        let record = [varint_field(1, self.records), bytes_field(field, message)].concat();
        let mut rest = record.as_slice();
        let mut is_first = true;
        loop {
            let mut room = BLOCK - self.bytes.len() % BLOCK;
            if room < HEADER {
                self.bytes.resize(self.bytes.len() + room, 0);
                room = BLOCK;
            }
            let (part, others) = rest.split_at(rest.len().min(room - HEADER));
            let kind = match (is_first, others.is_empty()) {
                (true, true) => 1_u8,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            let mut crc = crc32fast::Hasher::new();
            crc.update(&[kind]);
            crc.update(part);
            self.bytes.extend(crc.finalize().to_le_bytes());
            self.bytes.extend((part.len() as u16).to_le_bytes());
            self.bytes.push(kind);
            self.bytes.extend(part);
            rest = others;
            is_first = false;
            if rest.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_at_blocks() {
        let mut log = RecordLog::new();
        log.push(2, &[7; 100]);
        log.push(3, &vec![9; 2 * BLOCK]);
        let (mut position, mut kinds, mut length) = (HEADER, Vec::new(), 0);
        while position < log.bytes.len() {
            if BLOCK - position % BLOCK < HEADER {
                position += BLOCK - position % BLOCK;
            }
            let header = &log.bytes[position..position + HEADER];
            let part = usize::from(u16::from_le_bytes([header[4], header[5]]));
            let content = &log.bytes[position + HEADER - 1..position + HEADER + part];
            assert_eq!(crc32fast::hash(content).to_le_bytes(), header[..4]);
            kinds.push(header[6]);
            length += part;
            position += HEADER + part;
        }
        assert_eq!(kinds, [1, 2, 3, 4]);
        // Numbers of the record and its field, and the lengths of its contents.
        assert_eq!(length, (2 + 2 + 100) + (2 + 4 + 2 * BLOCK));
    }

    #[test]
    fn numbers_are_varints() {
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(varint_field(17, 1), [0x88, 0x01, 0x01]);
        assert_eq!(bytes_field(1, b"ab"), [0x0a, 2, b'a', b'b']);
    }
}
