//! Larder and memcached side by side: plays a session on both and compares every byte of their replies, and what they
//! counted.
//!
//! Between turns all that was asked is answered: requests of different connections have one order. A value that only
//! this file knows is stored and read at the end of each turn; when that has come, so has all else.

use super::generate::{CONNECTION_COUNT, ITEM_SIZE_MAX, Turn};
use super::reply::Uniques;
use super::unit::units;
use super::wanted::{Line, Peer, wanted};
use crate::process::{DEADLINE, Server};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

/// Counters that must be the same after each session.
const COUNTED: &[&str] = &[
    "cmd_get",
    "cmd_set",
    "cmd_touch",
    "get_hits",
    "get_misses",
    "delete_misses",
    "delete_hits",
    "incr_misses",
    "incr_hits",
    "decr_misses",
    "decr_hits",
    "cas_misses",
    "cas_hits",
    "cas_badval",
    "touch_hits",
    "touch_misses",
    "store_too_large",
    "store_no_memory",
    "total_items",
];
const READ_LEN: usize = 65536;
/// More is written by a thread of its own.
const SENT_AT_ONCE_LEN_MAX: usize = 16 * 1024;
/// As much of a difference is shown, in bytes.
const SHOWN_LEN: usize = 300;

/// One of the two.
struct Side {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    server: Server,
    streams: [Option<TcpStream>; CONNECTION_COUNT],
    uniques: Uniques,
}

/// Both, and what was done with them.
pub(crate) struct Pair {
    larder: Side,
    memcached: Side,
    turn_count: u64,
    pub(crate) request_count: u64,
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
        let args = ["-t", "2"];
        // Without the crawler and the maintainer, which hold items now and then so that a number is not padded, and
        // remove them before they are missed.
        let extended = [&args[..], &["-o", "no_lru_maintainer,no_lru_crawler"]].concat();
        let mut pair = Self {
            larder: Side::start("Larder", larder, &args),
            memcached: Side::start("memcached", memcached, &extended),
            turn_count: 0,
            request_count: 0,
            wanted_counts: vec![0; wanted().count()],
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
        let mut early: [Option<(usize, usize)>; CONNECTION_COUNT] = [None; CONNECTION_COUNT];
        for (index, turn) in turns.iter().enumerate() {
            let requests = self.sent(turn);
            let sent = early[turn.connection].take().unwrap_or_default();
            self.turn(index, turn, &requests, sent)?;
            let next = turns[index + 1..].iter().find(|next| next.connection == turn.connection);
            let is_open = self.larder.streams[turn.connection].is_some();
            if let Some(next) = next.filter(|next| next.early > 0 && is_open) {
                early[turn.connection] = Some(self.begin(next)?);
            }
        }
        let [larder, memcached] = [self.larder.counters()?, self.memcached.counters()?];
        if larder != memcached {
            return Err(format!(
                "counters differ\n  Larder:    {larder:?}\n  memcached: {memcached:?}"
            ));
        }
        Ok(())
    }

    /// The requests of a turn, less those that neither is sent.
    fn sent(&mut self, turn: &Turn) -> Vec<Sent> {
        let stream: Vec<u8> = turn.requests.iter().flat_map(|request| request.0.clone()).collect();
        let mut requests = Vec::new();
        let units = units(&stream);
        for (index, unit) in units.iter().enumerate() {
            let [for_larder, for_memcached] = self.sides().map(|side| side.uniques.rendered(unit));
            let line = Line::new(&for_memcached, &units[..index]);
            let applied = wanted()
                .enumerate()
                .find_map(|(row, wanted)| Some((row, (wanted.applies)(&line)?)));
            let (row, peer) = applied.unzip();
            if let Some(row) = row {
                self.wanted_counts[row] += 1;
            }
            let larder = for_larder.bytes();
            let (memcached, is_ended) = match peer {
                None => (for_memcached.bytes(), false),
                Some(Peer::Instead(bytes)) => (bytes, false),
                Some(Peer::Ends(bytes)) => (bytes, true),
                Some(Peer::Nothing) => continue,
            };
            // A storage line alone has no effect, unless it is refused.
            let is_quiet = row.is_none()
                && unit.block.as_ref().is_some_and(|block| block.0.len() < ITEM_SIZE_MAX / 2);
            let early_len_max = match (row, is_quiet) {
                (Some(_), _) => 0,
                (None, true) => larder.len() - 1,
                (None, false) => unit.line_len() - 1,
            };
            let is_last = is_ended || unit.words().first() == Some(&&b"quit"[..]);
            requests.push(Sent { larder, memcached, is_last, early_len_max });
            if is_last {
                break;
            }
        }
        requests
    }

    /// Sends the beginning of a turn, which nothing may follow from; how much that was.
    fn begin(&mut self, turn: &Turn) -> Result<(usize, usize), String> {
        let requests = self.sent(turn);
        let Some(first) = requests.first() else {
            return Ok((0, 0));
        };
        let len = first.early_len_max * usize::from(turn.early) / 256;
        // Which unique it is may be learnt until then.
        let len = if first.larder.starts_with(b"cas") || first.larder.starts_with(b"m") {
            len.min(2)
        } else {
            len
        };
        for (side, bytes) in self.sides().into_iter().zip([&first.larder, &first.memcached]) {
            side.send(turn.connection, &bytes[..len])?;
        }
        Ok((len, len))
    }

    fn turn(
        &mut self,
        index: usize,
        turn: &Turn,
        requests: &[Sent],
        sent: (usize, usize),
    ) -> Result<(), String> {
        self.turn_count += 1;
        self.request_count += requests.len() as u64;
        let is_last = requests.last().is_some_and(|request| request.is_last);
        let nonce = format!("{:016x}", self.turn_count);
        let (store, end) = if is_last {
            (String::new(), String::new())
        } else {
            (
                format!("set ~ 0 0 16\r\n{nonce}\r\nget ~\r\n"),
                format!("STORED\r\nVALUE ~ 0 16\r\n{nonce}\r\nEND\r\n"),
            )
        };
        let streams = [
            requests
                .iter()
                .flat_map(|request| &request.larder)
                .chain(store.as_bytes())
                .copied()
                .collect::<Vec<u8>>(),
            requests
                .iter()
                .flat_map(|request| &request.memcached)
                .chain(store.as_bytes())
                .copied()
                .collect(),
        ];
        let mut replies = Vec::new();
        for (side, (bytes, sent)) in
            self.sides().into_iter().zip(streams.iter().zip([sent.0, sent.1]))
        {
            let stream =
                side.stream(turn.connection)?.try_clone().expect("a second handle of a socket");
            let writes = || write(&stream, &bytes[sent.min(bytes.len())..], &turn.cuts);
            let reply = thread::scope(|scope| {
                // Neither side may wait for the other to read.
                if bytes.len() > SENT_AT_ONCE_LEN_MAX {
                    scope.spawn(writes);
                } else {
                    writes();
                }
                let end = if is_last { None } else { Some(end.as_bytes()) };
                let reply = side.read_until(turn.connection, end);
                if reply.is_err() {
                    // Frees the writer.
                    let _ = stream.shutdown(Shutdown::Both);
                }
                reply
            })?;
            let reply = side.uniques.normal(&reply);
            replies.push(reply.map_err(|text| format!("{}: {text}", side.name))?);
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

impl Side {
    fn start(name: &'static str, program: &Path, args: &[&str]) -> Self {
        Self {
            name,
            program: program.to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
            server: Server::start(program, args),
            streams: Default::default(),
            uniques: Uniques::default(),
        }
    }

    /// Starts it anew where a session has ended it, so that the session can shrink.
    fn revive(&mut self) {
        if TcpStream::connect(self.server.address()).is_err() {
            let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
            self.server = Server::start(&self.program, &args);
        }
    }

    /// A connection, which is opened when it is first needed.
    fn stream(&mut self, connection: usize) -> Result<&TcpStream, String> {
        let slot = &mut self.streams[connection];
        if slot.is_none() {
            let stream = TcpStream::connect(self.server.address()).and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                Ok(stream)
            });
            let text = |error| {
                format!("{}: no connection: {error}; it said {}", self.name, self.server.stderr())
            };
            *slot = Some(stream.map_err(text)?);
        }
        Ok(slot.as_ref().expect("it was opened above"))
    }

    fn send(&mut self, connection: usize, bytes: &[u8]) -> Result<(), String> {
        let name = self.name;
        let sent = self.stream(connection)?.write_all(bytes);
        sent.map_err(|error| format!("{name} does not take requests: {error}"))
    }

    /// Reads until the replies end like that, or until the server has closed.
    fn read_until(&mut self, connection: usize, end: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let mut replies = Vec::new();
        while end.is_none_or(|end| !replies.ends_with(end)) {
            if self.read(connection, &mut replies)? > 0 {
                continue;
            }
            if end.is_some() {
                return Err(format!("{} closed after {}", self.name, replies.escape_ascii()));
            }
            self.streams[connection] = None;
            break;
        }
        Ok(replies)
    }

    fn read(&mut self, connection: usize, replies: &mut Vec<u8>) -> Result<usize, String> {
        let len = replies.len();
        replies.resize(len + READ_LEN, 0);
        let read = self.stream(connection)?.read(&mut replies[len..]);
        replies.truncate(len + read.as_ref().map_or(0, |read| *read));
        match read {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            read => read.map_err(|error| {
                format!("{}: {error} after {}", self.name, replies.escape_ascii())
            }),
        }
    }

    fn ask(&mut self, requests: &[u8], end: &[u8]) -> Result<Vec<u8>, String> {
        self.send(0, requests)?;
        self.read_until(0, Some(end))
    }

    fn counters(&mut self) -> Result<Vec<String>, String> {
        let replies = self.ask(b"stats\r\n", b"END\r\n")?;
        let text = String::from_utf8_lossy(&replies);
        let is_counted =
            |line: &&str| line.split(' ').nth(1).is_some_and(|name| COUNTED.contains(&name));
        Ok(text.lines().filter(is_counted).map(str::to_owned).collect())
    }
}
