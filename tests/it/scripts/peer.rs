//! One connection of a case: reads as little as an expectation needs, and says what came instead. Must not know cases.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::parse::Piece;

/// How much of a long text is shown on either side of the first difference.
const SHOWN_LEN: usize = 160;
/// A reply in several packets should not be shown by half.
const LINGER: Duration = Duration::from_millis(200);
const READ_LEN: usize = 65536;

/// How reading came to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Silent,
}

/// One connection and what was read from it but not yet expected.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let buffer = Vec::new();
        Self { stream, buffer }
    }

    fn fill(&mut self) -> Result<(), End> {
        let length = self.buffer.len();
        self.buffer.resize(length + READ_LEN, 0);
        let outcome = self.stream.read(&mut self.buffer[length..]);
        self.buffer.truncate(length + outcome.as_ref().map_or(0, |count| *count));
        match outcome.map_err(|error| error.kind()) {
            Ok(0) => Err(End::Closed),
            Ok(_) | Err(ErrorKind::Interrupted) => Ok(()),
            Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(End::Silent),
            // A reset: the server closed while it had unread bytes of ours.
            Err(_) => Err(End::Closed),
        }
    }

    fn byte(&mut self, index: usize) -> Option<u8> {
        while index >= self.buffer.len() {
            self.fill().ok()?;
        }
        Some(self.buffer[index])
    }

    /// The next bytes are exactly these; numbers are learnt or compared.
    pub(crate) fn expect(
        &mut self,
        pieces: &[Piece],
        numbers: &mut HashMap<String, String>,
    ) -> Result<(), String> {
        let mut index = 0;
        for piece in pieces {
            match piece {
                Piece::Bytes(literal) => {
                    let end = index + literal.len();
                    while index < end {
                        let wanted = &literal[literal.len() - (end - index)..];
                        // By what is there, not by byte: some replies are long.
                        let common_len = match self.byte(index) {
                            Some(_) => common_len(wanted, &self.buffer[index..]),
                            None => 0,
                        };
                        index += common_len;
                        if common_len == 0 || (index < end && index < self.buffer.len()) {
                            return Err(self.mismatch(pieces, index));
                        }
                    }
                }
                Piece::Number { name, unlike } => {
                    let mut number = String::new();
                    while let Some(digit @ b'0'..=b'9') = self.byte(index) {
                        number.push(digit.into());
                        index += 1;
                    }
                    let is_same = numbers.get(name).is_none_or(|known| *known == number);
                    let other = unlike.as_ref().and_then(|unlike| numbers.get(unlike));
                    if number.is_empty() || !is_same || other == Some(&number) {
                        let text = self.mismatch(pieces, index);
                        return Err(format!("{text}\n  numbers:  {numbers:?}"));
                    }
                    numbers.insert(name.clone(), number);
                }
                Piece::Now(_) => return Err("`{now}` is for sending".to_owned()),
            }
        }
        self.buffer.drain(..index);
        Ok(())
    }

    /// Nothing more comes, and the connection is closed.
    pub(crate) fn expect_end(&mut self) -> Result<(), String> {
        if self.byte(0).is_none() && matches!(self.fill(), Err(End::Closed)) {
            return Ok(());
        }
        let got = self.got(0);
        Err(format!("\n  expected: the connection closes\n  got:      {got}"))
    }

    /// Reads `STAT` lines up to `END` and finds each pattern in a line of its own, in this order. An error comes with
    /// the position of the pattern.
    pub(crate) fn expect_lines(&mut self, patterns: &[&[u8]]) -> Result<(), (usize, String)> {
        let mut found_count = 0;
        let mut index = 0;
        loop {
            let start = index;
            while let Some(byte) = self.byte(index) {
                index += 1;
                if byte == b'\n' {
                    break;
                }
            }
            let line = &self.buffer[start..index];
            if line == b"END\r\n" {
                break;
            }
            if !(line.starts_with(b"STAT ") && line.ends_with(b"\r\n")) {
                let got = self.got(index);
                return Err((0, format!("\n  expected: STAT … END\\r\\n\n  got:      {got}")));
            }
            if patterns.get(found_count).is_some_and(|pattern| matches_glob(pattern, line)) {
                found_count += 1;
            }
        }
        let reply: Vec<u8> = self.buffer.drain(..index).collect();
        let Some(missing) = patterns.get(found_count) else {
            return Ok(());
        };
        let missing = missing.escape_ascii();
        let reply = String::from_utf8_lossy(&reply);
        let text = format!(
            "\n  expected: {missing}\n  got:      no such line, or not in this order, in\n{reply}"
        );
        Err((found_count, text))
    }

    fn mismatch(&mut self, pieces: &[Piece], index: usize) -> String {
        let mut wanted = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(literal) => wanted.extend_from_slice(literal),
                Piece::Number { name, .. } => wanted.extend(format!("{{{name}}}").bytes()),
                Piece::Now(_) => {}
            }
        }
        let expected = excerpt(&wanted, index);
        let got = self.got(index);
        format!("\n  expected: {expected}\n  got:      {got}")
    }

    /// What came instead, and a little of what comes after it.
    fn got(&mut self, index: usize) -> String {
        let _ = self.stream.set_read_timeout(Some(LINGER));
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut end = None;
        while end.is_none() && self.buffer.len() < index + SHOWN_LEN && Instant::now() < deadline {
            end = self.fill().err();
        }
        let mut text = excerpt(&self.buffer, index);
        if let Some(end) = end {
            let _ = write!(text, " <{end:?}>");
        }
        text
    }
}

/// The bytes around `index`, escaped.
fn excerpt(bytes: &[u8], index: usize) -> String {
    let start = index.saturating_sub(SHOWN_LEN).min(bytes.len());
    let end = (index + SHOWN_LEN).min(bytes.len());
    let mut text = bytes[start..end].escape_ascii().to_string();
    if start > 0 {
        text.insert_str(0, &format!("…({start} bytes)…"));
    }
    if end < bytes.len() {
        let _ = write!(text, "…({} more bytes)", bytes.len() - end);
    }
    text
}

/// Whether `text` is `pattern`, whose `*` stand for any bytes.
fn matches_glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|start| matches_glob(rest, &text[start..])),
        Some((wanted, rest)) => text
            .split_first()
            .is_some_and(|(byte, text)| byte == wanted && matches_glob(rest, text)),
    }
}

fn common_len(left: &[u8], right: &[u8]) -> usize {
    let shorter_len = left.len().min(right.len());
    if left[..shorter_len] == right[..shorter_len] {
        return shorter_len;
    }
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}
