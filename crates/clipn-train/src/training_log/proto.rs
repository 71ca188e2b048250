//! The messages of TensorBoard's `event.proto` and `summary.proto` that a log of scalars needs, in
//! protobuf's wire format.

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

/// Content of an event.
#[derive(Debug, Clone, Copy)]
pub(super) enum EventContent<'a> {
    /// `file_version`: the first event of a file.
    FileVersion(&'a str),
    /// `session_log` with status START: events of this and later steps in earlier files are void.
    Start,
    /// `summary` with a `simple_value` for each tag.
    Scalars(&'a [(&'a str, f32)]),
}

/// Encodes an `Event`.
pub(super) fn event(wall_time: f64, step: u64, content: EventContent<'_>) -> Vec<u8> {
    let mut message = Message::default();
    message.double(1, wall_time);
    if step != 0 {
        message.varint(2, step);
    }
    match content {
        EventContent::FileVersion(version) => message.bytes(3, version.as_bytes()),
        EventContent::Scalars(scalars) => {
            let mut summary = Message::default();
            for (tag, value) in scalars {
                let mut entry = Message::default();
                entry.bytes(1, tag.as_bytes());
                entry.float(2, *value);
                summary.bytes(1, &entry.0);
            }
            message.bytes(5, &summary.0);
        }
        EventContent::Start => {
            let mut session = Message::default();
            session.varint(1, 1);
            message.bytes(7, &session.0);
        }
    }
    message.0
}

/// A message being encoded. Field numbers are below 16, so that a key is one byte.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u8, wire: u8) {
        self.0.push(field << 3 | wire);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, field: u8, value: u64) {
        self.key(field, VARINT);
        self.raw_varint(value);
    }

    fn double(&mut self, field: u8, value: f64) {
        self.key(field, FIXED_64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn float(&mut self, field: u8, value: f32) {
        self.key(field, FIXED_32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.key(field, BYTES);
        self.raw_varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_hold_seven_bits_per_byte() {
        // Examples from the description of protobuf's encoding.
        for (value, bytes) in [
            (1, vec![1]),
            (150, vec![0x96, 1]),
            (300, vec![0xac, 2]),
            (127, vec![127]),
        ] {
            let mut message = Message::default();
            message.raw_varint(value);
            assert_eq!(message.0, bytes);
        }
        let mut message = Message::default();
        message.raw_varint(u64::MAX);
        assert_eq!(message.0.len(), 10);
    }
}
