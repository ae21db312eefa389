//! One of the two servers: its process, its connections, and what is known of its CAS uniques.

use super::generate::CONNECTION_COUNT;
use super::reply::Uniques;
use crate::process::{DEADLINE, Server};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    "total_items",
];
/// Those that memcached does not count in the binary protocol.
const COUNTED_IN_TEXT: &[&str] = &["store_too_large", "store_no_memory"];
const READ_LEN: usize = 65536;

pub(super) struct Side {
    pub(super) name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    server: Server,
    pub(super) streams: [Option<Arc<TcpStream>>; CONNECTION_COUNT],
    pub(super) uniques: Uniques,
    /// What a read has brought.
    piece: Vec<u8>,
}

impl Side {
    pub(super) fn start(name: &'static str, program: &Path, args: &[&str]) -> Self {
        Self {
            name,
            program: program.to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
            server: Server::start(program, args),
            streams: Default::default(),
            uniques: Uniques::default(),
            piece: vec![0; READ_LEN],
        }
    }

    /// Starts it anew where a session has ended it, so that the session can shrink.
    pub(super) fn revive(&mut self) {
        if TcpStream::connect(self.server.address()).is_err() {
            let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
            self.server = Server::start(&self.program, &args);
        }
    }

    /// A connection, which is opened when it is first needed.
    pub(super) fn stream(&mut self, connection: usize) -> Result<Arc<TcpStream>, String> {
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
            *slot = Some(Arc::new(stream.map_err(text)?));
        }
        Ok(Arc::clone(slot.as_ref().expect("it was opened above")))
    }

    pub(super) fn send(&mut self, connection: usize, bytes: &[u8]) -> Result<(), String> {
        let name = self.name;
        let sent = (&*self.stream(connection)?).write_all(bytes);
        sent.map_err(|error| format!("{name} does not take requests: {error}"))
    }

    /// Reads until the replies end like that, or until the server has closed.
    pub(super) fn read_until(
        &mut self,
        connection: usize,
        end: Option<&[u8]>,
    ) -> Result<Vec<u8>, String> {
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
        let read = (&*self.stream(connection)?).read(&mut self.piece);
        replies.extend_from_slice(&self.piece[..*read.as_ref().unwrap_or(&0)]);
        match read {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            read => read.map_err(|error| {
                format!("{}: {error} after {}", self.name, replies.escape_ascii())
            }),
        }
    }

    pub(super) fn ask(&mut self, requests: &[u8], end: &[u8]) -> Result<Vec<u8>, String> {
        self.send(0, requests)?;
        self.read_until(0, Some(end))
    }

    /// The counters that must be the same after a session that has spoken text alone, or not.
    pub(super) fn counters(&mut self, is_text: bool) -> Result<Vec<String>, String> {
        let replies = self.ask(b"stats\r\n", b"END\r\n")?;
        let text = String::from_utf8_lossy(&replies);
        let is_counted = |line: &&str| {
            let name = line.split(' ').nth(1).unwrap_or_default();
            COUNTED.contains(&name) || is_text && COUNTED_IN_TEXT.contains(&name)
        };
        Ok(text.lines().filter(is_counted).map(str::to_owned).collect())
    }
}
