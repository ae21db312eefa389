//! A client that speaks the wire format and nothing more: what is sent and what comes back is in sight.

use crate::process::{DEADLINE, Server};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// One connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(server: &Server) -> Self {
        Self::over(server.connect())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP option");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout above zero");
        Self(BufReader::new(stream))
    }

    /// Over a Unix socket, of which nothing is asked but what it shares with TCP.
    pub(crate) fn over_unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout above zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout above zero");
        Self(BufReader::new(OwnedFd::from(stream).into()))
    }

    /// Sends bytes; the error is the test's to judge.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes what is sent");
    }

    /// The next line, with its line end, whatever that is.
    pub(crate) fn raw_line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line from the server");
        line
    }

    /// The next line, without its line end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = self.raw_line();
        assert!(line.ends_with("\r\n"), "a line ends in CRLF: {line:?}");
        line.truncate(line.len() - 2);
        line
    }

    /// As many bytes as that.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).expect("bytes from the server");
        bytes
    }

    /// Sends a request and compares the whole reply.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>, reply: &str) {
        self.send(request);
        let mut got = vec![0; reply.len()];
        self.0.read_exact(&mut got).expect("a reply from the server");
        assert_eq!(String::from_utf8_lossy(&got), reply);
    }

    /// The lines up to `END`.
    pub(crate) fn lines(&mut self, request: &str) -> Vec<String> {
        self.send(request);
        std::iter::from_fn(|| Some(self.line()).filter(|line| line != "END")).collect()
    }

    /// `STAT name value` lines, in order.
    pub(crate) fn stat_lines(&mut self, topic: &str) -> Vec<(String, String)> {
        let split = |line: String| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            assert_eq!(words.next().as_deref(), Some("STAT"), "{line:?}");
            (words.next().expect("a name"), words.next().expect("a value"))
        };
        self.lines(&format!("stats{topic}\r\n")).into_iter().map(split).collect()
    }

    /// The general counters by name.
    pub(crate) fn stats(&mut self) -> HashMap<String, String> {
        self.stat_lines("").into_iter().collect()
    }

    /// One of the general counters.
    #[track_caller]
    pub(crate) fn stat(&mut self, name: &str) -> u64 {
        self.stats()[name].parse().expect("a number")
    }

    /// Whether the server has closed, or closes now, with nothing more said.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), ""),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// Whether anything more comes before the server closes.
    pub(crate) fn is_more(&mut self) -> bool {
        !self.0.fill_buf().expect("an end in order").is_empty()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }
}
