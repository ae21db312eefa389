//! Larder and memcached side by side: plays a session on both and compares every byte of their replies, and what they
//! counted.
//!
//! Between turns all that was asked is answered: requests of different connections have one order. A value that only
//! this file knows is stored and read at the end of each turn, or a frame sent that only this file knows; when that is
//! answered, so is all else.

use super::frame::{Frame, NOOP, UNIQUE_AT, Unique};
use super::generate::{CONNECTION_COUNT, ITEM_SIZE_MAX, Requests, Turn};
use super::reply::{Uniques, opaque_of_end};
use super::side::Side;
use super::unit::{Bytes, units};
use super::wanted::{LINE_LEN_MAX, Line, Peer, Sight, reasons, wanted_of_frame, wanted_of_line};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread;

/// More is written by a thread of its own.
const SENT_AT_ONCE_LEN_MAX: usize = 16 * 1024;
/// A longer value, in bytes, may be refused before it has come.
const QUIET_LEN_MAX: usize = ITEM_SIZE_MAX / 2;
/// So much of a line has no unique in it, in bytes: which one it is may be learnt until it is sent.
const LINE_KNOWN_LEN: usize = 3;
/// The first byte of a response.
const RESPONSE_MAGIC: u8 = 0x81;
/// As much of a difference is shown, in bytes.
const SHOWN_LEN: usize = 300;

/// Both, and what was done with them.
pub(crate) struct Pair {
    larder: Side,
    memcached: Side,
    turn_count: u64,
    pub(crate) request_count: u64,
    /// Of them in the binary protocol.
    pub(crate) frame_count: u64,
    /// How often each row of the wanted differences applied.
    pub(crate) wanted_counts: Vec<u64>,
}

/// A request as each of them is sent it.
struct Sent {
    larder: Vec<u8>,
    memcached: Vec<u8>,
    /// Both close behind it.
    is_last: bool,
    /// How much may be sent before another connection has its turn, in bytes.
    early_len_max: usize,
}

impl Pair {
    pub(crate) fn start(larder: &Path, memcached: &Path) -> Self {
        // Nobody but its one worker holds items, so that a number is padded: neither another one, which has not let go
        // yet of what it has sent, nor the crawler and the maintainer, which also remove what is to be missed.
        let alone = ["-t", "1", "-o", "no_lru_maintainer,no_lru_crawler"];
        let mut pair = Self {
            larder: Side::start("Larder", larder, &["-t", "2"]),
            memcached: Side::start("memcached", memcached, &alone),
            turn_count: 0,
            request_count: 0,
            frame_count: 0,
            wanted_counts: vec![0; reasons().count()],
        };
        for side in pair.sides() {
            // The first uniques are what a session takes for those of no item.
            let sets = b"set ~ 0 0 0 noreply\r\n\r\n".repeat(99);
            side.ask(&[&sets[..], b"set ~ 0 0 0\r\n\r\n"].concat(), b"STORED\r\n")
                .expect("a server that has just started takes values");
        }
        pair
    }

    /// Plays a session; an error says what differed.
    pub(crate) fn play(&mut self, turns: &[Turn]) -> Result<(), String> {
        let played = self.try_play(turns);
        if played.is_err() {
            // The next session begins anew.
            for side in self.sides() {
                side.streams = Default::default();
                side.revive();
            }
        }
        played
    }

    fn sides(&mut self) -> [&mut Side; 2] {
        [&mut self.larder, &mut self.memcached]
    }

    fn try_play(&mut self, turns: &[Turn]) -> Result<(), String> {
        for side in self.sides() {
            side.uniques = Uniques::default();
            side.ask(b"flush_all\r\nstats detail off\r\nstats reset\r\n", b"RESET\r\n")?;
        }
        // What was sent of the next turn of each connection.
        let mut early: [Option<usize>; CONNECTION_COUNT] = [None; CONNECTION_COUNT];
        for (index, turn) in turns.iter().enumerate() {
            let requests = self.sent(turn);
            let sent_len = early[turn.connection].take().unwrap_or_default();
            self.turn(index, turn, &requests, sent_len)?;
            let next = turns[index + 1..].iter().find(|next| next.connection == turn.connection);
            let is_open = self.larder.streams[turn.connection].is_some();
            if let Some(next) = next.filter(|next| next.early > 0 && is_open) {
                early[turn.connection] = Some(self.begin(next)?);
            }
        }
        let is_text = turns.iter().all(|turn| matches!(turn.requests, Requests::Text(_)));
        let larder = self.larder.counters(is_text)?;
        let memcached = self.memcached.counters(is_text)?;
        if larder != memcached {
            return Err(format!(
                "counters differ\n  Larder:    {larder:?}\n  memcached: {memcached:?}"
            ));
        }
        Ok(())
    }

    /// The requests of a turn, less those that neither is sent.
    fn sent(&mut self, turn: &Turn) -> Vec<Sent> {
        match &turn.requests {
            Requests::Text(requests) => self.sent_lines(requests),
            Requests::Binary(frames) => self.sent_frames(frames),
        }
    }

    fn sent_lines(&mut self, requests: &[Bytes]) -> Vec<Sent> {
        let stream = requests.iter().map(|request| &request.0[..]).collect::<Vec<_>>().concat();
        let mut sent = Vec::new();
        let units = units(&stream);
        for (index, unit) in units.iter().enumerate() {
            let [for_larder, for_memcached] = self.sides().map(|side| side.uniques.rendered(unit));
            let applied = wanted_of_line(&Line::new(&for_memcached, &units[..index]));
            let is_listed = applied.is_some();
            let larder = for_larder.bytes();
            let (memcached, is_ended) = match self.peer(applied) {
                None => (for_memcached.bytes(), false),
                Some(Peer::Instead(bytes)) => (bytes, false),
                Some(Peer::Ends(bytes)) => (bytes, true),
                Some(Peer::Nothing) => continue,
            };
            // A storage line alone has no effect, unless it is refused.
            let is_quiet = unit.block.as_ref().is_some_and(|block| block.0.len() < QUIET_LEN_MAX);
            let has_unique = unit.is_meta() || unit.words().first() == Some(&&b"cas"[..]);
            let early_len_max = if is_listed {
                0
            } else if has_unique {
                LINE_KNOWN_LEN
            } else if is_quiet {
                larder.len() - 1
            } else {
                // Larder reads the keys of a longer get as they come.
                unit.line_len().min(LINE_LEN_MAX) - 1
            };
            let is_last = is_ended || unit.words().first() == Some(&&b"quit"[..]);
            sent.push(Sent { larder, memcached, is_last, early_len_max });
            if is_last {
                break;
            }
        }
        sent
    }

    fn sent_frames(&mut self, frames: &[Frame]) -> Vec<Sent> {
        let (mut sent, mut before) = (Vec::new(), Vec::new());
        for (index, frame) in frames.iter().enumerate() {
            let applied = wanted_of_frame(&Sight { frame, before: &before });
            let is_listed = applied.is_some();
            let (other, is_ended) = match self.peer(applied) {
                None => (None, false),
                Some(Peer::Instead(other)) => (Some(other), false),
                Some(Peer::Ends(other)) => (Some(other), true),
                Some(Peer::Nothing) => continue,
            };
            before.push(frame);
            let larder = self.larder.uniques.rendered_frame(frame, index);
            let for_memcached = other.as_ref().unwrap_or(frame);
            let memcached = self.memcached.uniques.rendered_frame(for_memcached, index);
            let is_last = is_ended || frame.is_last();
            let early_len_max = if is_listed || is_last {
                0
            } else if frame.unique == Unique::Seen {
                UNIQUE_AT
            } else if frame.value.0.len() < QUIET_LEN_MAX {
                larder.len() - 1
            } else {
                frame.head_len() - 1
            };
            sent.push(Sent { larder, memcached, is_last, early_len_max });
            if is_last {
                break;
            }
        }
        sent
    }

    /// Counts the row that applied; what memcached is sent.
    fn peer<R>(&mut self, applied: Option<(usize, Peer<R>)>) -> Option<Peer<R>> {
        let (row, peer) = applied?;
        self.wanted_counts[row] += 1;
        Some(peer)
    }

    /// Sends the beginning of a turn, which nothing may follow from; how much that was.
    fn begin(&mut self, turn: &Turn) -> Result<usize, String> {
        let requests = self.sent(turn);
        let Some(first) = requests.first() else {
            return Ok(0);
        };
        let len = first.early_len_max * usize::from(turn.early) / 256;
        for (side, bytes) in self.sides().into_iter().zip([&first.larder, &first.memcached]) {
            side.send(turn.connection, &bytes[..len])?;
        }
        Ok(len)
    }

    fn turn(
        &mut self,
        index: usize,
        turn: &Turn,
        requests: &[Sent],
        sent_len: usize,
    ) -> Result<(), String> {
        self.turn_count += 1;
        self.request_count += requests.len() as u64;
        if let Requests::Binary(_) = turn.requests {
            self.frame_count += requests.len() as u64;
        }
        let is_last = requests.last().is_some_and(|request| request.is_last);
        let ends = (!is_last).then(|| self.ends(&turn.requests));
        let (ask, end) = ends.as_ref().map(|(ask, end)| (&ask[..], &end[..])).unzip();
        let stream = |bytes: fn(&Sent) -> &[u8]| {
            requests.iter().map(bytes).chain(ask).collect::<Vec<_>>().concat()
        };
        let streams = [stream(|request| &request.larder), stream(|request| &request.memcached)];
        let mut replies =
            self.exchange(turn, streams.each_ref().map(|bytes| &bytes[sent_len..]), end)?;
        for (side, reply) in self.sides().into_iter().zip(&mut replies) {
            let normal = match &turn.requests {
                Requests::Text(_) => side.uniques.normal(reply),
                Requests::Binary(frames) => side.uniques.normal_frames(reply, frames),
            };
            *reply = normal.map_err(|text| format!("{}: {text}", side.name))?;
        }
        if replies[0] == replies[1] {
            return Ok(());
        }
        let at =
            replies[0].iter().zip(&replies[1]).take_while(|(left, right)| left == right).count();
        let show = |bytes: &[u8], at: usize| {
            let (start, end) = (at.saturating_sub(SHOWN_LEN), bytes.len().min(at + SHOWN_LEN));
            bytes[start..end].escape_ascii().to_string()
        };
        Err(format!(
            "turn {index} on connection {}: replies differ at byte {at}\n  Larder:    {}\n  memcached: {}\n  Larder was sent:    {}\n  memcached was sent: {}",
            turn.connection,
            show(&replies[0], at),
            show(&replies[1], at),
            show(&streams[0], 0),
            show(&streams[1], 0),
        ))
    }

    /// Requests that end a turn, and what they are answered.
    fn ends(&self, requests: &Requests) -> (Vec<u8>, Vec<u8>) {
        let turn_count = self.turn_count;
        match requests {
            Requests::Text(_) => (
                format!("set ~ 0 0 16\r\n{turn_count:016x}\r\nget ~\r\n").into(),
                format!("STORED\r\nVALUE ~ 0 16\r\n{turn_count:016x}\r\nEND\r\n").into(),
            ),
            Requests::Binary(_) => {
                let ask = Frame::new(NOOP, b"", b"", b"").bytes(0, opaque_of_end(turn_count));
                let end = [&[RESPONSE_MAGIC], &ask[1..]].concat();
                (ask, end)
            }
        }
    }

    /// Sends both their requests, and reads what they answer up to this, or until they close.
    fn exchange(
        &mut self,
        turn: &Turn,
        requests: [&[u8]; 2],
        end: Option<&[u8]>,
    ) -> Result<[Vec<u8>; 2], String> {
        let connection = turn.connection;
        let streams = [self.larder.stream(connection)?, self.memcached.stream(connection)?];
        thread::scope(|scope| {
            for (stream, bytes) in streams.iter().zip(requests) {
                let writes = || write(stream, bytes, &turn.cuts);
                // Nobody may wait for the other one to read.
                if bytes.len() > SENT_AT_ONCE_LEN_MAX {
                    scope.spawn(writes);
                } else {
                    writes();
                }
            }
            let larder = self.larder.read_until(connection, end);
            let memcached =
                larder.and_then(|larder| Ok([larder, self.memcached.read_until(connection, end)?]));
            if memcached.is_err() {
                // Frees the writers.
                for stream in &streams {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            memcached
        })
    }
}

/// Sends bytes in several writes. An error shows in the replies.
fn write(mut stream: &TcpStream, bytes: &[u8], cuts: &[u16]) {
    let ends = cuts.iter().map(|cut| usize::from(*cut) * bytes.len() / 65536);
    let mut ends: Vec<usize> = ends.chain([bytes.len()]).collect();
    ends.sort_unstable();
    let mut start = 0;
    for end in ends {
        if start < end && stream.write_all(&bytes[start..end]).is_err() {
            return;
        }
        start = end;
    }
}
