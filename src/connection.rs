//! One client: read, answer all that is complete, write once.
//!
//! What is read goes into a buffer of the thread, and so do the replies: a connection has memory of its own only while
//! it holds a part of a request, or replies that the client has not taken yet. Large values are in neither: they go from
//! the socket to where the store keeps them, and from there to the socket.
//!
//! INVARIANT: nothing is read while replies wait to be sent, so a client that does not read is not
//! served.
//! INVARIANT: a connection costs at most its input, which holds one request (a value of `-I` at
//! most) or is small, and its unsent replies, which are 64 KiB and one value more: less
//! where the store has lent that.
//! INVARIANT: what it costs is within the budget of all connections. It waits before it grows; where what it has got
//! already finds no room, it ends.

mod aside;
pub mod burst;
mod incoming;
mod linger;
mod memory;
mod send;
mod watching;

pub use linger::linger;

use crate::address::Peer;
use crate::clients::{Guest, State};
use crate::command::Context;
use crate::instance::Instance;
use crate::replies::{Replies, Unsent};
use crate::stats::Counters;
use crate::watch::{self, Closed};
use aside::{put_aside, take_back};
use burst::{Next, Session, in_u32};
use larder_protocol::Streams;
use send::poll_send;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;

/// As much is read at once, in bytes. A longer request is read into memory of the connection.
const READ_LEN: usize = 64 * 1024;
/// The same behind a large value, in bytes: what comes is another one, perhaps, and goes where it is kept.
const SHORT_READ_LEN: usize = 8 * 1024;
/// So much of a longer request comes first, whatever length was announced.
const FIRST_LEN_MIN: usize = READ_LEN / 2;
/// The replies' buffer of a thread is given back when it grew past this.
const SMALL_OUT_LEN: usize = 2 << 20;
/// As much is held back, in bytes, when others have their turn in the middle of a burst.
const HELD_LEN_MAX: usize = 16 * 1024;
/// Others have their turn when a client was sent so much, in bytes.
const TURN_LEN_MAX: usize = 256 * 1024;
/// What the connections of a thread share: in use while one of them has its turn. What is in there in between is
/// nobody's.
#[derive(Debug)]
struct Buffers {
    input: Box<[u8]>,
    out: Replies,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> =
        RefCell::new(Buffers { input: vec![0; READ_LEN].into(), out: Replies::default() });
}

/// A connection and its buffers.
#[derive(Debug)]
pub struct Connection {
    instance: Arc<Instance>,
    /// The number of the thread that serves it.
    worker: u32,
    // Before the stream: its number is taken by another as soon as that is closed.
    guest: Guest,
    /// Of a Unix socket too: whatever is done with it here is the same there.
    stream: TcpStream,
    session: Session,
    /// What was read and is not done with.
    input: Vec<u8>,
    /// How long the input must be for another look at it.
    len_min: u32,
    /// Replies that are sent with the next ones.
    held: Vec<u8>,
    /// Replies that the client has not taken.
    unsent: Option<Box<Unsent>>,
}

// A task is aligned to 128 bytes, and there may be many that wait: with more than this it takes 512 bytes, not 384.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Connection>() <= 152);

/// How a connection goes on after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// With another one.
    On,
    /// With another one, when others had theirs.
    Yield,
    /// With nothing but what happens from now on.
    Watch(Streams),
    /// Not at all.
    Quit,
    /// Not at all, but the client is still sending.
    Close,
    /// The same, and it must hear that there is no memory for what it sends.
    NoMemory,
}

impl Connection {
    /// A connection that was accepted, for the worker of this number.
    pub fn new(instance: Arc<Instance>, worker: usize, stream: TcpStream, guest: Guest) -> Self {
        Self {
            instance,
            worker: in_u32(worker),
            session: Session::new(guest.peer().protocol),
            guest,
            stream,
            input: Vec::new(),
            len_min: 1,
            held: Vec::new(),
            unsent: None,
        }
    }

    /// Who it is.
    pub fn peer(&self) -> Peer {
        self.guest.peer()
    }

    /// Tells those who watch that it is there.
    pub fn show_new(&self) {
        let (peer, cfd) = (self.guest.peer(), self.guest.fd);
        self.show(|line| watch::conn_new(line, peer, cfd));
    }

    /// Tells those who watch that it ends.
    pub fn show_closed(&self, closed: Closed) {
        let (peer, cfd) = (self.guest.peer(), self.guest.fd);
        self.show(|line| watch::conn_close(line, peer, closed, cfd));
    }

    fn show(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let watchers = &self.instance.watchers;
        if watchers.streams().has(Streams::CONNEVENTS) {
            watchers.log(Streams::CONNEVENTS, line);
        }
    }

    /// Says that serving it panicked, and gives back what its replies were lent.
    pub fn count_panic(&self) {
        self.counters().conn_panics.increment();
        BUFFERS.with_borrow_mut(|buffers| buffers.out.clear());
    }

    fn len_min(&self) -> usize {
        self.len_min as usize
    }

    fn counters(&self) -> &Counters {
        &self.instance.counters[self.worker as usize]
    }

    /// Serves it until one side closes. An error ends this connection and nothing else.
    pub async fn serve(&mut self) -> io::Result<Closed> {
        let mut turn = Turn::On;
        loop {
            if self.unsent.is_some() {
                self.send_rest().await?;
            }
            match turn {
                Turn::On => {}
                Turn::Yield => tokio::task::yield_now().await,
                Turn::Watch(streams) => {
                    if Box::pin(self.watch(streams)).await? {
                        return Ok(Closed::Normal);
                    }
                }
                Turn::Quit => return Ok(Closed::Normal),
                // In memory of its own, which a connection does not need before.
                Turn::Close => {
                    Box::pin(linger(&mut self.stream)).await?;
                    return Ok(Closed::Error);
                }
                Turn::NoMemory => {
                    Box::pin(self.refuse()).await?;
                    return Ok(Closed::Error);
                }
            }
            if !self.has_room() {
                Box::pin(self.wait_for_room()).await;
            }
            let seconds = self.instance.config.idle_timeout_s;
            // As in memcached, clients on the same machine may be idle for ever.
            let is_patient = seconds == 0 || self.peer().addr.is_none();
            if is_patient || self.input.len() >= self.len_min() {
                turn = self.turn().await?;
                continue;
            }
            let limit = Duration::from_secs(u64::from(seconds));
            let Ok(in_time) = Box::pin(tokio::time::timeout(limit, self.turn())).await else {
                self.counters().idle_kicks.increment();
                tracing::debug!(client = %self.guest.peer(), "closing: idle for too long");
                return Ok(Closed::IdleTimeout);
            };
            turn = in_time?;
        }
    }

    /// Reads what there is to read and answers it, as far as the client takes the answers.
    async fn turn(&mut self) -> io::Result<Turn> {
        if self.input.len() < self.len_min() {
            if self.is_read_shared() {
                return poll_fn(|cx| self.poll_shared(cx)).await;
            }
            if self.guest.is_closing() {
                return Ok(self.end());
            }
            self.set_reading();
            let len = self.stream.read_buf(&mut self.input).await?;
            if len == 0 {
                return Ok(self.end());
            }
            self.counters().bytes_read.add(len as u64);
            if self.input.len() < self.len_min() {
                return Ok(Turn::On);
            }
        }
        poll_fn(|cx| Poll::Ready(self.answer_own(cx))).await
    }

    /// Reads into the thread's buffer, behind what is left from before, and answers from there.
    fn poll_shared(&mut self, cx: &mut task::Context<'_>) -> Poll<io::Result<Turn>> {
        BUFFERS.with_borrow_mut(|Buffers { input, out }| {
            self.set_reading();
            let is_draining = self.instance.is_draining();
            let is_short = !self.instance.clients.budget.has_room();
            let (front_len, len, is_all) = ready!(self.poll_read(cx, input, is_short))?;
            if front_len + len == 0 {
                return Poll::Ready(Ok(self.end()));
            }
            let is_peeked = is_short && len > 0;
            if !is_peeked {
                self.counters().bytes_read.add((front_len + len) as u64);
            }
            if len == 0 {
                if !self.session.has_whole() {
                    return Poll::Ready(Ok(Turn::On));
                }
                // There is nothing behind it to wait for.
                self.len_min = 0;
            }
            // All that was sent before the server was asked to end is read now, and the last to be answered.
            let is_last = is_draining && is_all;
            let come = &input[..self.input.len() + len];
            let (consumed, turn) = if come.len() < self.len_min() {
                (0, Turn::On)
            } else {
                self.answer(cx, come, out)?
            };
            let is_kept = if is_peeked {
                let Some(taken_len) = self.keep_peeked(&come[consumed..], turn, consumed, len)
                else {
                    return Poll::Ready(Ok(self.refuse_input()));
                };
                take_peeked(&self.stream, &mut input[..taken_len])?;
                self.counters().bytes_read.add(taken_len as u64);
                taken_len == len
            } else {
                self.keep(&come[consumed..], turn)
            };
            if !is_kept && !is_peeked {
                return Poll::Ready(Ok(self.refuse_input()));
            }
            // What it could not keep is still there to be looked at, and hides that there is no more.
            if !is_kept && turn == Turn::On && self.guest.is_closing() {
                return Poll::Ready(Ok(self.end()));
            }
            let is_idle = self.input.is_empty() && !self.session.has_incoming();
            let is_done = turn == Turn::On && is_kept && is_idle && self.unsent.is_none();
            Poll::Ready(Ok(if is_last && is_done { Turn::Close } else { turn }))
        })
    }

    /// Reads into the thread's buffer, behind a copy of what is left from before; what is of a large value goes where
    /// that is kept. Where memory is short, what cannot be kept stays where it is: the rest is only looked at. How much
    /// came of such a value, and how much else, and whether that is all there is.
    fn poll_read(
        &mut self,
        cx: &mut task::Context<'_>,
        input: &mut [u8],
        is_short: bool,
    ) -> Poll<io::Result<(usize, usize, bool)>> {
        if let Some(incoming) = self.session.receiving() {
            let behind = if is_short { &mut [] } else { &mut input[..SHORT_READ_LEN] };
            return incoming.poll_read(&self.stream, cx, behind);
        }
        let len_max = if self.session.expects_large() { SHORT_READ_LEN } else { READ_LEN };
        let mut room = ReadBuf::new(&mut input[..READ_LEN.min(self.input.len() + len_max)]);
        room.put_slice(&self.input);
        if is_short {
            ready!(self.stream.poll_peek(cx, &mut room))?;
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        }
        Poll::Ready(Ok((0, room.filled().len() - self.input.len(), room.remaining() > 0)))
    }

    /// Answers what is in the input.
    fn answer_own(&mut self, cx: &mut task::Context<'_>) -> io::Result<Turn> {
        let input = std::mem::take(&mut self.input);
        let answered = BUFFERS.with_borrow_mut(|buffers| self.answer(cx, &input, &mut buffers.out));
        let (consumed, turn) = answered?;
        if consumed == 0 {
            self.input = input;
            return Ok(turn);
        }
        let is_kept = self.keep(&input[consumed..], turn);
        take_back(input);
        Ok(if is_kept { turn } else { self.refuse_input() })
    }

    /// Answers requests until there is no whole one left, or the client does not take the answers; how much of the
    /// `input` is done with.
    fn answer(
        &mut self,
        cx: &mut task::Context<'_>,
        input: &[u8],
        out: &mut Replies,
    ) -> io::Result<(usize, Turn)> {
        self.guest.set_state(State::ParseCmd);
        let now = self.instance.clock.now();
        // What a connection that failed could not send is for nobody else.
        out.clear();
        let held = std::mem::take(&mut self.held);
        out.text.extend_from_slice(&held);
        take_back(held);
        let (mut consumed, mut partial_len, mut sent_len) = (0, 0, 0);
        let turn = loop {
            let instance = &*self.instance;
            let counters = &instance.counters[self.worker as usize];
            let watched = instance.watchers.streams();
            let context = Context { instance, counters, now, watched, cfd: self.guest.fd };
            let progress = self.session.run(&context, &input[consumed..], out);
            consumed += progress.consumed;
            partial_len += progress.partial_len;
            let next = progress.next;
            self.len_min = if let Next::Read { len_min } = next { in_u32(len_min) } else { 0 };
            if next == Next::Yield && out.len() <= HELD_LEN_MAX && out.is_text() {
                // The rest of the burst goes on soon: its replies are worth one write.
                self.held = put_aside(&out.text);
                out.clear();
                break Turn::Yield;
            }
            sent_len += out.len();
            self.send(cx, out)?;
            break match next {
                Next::Flush if self.unsent.is_none() && sent_len < TURN_LEN_MAX => continue,
                Next::Flush | Next::Yield => Turn::Yield,
                Next::Read { .. } => Turn::On,
                Next::Quit => Turn::Quit,
                Next::Watch(streams) => Turn::Watch(streams),
                Next::Close => Turn::Close,
            };
        };
        if self.unsent.is_none() {
            self.hold_replies(self.held.len() + self.session.dump_len())?;
        }
        if consumed > partial_len {
            self.guest.touch(now.ms);
        }
        if out.text.capacity() > SMALL_OUT_LEN {
            out.text = Vec::new();
        }
        Ok((consumed, turn))
    }

    /// Sends replies; what the client does not take at once stays unsent.
    fn send(&mut self, cx: &mut task::Context<'_>, out: &mut Replies) -> io::Result<()> {
        let sent = self.try_send(cx, out);
        // Nothing stays lent to a connection that failed.
        out.clear();
        sent
    }

    fn try_send(&mut self, cx: &mut task::Context<'_>, out: &mut Replies) -> io::Result<()> {
        let mut sent_len = 0;
        while sent_len < out.len() {
            match poll_send(&mut self.stream, cx, out, sent_len)? {
                Poll::Ready(len) => sent_len += len,
                Poll::Pending => {
                    let unsent = out.take_rest(sent_len, |len| self.hold_replies(len))?;
                    self.unsent = Some(Box::new(unsent));
                    break;
                }
            }
        }
        self.counters().bytes_written.add(sent_len as u64);
        Ok(())
    }

    /// Sends all replies that are left.
    async fn send_rest(&mut self) -> io::Result<()> {
        self.guest.set_state(State::Write);
        while let Some(unsent) = &mut self.unsent {
            let Unsent { replies, sent_len } = &mut **unsent;
            let len = poll_fn(|cx| poll_send(&mut self.stream, cx, replies, *sent_len)).await?;
            *sent_len += len;
            if *sent_len == replies.len() {
                self.unsent = None;
            }
            self.counters().bytes_written.add(len as u64);
        }
        self.hold_replies(0)
    }

    fn set_reading(&self) {
        let has_part = !self.input.is_empty() || self.session.has_incoming();
        self.guest.set_state(match (self.session.is_swallowing(), has_part) {
            (true, _) => State::Swallow,
            (false, false) => State::Read,
            (false, true) => State::Nread,
        });
    }

    /// How to go on where nothing more can be read: the client has closed, or it is closed for what it holds.
    fn end(&mut self) -> Turn {
        if self.guest.is_closing() { self.drop_input() } else { Turn::Quit }
    }
}

/// Takes bytes that were looked at, and so are there.
fn take_peeked(stream: &TcpStream, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let len = stream.try_read(bytes)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[len..];
    }
    Ok(())
}
