//! Plays one case against one server and compares every byte. Must not know what the bytes mean.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::parse::{Action, Mode, Piece, Plan, Step};
use super::peer::Peer;
use crate::process::Server;

/// Byte by byte is for what is cut in a parser: beyond this much of a send, only its two ends go in single bytes.
const BYTEWISE_LEN_MAX: usize = 4096;
/// Odd, so that the pieces of a long send end nowhere in particular.
const CHUNK_LEN: usize = 8191;

/// The server of a case.
pub(crate) struct Venue<'server> {
    pub(crate) address: SocketAddr,
    pub(crate) version: &'static str,
    /// How long a reply may take.
    pub(crate) patience: Duration,
    /// Only for cases with a server of their own.
    pub(crate) server: Option<&'server mut Server>,
}

/// A step that did not go as written.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) line_number: usize,
    pub(crate) text: String,
}

/// Plays `plan`; at the end every connection that is still open must be in step with the server.
pub(crate) fn play(plan: &Plan, mode: Mode, venue: &mut Venue) -> Result<(), Failure> {
    let mut scene = Scene {
        mode,
        address: venue.address,
        version: format!("VERSION {}\r\n", venue.version).into_bytes(),
        patience: venue.patience,
        peers: BTreeMap::new(),
        numbers: HashMap::new(),
    };
    let mut crowd = Vec::new();
    let mut steps = plan.steps.as_slice();
    while let Some(step) = steps.first() {
        let mut length = 1;
        let outcome = match &step.action {
            Action::Wait(time) => {
                thread::sleep(*time);
                Ok(())
            }
            Action::Crowd(count) => {
                crowd.extend((0..*count).map(|_| scene.connect()));
                Ok(())
            }
            Action::Drop => {
                scene.peers.remove(&step.connection);
                Ok(())
            }
            Action::Exits => match venue.server.as_mut().map(|server| server.wait()) {
                Some(status) if status.success() => Ok(()),
                other => Err(format!("the server should have ended with status 0: {other:?}")),
            },
            Action::Send(_)
            | Action::Expect(_)
            | Action::Line(_)
            | Action::Alive
            | Action::Closed => {
                length = scene.turn_length(steps);
                scene.turn(&steps[..length])?;
                Ok(())
            }
        };
        outcome.map_err(|text| fail(step, text))?;
        steps = &steps[length..];
    }
    let last = plan.steps.last().map_or(0, |step| step.line_number);
    let open: Vec<char> = scene.peers.keys().copied().collect();
    for connection in open {
        let step = Step { line_number: last, connection, action: Action::Alive };
        scene.turn(&[step]).map_err(|mut failure| {
            failure.text.insert_str(0, "after the last step: ");
            failure
        })?;
    }
    Ok(())
}

fn fail(step: &Step, text: String) -> Failure {
    Failure { line_number: step.line_number, text }
}

/// Everything a case has set up so far.
struct Scene {
    mode: Mode,
    address: SocketAddr,
    version: Vec<u8>,
    patience: Duration,
    peers: BTreeMap<char, Peer>,
    numbers: HashMap<String, String>,
}

impl Scene {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address)
            .unwrap_or_else(|error| panic!("no connection to {}: {error}", self.address));
        stream.set_nodelay(true).expect("TCP_NODELAY is always there");
        let timeout = Some(self.patience);
        stream.set_read_timeout(timeout).expect("patience is above zero");
        stream.set_write_timeout(timeout).expect("patience is above zero");
        stream
    }

    /// How many of `steps` form one write and the replies to it.
    fn turn_length(&self, steps: &[Step]) -> usize {
        let mut has_expected = false;
        for (index, step) in steps.iter().enumerate() {
            let goes_on = match &step.action {
                Action::Send(pieces) => {
                    index == 0
                        || ((!has_expected || self.mode == Mode::Burst) && self.knows(pieces))
                }
                Action::Alive => !has_expected || self.mode == Mode::Burst,
                Action::Expect(_) | Action::Line(_) | Action::Closed => true,
                Action::Wait(_) | Action::Crowd(_) | Action::Drop | Action::Exits => false,
            };
            if !goes_on || step.connection != steps[0].connection {
                return index;
            }
            has_expected |= !matches!(step.action, Action::Send(_));
        }
        steps.len()
    }

    fn knows(&self, pieces: &[Piece]) -> bool {
        pieces.iter().all(|piece| match piece {
            Piece::Bytes(_) | Piece::Now(_) => true,
            Piece::Number { name, .. } => self.numbers.contains_key(name),
        })
    }

    /// Sends all that `steps` send, while reading what they expect: neither side may wait for the other to read.
    fn turn(&mut self, steps: &[Step]) -> Result<(), Failure> {
        let Some(first) = steps.first() else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        for step in steps {
            match &step.action {
                Action::Send(pieces) => {
                    let sent = self.render(pieces).map_err(|text| fail(step, text))?;
                    bytes.extend(sent);
                }
                Action::Alive => bytes.extend(b"version\r\n"),
                _ => {}
            }
        }
        let mut peer = match self.peers.remove(&first.connection) {
            Some(peer) => peer,
            None => Peer::new(self.connect()),
        };
        let writer = peer.stream.try_clone().expect("a second handle of a socket");
        let mode = self.mode;
        let is_open = thread::scope(|scope| {
            scope.spawn(move || write(&writer, &bytes, mode));
            let outcome = self.replies(&mut peer, steps);
            if outcome.is_err() {
                // Frees a writer that is stuck because the server no longer reads.
                let _ = peer.stream.shutdown(Shutdown::Both);
            }
            outcome
        })?;
        if is_open {
            self.peers.insert(first.connection, peer);
        }
        Ok(())
    }

    /// Whether the connection is still open after the replies.
    fn replies(&mut self, peer: &mut Peer, steps: &[Step]) -> Result<bool, Failure> {
        let mut is_open = true;
        let mut lines: Vec<&[u8]> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let outcome = match &step.action {
                Action::Expect(pieces) => peer.expect(pieces, &mut self.numbers),
                Action::Alive => {
                    let version = [Piece::Bytes(self.version.clone())];
                    peer.expect(&version, &mut self.numbers)
                }
                Action::Closed => {
                    is_open = false;
                    peer.expect_end()
                }
                Action::Line(pattern) => {
                    lines.push(pattern);
                    let next = steps.get(index + 1);
                    if next.is_some_and(|next| matches!(next.action, Action::Line(_))) {
                        continue;
                    }
                    let first = index + 1 - lines.len();
                    let outcome = peer.expect_lines(&std::mem::take(&mut lines));
                    outcome.map_err(|(position, text)| fail(&steps[first + position], text))?;
                    Ok(())
                }
                Action::Send(_)
                | Action::Drop
                | Action::Wait(_)
                | Action::Crowd(_)
                | Action::Exits => Ok(()),
            };
            outcome.map_err(|text| fail(step, text))?;
        }
        Ok(is_open)
    }

    fn render(&self, pieces: &[Piece]) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(literal) => bytes.extend(literal),
                Piece::Now(offset) => {
                    let since = SystemTime::now().duration_since(UNIX_EPOCH);
                    let now = since.expect("the clock is past 1970").as_secs();
                    let time = now.checked_add_signed(*offset).ok_or("a time before 1970")?;
                    bytes.extend(time.to_string().bytes());
                }
                Piece::Number { name, .. } => {
                    let number =
                        self.numbers.get(name).ok_or(format!("{{{name}}} is not known yet"))?;
                    bytes.extend(number.bytes());
                }
            }
        }
        Ok(bytes)
    }
}

/// Errors are left out on purpose: when the server has closed, the expectations tell whether it should have.
fn write(mut stream: &TcpStream, bytes: &[u8], mode: Mode) {
    if mode != Mode::Byte {
        let _ = stream.write_all(bytes);
        return;
    }
    let end_len = BYTEWISE_LEN_MAX / 2;
    let (head, middle, tail) = if bytes.len() > BYTEWISE_LEN_MAX {
        let (head, rest) = bytes.split_at(end_len);
        let (middle, tail) = rest.split_at(rest.len() - end_len);
        (head, middle, tail)
    } else {
        (bytes, &[][..], &[][..])
    };
    let writes = head.chunks(1).chain(middle.chunks(CHUNK_LEN)).chain(tail.chunks(1));
    for part in writes {
        if stream.write_all(part).is_err() {
            return;
        }
    }
}
