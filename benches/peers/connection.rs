//! One connection of the load: a batch of requests out, its replies in, the next one.
//!
//! INVARIANT: once it is open it never waits; what the socket does not take at once is sent when the socket says that
//! it would.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::sendfile::sendfile;
use socket2::{Domain, SockRef, Socket, Type};

use crate::draws::Walk;
use crate::process::Outcome;
use crate::window::Tally;
use crate::wire::{PAGE_LEN, Replies, Wire};

const BUFFER_LEN: usize = 256 << 10;
/// Bytes of values that are only counted do not leave the system when there are so many: a load that copied them
/// would be as slow as the server.
const DISCARDED_LEN_MIN: usize = 16 << 10;
const DISCARDED_LEN_MAX: usize = 4 << 20;
/// Of Linux: what is received from a TCP socket is thrown away.
const MSG_TRUNC: i32 = 0x20;
/// By so much the place of the page moves in a large value from one to the next.
const PAGE_STEP: usize = 1031;
const LINE_END: &[u8] = b"\r\n";
const EVENT_COUNT: usize = 1024;

/// What the connections of a thread share.
pub(crate) struct Tools {
    epoll: Epoll,
    pub(crate) wire: Wire,
    input: Vec<u8>,
    scratch: Vec<u8>,
    /// Given to the system for bytes that it is to throw away; never touched.
    discarded: Vec<MaybeUninit<u8>>,
    /// What large values are made of: sent without being copied, or the load would be slower than the server.
    value: File,
}

impl Tools {
    pub(crate) fn new(wire: &Wire) -> Outcome<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut value = File::from(memfd_create("value", MFdFlags::MFD_CLOEXEC)?);
        value.write_all(&b"v".repeat(wire.large_len()))?;
        Ok(Self {
            epoll,
            wire: wire.clone(),
            input: vec![0; BUFFER_LEN],
            scratch: Vec::new(),
            discarded: vec![MaybeUninit::uninit(); DISCARDED_LEN_MAX],
            value,
        })
    }

    /// The numbers of connections on which something happened within `timeout`.
    pub(crate) fn wait<'e>(
        &self,
        events: &'e mut [EpollEvent],
        timeout: EpollTimeout,
    ) -> Outcome<impl Iterator<Item = usize> + use<'e>> {
        let count = match self.epoll.wait(events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let token = |event: &EpollEvent| usize::try_from(event.data()).expect("an index");
        Ok(events[..count].iter().map(token))
    }
}

/// Room for what [`Tools::wait`] finds.
pub(crate) fn no_events() -> Vec<EpollEvent> {
    vec![EpollEvent::empty(); EVENT_COUNT]
}

/// Where to connect from and to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    from: Ipv4Addr,
    to: SocketAddr,
}

impl Route {
    /// Each of 200 connections comes from an address of its own: closed connections keep their ports for a minute,
    /// and one address has but 28,000.
    pub(crate) fn new(index: usize, port: u16) -> Self {
        let last = u8::try_from(index % 200).expect("less than 200");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { from: Ipv4Addr::new(127, 0, 0, 1 + last), to }
    }

    fn connect(self) -> Outcome<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.from, 0)).into())?;
        // Returns at once: the peer's system answers, and it is this one.
        socket.connect(&self.to.into())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }
}

/// A connection of the load.
pub(crate) struct Connection<'a> {
    route: Route,
    stream: TcpStream,
    /// What its events are called.
    token: u64,
    walk: Walk<'a>,
    /// What is due for the batch that was sent last.
    replies: Replies,
    /// Requests that were sent since it was opened.
    pub(crate) sent_count: usize,
    /// Batches that were sent.
    batch_count: usize,
    /// When the batch was sent, or was due.
    pub(crate) since: Instant,
    /// A part of a reply.
    rest: Vec<u8>,
    /// So many bytes of the batch are sent.
    written_len: usize,
    /// It waits until the socket takes more of them.
    is_blocked: bool,
}

impl<'a> Connection<'a> {
    pub(crate) fn open(tools: &Tools, route: Route, token: usize, walk: Walk<'a>) -> Outcome<Self> {
        let (stream, token) = (route.connect()?, token as u64);
        tools.epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        Ok(Self {
            route,
            stream,
            token,
            walk,
            replies: Replies::default(),
            sent_count: 0,
            // Connections do not begin alike.
            batch_count: usize::from(route.from.octets()[3]),
            since: Instant::now(),
            rest: Vec::new(),
            written_len: 0,
            is_blocked: false,
        })
    }

    /// Whether requests wait for their replies.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.replies.is_complete()
    }

    /// Closes, and opens anew.
    pub(crate) fn reopen(&mut self, tools: &Tools) -> Outcome<()> {
        // What is closed leaves the epoll by itself.
        self.stream = self.route.connect()?;
        self.sent_count = 0;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, self.token);
        Ok(tools.epoll.add(self.stream.as_fd(), event)?)
    }

    /// Sends the next `count` requests; false when there are none left.
    pub(crate) fn send(&mut self, tools: &mut Tools, count: usize) -> Outcome<bool> {
        self.replies.restart();
        self.walk.take(&mut self.replies.keys, count * tools.wire.keys_per_request());
        if self.replies.keys.is_empty() {
            return Ok(false);
        }
        self.sent_count += count;
        self.batch_count += 1;
        self.written_len = 0;
        self.write(tools)?;
        Ok(true)
    }

    /// After an event: sends what waits, reads once, and counts what came. Says whether all is answered, from
    /// which moment on the next requests count.
    pub(crate) fn advance(&mut self, tools: &mut Tools, tally: &mut Tally) -> Outcome<bool> {
        if self.is_blocked {
            self.write(tools)?;
        }
        let answered_before = self.replies.answered_count;
        if !self.read(tools)? {
            return Ok(false);
        }
        let (per_request, after) = (tools.wire.keys_per_request(), self.replies.answered_count);
        tally.keys += (after - answered_before) as u64;
        let requests = after / per_request - answered_before / per_request;
        let now = Instant::now();
        tally.record(requests as u64, now - self.since);
        if self.replies.is_complete() {
            tally.misses += self.replies.miss_count;
            self.since = now;
        }
        Ok(self.replies.is_complete())
    }

    /// False when nothing came.
    fn read(&mut self, tools: &mut Tools) -> Outcome<bool> {
        let counted_len = self.replies.counted_len();
        if self.rest.is_empty() && counted_len >= DISCARDED_LEN_MIN {
            let len = counted_len.min(tools.discarded.len());
            let socket = SockRef::from(&self.stream);
            let received = socket.recv_with_flags(&mut tools.discarded[..len], MSG_TRUNC);
            let len = came(received)?;
            self.replies.count(len);
            return Ok(len > 0);
        }
        let rest_len = self.rest.len();
        tools.input[..rest_len].copy_from_slice(&self.rest);
        let len = came(self.stream.read(&mut tools.input[rest_len..]))?;
        let input = &tools.input[..rest_len + len];
        let taken = self.replies.take(&mut tools.wire, input)?;
        self.rest.clear();
        self.rest.extend_from_slice(&input[taken..]);
        Ok(len > 0)
    }

    /// Sends what the socket takes of the batch, and waits for it to take the rest.
    fn write(&mut self, tools: &mut Tools) -> Outcome<()> {
        let is_blocked = !self.send_rest(tools)?;
        if is_blocked != self.is_blocked {
            self.is_blocked = is_blocked;
            let blocked = if is_blocked { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | blocked, self.token);
            tools.epoll.modify(self.stream.as_fd(), &mut event)?;
        }
        Ok(())
    }

    /// Sends what the socket takes of the batch; whether that is all that was left.
    fn send_rest(&mut self, tools: &mut Tools) -> Outcome<bool> {
        let page_at = self.batch_count * PAGE_STEP % PAGE_LEN;
        let (text, large_len) =
            tools.wire.requests(&mut tools.scratch, &self.replies.keys, page_at);
        let socket = SockRef::from(&self.stream);
        if large_len == 0 {
            self.written_len += went(socket.send(&text[self.written_len..]))?;
            return Ok(self.written_len == text.len());
        }
        // What goes out in parts comes as if it did not.
        if self.written_len == 0 {
            socket.set_tcp_cork(true)?;
        }
        if self.written_len < text.len() {
            self.written_len += went(socket.send(&text[self.written_len..]))?;
        }
        let value_end = text.len() + large_len;
        if (text.len()..value_end).contains(&self.written_len) {
            let mut from = i64::try_from(self.written_len - text.len()).expect("a length");
            let count = value_end - self.written_len;
            let sent = sendfile(&self.stream, &tools.value, Some(&mut from), count);
            self.written_len += went(sent.map_err(io::Error::from))?;
        }
        let end = value_end + LINE_END.len();
        if (value_end..end).contains(&self.written_len) {
            self.written_len += went(socket.send(&LINE_END[self.written_len - value_end..]))?;
        }
        let is_sent = self.written_len == end;
        if is_sent {
            socket.set_tcp_cork(false)?;
        }
        Ok(is_sent)
    }
}

/// How many bytes a socket took.
fn went(write: io::Result<usize>) -> Outcome<usize> {
    match write {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        write => Ok(write?),
    }
}

/// How many bytes a read got; none when there are none yet.
fn came(read: io::Result<usize>) -> Outcome<usize> {
    match read {
        Ok(0) => Err("the server closed a connection".into()),
        Ok(len) => Ok(len),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}
