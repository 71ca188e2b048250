//! Finds requests that two servers in a row could cut at different places: those with both
//! `Content-Length` and `Transfer-Encoding` (RFC 9112, 6.1). hyper accepts them and hides the first.

/// Maximum bytes of a line that are looked at: names of header fields and short values.
const MAX_LINE: usize = 256;

/// Follows the bytes of a connection from request to request.
#[derive(Debug, Default)]
pub(super) struct HeadScanner {
    state: State,
    /// Start of the current line.
    line: Vec<u8>,
    head: Head,
}

/// What is known of the head that is being read.
#[derive(Debug, Default)]
struct Head {
    has_request_line: bool,
    length: Option<u64>,
    has_length: bool,
    has_encoding: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Bytes of a body, or of a chunk, that are left.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// hyper refuses the rest.
    Ended,
}

impl HeadScanner {
    /// Looks at received bytes. The end of an ambiguous head is made invalid, so that it is refused.
    pub(super) fn scan(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.state {
                State::Ended => return,
                State::Body(left) | State::Chunk(left) => {
                    let taken =
                        (bytes.len() - at).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    at += taken;
                    if *left == 0 {
                        self.state = match self.state {
                            State::Chunk(_) => State::ChunkEnd,
                            _ => State::Head,
                        };
                    }
                }
                _ => {
                    let byte = bytes[at];
                    if byte == b'\n' {
                        if self.line.last() == Some(&b'\r') {
                            self.line.pop();
                        }
                        if self.end_line() {
                            bytes[at] = 0;
                        }
                        self.line.clear();
                    } else if self.line.len() < MAX_LINE {
                        self.line.push(byte);
                    }
                    at += 1;
                }
            }
        }
    }

    /// Handles a whole line. Returns whether it ends an ambiguous head.
    fn end_line(&mut self) -> bool {
        match self.state {
            State::Head if !self.line.is_empty() => self.header(),
            State::Head if self.head.has_request_line => {
                let head = std::mem::take(&mut self.head);
                self.state = match (head.has_encoding, head.has_length) {
                    (true, true) => State::Ended,
                    (true, false) => State::ChunkSize,
                    (false, true) => head.length.map_or(State::Ended, State::Body),
                    (false, false) => State::Head,
                };
                if self.state == State::Body(0) {
                    self.state = State::Head;
                }
                return head.has_encoding && head.has_length;
            }
            State::ChunkSize => {
                let size = self
                    .line
                    .split(|byte| *byte == b';')
                    .next()
                    .unwrap_or_default();
                let size = std::str::from_utf8(size.trim_ascii()).unwrap_or_default();
                self.state = match u64::from_str_radix(size, 16) {
                    Ok(0) => State::Trailers,
                    Ok(size) => State::Chunk(size),
                    Err(_) => State::Ended,
                };
            }
            State::ChunkEnd => self.state = State::ChunkSize,
            State::Trailers if self.line.is_empty() => self.state = State::Head,
            _ => {}
        }
        false
    }

    /// Handles the request line or a header field.
    fn header(&mut self) {
        let head = &mut self.head;
        if !std::mem::replace(&mut head.has_request_line, true) {
            return;
        }
        let Some(colon) = self.line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = (&self.line[..colon], self.line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            head.has_length = true;
            head.length = std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            head.has_encoding = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of bytes that are made invalid, if the bytes come in parts of this size.
    fn refused(text: &str, part: usize) -> usize {
        let mut bytes = text.as_bytes().to_vec();
        let mut scanner = HeadScanner::default();
        bytes.chunks_mut(part).for_each(|part| scanner.scan(part));
        bytes.iter().filter(|byte| **byte == 0).count()
    }

    #[test]
    fn only_heads_with_both_fields_are_refused() {
        let both =
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH: 5\r\n\r\n0\r\n\r\n";
        let body = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", both.len());
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for part in [1, 2, 7, 1000] {
            assert_eq!(refused(both, part), 1);
            assert_eq!(refused(&format!("{get}{both}"), part), 1);
            // What looks like a head is a body.
            assert_eq!(refused(&format!("{body}{both}{get}"), part), 0);
            assert_eq!(refused(&format!("{body}{both}{both}"), part), 1);
            let size = both.len();
            let chunks = format!("{chunked}{size:x};x=y\r\n{both}\r\n0\r\nA: b\r\n\r\n");
            assert_eq!(refused(&format!("{chunks}{get}"), part), 0);
            assert_eq!(refused(&format!("{chunks}{both}"), part), 1);
            assert_eq!(refused(&format!("{chunked}zz\r\n{both}"), part), 0);
        }
    }
}
