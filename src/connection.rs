//! One client: read, answer all that is complete, write once.
//!
//! INVARIANT: nothing is read while replies wait to be sent, so a client that does not read is not
//! served.
//! INVARIANT: a connection costs at most its read buffer, which holds one request (a value of `-I` at
//! most) or is small, and its reply buffer, which holds 64 KiB and one value more.

pub mod burst;

use crate::clients::{Guest, State};
use crate::command::Context;
use crate::instance::Instance;
use crate::stats::Counters;
use burst::{Next, Session};
use bytes::{Buf, BytesMut};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The least room that a read is given, in bytes.
const READ_LEN_MIN: usize = 16 * 1024;
/// A buffer that grew past this is given back once it is not needed any more.
const IDLE_BUFFER_LEN_MAX: usize = 64 * 1024;
/// How much is read, and for how long, from a client that was told that it is over.
const LINGER_LEN_MAX: usize = 1 << 20;
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// A connection and its buffers.
#[derive(Debug)]
pub struct Connection<'a> {
    instance: &'a Instance,
    counters: &'a Counters,
    guest: Guest,
    stream: TcpStream,
    session: Session,
    input: BytesMut,
    /// What `input` may have allocated since it was last made anew; its own capacity forgets what has
    /// been consumed.
    input_allocated: usize,
    out: Vec<u8>,
}

impl<'a> Connection<'a> {
    /// A connection that was accepted; `counters` are the calling thread's.
    pub fn new(
        instance: &'a Instance,
        counters: &'a Counters,
        stream: TcpStream,
        guest: Guest,
    ) -> Self {
        Self {
            instance,
            counters,
            guest,
            stream,
            session: Session::default(),
            input: BytesMut::new(),
            input_allocated: 0,
            out: Vec::new(),
        }
    }

    /// Serves it until one side closes. An error ends this connection and nothing else.
    pub async fn serve(mut self) -> io::Result<()> {
        loop {
            self.guest.set_state(State::ParseCmd);
            let now = self.instance.clock.now();
            let cx = Context { instance: self.instance, counters: self.counters, now };
            let progress = self.session.run(&cx, &self.input, &mut self.out);
            if progress.consumed > 0 {
                self.guest.touch(now.ms);
                self.input.advance(progress.consumed);
            }
            match progress.next {
                Next::Yield => tokio::task::yield_now().await,
                Next::Flush => self.flush().await?,
                Next::Quit => return self.flush().await,
                Next::Close => {
                    self.flush().await?;
                    return linger(&mut self.stream).await;
                }
                Next::Read { len_min } => {
                    self.flush().await?;
                    if !self.fill(len_min).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sends all replies.
    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.guest.set_state(State::Write);
        self.guest.response_bytes.store(self.out.capacity(), Relaxed);
        self.stream.write_all(&self.out).await?;
        self.counters.bytes_written.add(self.out.len() as u64);
        self.out.clear();
        if self.out.capacity() > IDLE_BUFFER_LEN_MAX {
            self.out = Vec::new();
        }
        self.guest.response_bytes.store(self.out.capacity(), Relaxed);
        Ok(())
    }

    /// Reads until the input is this long; false when the client closed, or was idle for too long.
    async fn fill(&mut self, len_min: usize) -> io::Result<bool> {
        self.guest.set_state(match (self.session.is_swallowing(), self.input.is_empty()) {
            (true, _) => State::Swallow,
            (false, true) => State::Read,
            (false, false) => State::Nread,
        });
        if self.input_allocated > IDLE_BUFFER_LEN_MAX && len_min <= READ_LEN_MIN {
            self.input = BytesMut::from(&self.input[..]);
            self.input_allocated = 0;
        }
        while self.input.len() < len_min {
            self.input.reserve(READ_LEN_MIN);
            self.input_allocated = self.input_allocated.max(self.input.capacity());
            self.guest.read_buf_bytes.store(self.input_allocated, Relaxed);
            let Some(len) = self.read().await? else {
                self.counters.idle_kicks.increment();
                tracing::debug!(client = %self.guest.addr, "closing: idle for too long");
                return Ok(false);
            };
            if len == 0 {
                return Ok(false);
            }
            self.counters.bytes_read.add(len as u64);
        }
        Ok(true)
    }

    /// One read; `None` when nothing came in the time that a client may be idle.
    async fn read(&mut self) -> io::Result<Option<usize>> {
        let read = self.stream.read_buf(&mut self.input);
        match self.instance.config.idle_timeout_s {
            0 => read.await.map(Some),
            seconds => {
                let limit = Duration::from_secs(u64::from(seconds));
                tokio::time::timeout(limit, read).await.ok().transpose()
            }
        }
    }
}

/// Closes our side and waits a little for the client's: closing with unread bytes would take the last
/// reply away from a client that is still sending.
pub async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let drain = async {
        let mut scrap = BytesMut::with_capacity(READ_LEN_MIN);
        let mut drained_len = 0;
        while drained_len < LINGER_LEN_MAX {
            scrap.clear();
            match stream.read_buf(&mut scrap).await? {
                0 => break,
                len => drained_len += len,
            }
        }
        Ok(())
    };
    tokio::time::timeout(LINGER_TIME_MAX, drain).await.unwrap_or(Ok(()))
}
