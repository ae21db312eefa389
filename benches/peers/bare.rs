//! The limit: a server of sockets and tokio alone. It keeps nothing.
//!
//! It finds out how many requests it got and of which kind, and answers each `get` with a constant value for every
//! key and each `set`, once its value is there, with `STORED`. What it costs is what no server on tokio can
//! save. It runs in a process of its own: this program, started with a hidden option.
//!
//! Large values are sent from where they are; a client waits for one before it asks for the next. They come from as much
//! memory as those of the others take, and go into as much: copying costs less where it is the same all the time.
//!
//! INVARIANT: buffers belong to a worker. A connection owns memory while a part of a request or of its replies waits.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::Buf;
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::measure::VALUES_BYTES_MAX;
use crate::process::Outcome;

const BUFFER_LEN: usize = 256 << 10;
/// Values from this length on are not copied.
const LARGE_LEN: usize = 16 << 10;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// What is read, and what is answered.
#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    /// Where in it the next read goes.
    input_at: usize,
    out: Vec<u8>,
}

/// Serves until it is killed.
pub(crate) fn serve(value_len: usize, workers: usize) -> Outcome<()> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let value = Arc::new(Constant::new(value_len));
    for _ in 1..workers {
        let (listener, value) = (listener.try_clone()?, Arc::clone(&value));
        thread::spawn(move || {
            take_memory(&value);
            work(listener, &value).expect("a worker has what it needs");
        });
    }
    take_memory(&value);
    let ports = env::var_os("MEMCACHED_PORT_FILENAME").ok_or("nobody asked for the port")?;
    fs::write(ports, format!("TCP INET: {}\n", listener.local_addr()?.port()))?;
    Ok(work(listener, &value)?)
}

/// Nothing of it is new to the system when requests come.
fn take_memory(value: &Constant) {
    BUFFERS.with_borrow_mut(|buffers| buffers.input = vec![b'i'; value.input_len()]);
}

fn work(listener: std::net::TcpListener, value: &Arc<Constant>) -> io::Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (value, mut connection) = (Arc::clone(value), Connection::default());
            // An error is the end of a connection, which is all that it has.
            tokio::spawn(async move { connection.serve(stream, &value).await });
        }
    })
}

/// What is answered.
struct Constant {
    /// Between the key and the end of a value; without that, where it is large.
    get: Vec<u8>,
    /// Between `VA ` and the key, and from there to the end of a value.
    meta: (Vec<u8>, Vec<u8>),
    /// Large values, one behind the other.
    large: Vec<u8>,
    value_len: usize,
    /// So many of them were sent.
    sent_count: AtomicUsize,
}

impl Constant {
    fn new(value_len: usize) -> Self {
        let value = "c".repeat(value_len);
        let is_large = value_len >= LARGE_LEN;
        let end = if is_large { String::new() } else { format!("{value}\r\n") };
        let large_len = if is_large { VALUES_BYTES_MAX } else { 0 };
        Self {
            get: format!(" 0 {value_len}\r\n{end}").into_bytes(),
            meta: (
                format!("VA {value_len} k").into_bytes(),
                format!("\r\n{value}\r\n").into_bytes(),
            ),
            // Others than zeroes: these would all be one page.
            large: vec![b'c'; large_len],
            value_len,
            sent_count: AtomicUsize::new(0),
        }
    }

    fn is_large(&self) -> bool {
        !self.large.is_empty()
    }

    /// The large value that is sent next.
    fn next_large(&self) -> &[u8] {
        let count = self.large.len() / self.value_len;
        let at = self.sent_count.fetch_add(1, Relaxed) % count * self.value_len;
        &self.large[at..at + self.value_len]
    }

    /// Room for what is read.
    fn input_len(&self) -> usize {
        if self.is_large() { VALUES_BYTES_MAX } else { BUFFER_LEN }
    }
}

#[derive(Default)]
struct Connection {
    /// The part of a request that was read.
    rest: Vec<u8>,
    /// The value of a `set`: bytes that are still to come.
    value_left_len: usize,
    /// Replies that the socket did not take, or that a large value follows.
    unsent: Vec<u8>,
    /// There is a large value to be sent.
    is_value_due: bool,
}

impl Connection {
    async fn serve(&mut self, mut stream: TcpStream, value: &Constant) -> io::Result<()> {
        while poll_fn(|cx| self.poll_turn(cx, &mut stream, value)).await? {
            if self.unsent.is_empty() {
                continue;
            }
            let (value, end): (&[u8], &[u8]) =
                if self.is_value_due { (value.next_large(), b"\r\nEND\r\n") } else { (&[], &[]) };
            stream.write_all_buf(&mut self.unsent.as_slice().chain(value).chain(end)).await?;
            self.unsent = Vec::new();
            self.is_value_due = false;
        }
        Ok(())
    }

    /// Reads, and answers all that is complete; false when the client closed.
    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        value: &Constant,
    ) -> Poll<io::Result<bool>> {
        BUFFERS.with_borrow_mut(|Buffers { input, input_at, out }| {
            let input = &mut input[*input_at..*input_at + BUFFER_LEN];
            let rest_len = self.rest.len();
            input[..rest_len].copy_from_slice(&self.rest);
            let mut unread = ReadBuf::new(&mut input[rest_len..]);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut unread))?;
            let read_len = unread.filled().len();
            if read_len == 0 {
                return Poll::Ready(Ok(false));
            }
            if read_len >= LARGE_LEN {
                *input_at = (*input_at + BUFFER_LEN) % value.input_len();
            }
            let input = &input[..rest_len + read_len];
            out.clear();
            let taken = self.answer(input, value, out);
            self.rest.clear();
            self.rest.extend_from_slice(&input[taken..]);
            if self.rest.is_empty() {
                self.rest = Vec::new();
            }
            let mut sent = 0;
            if self.is_value_due {
                self.unsent.clone_from(out);
                return Poll::Ready(Ok(true));
            }
            while sent < out.len() {
                match Pin::new(&mut *stream).poll_write(cx, &out[sent..])? {
                    Poll::Ready(len) => sent += len,
                    Poll::Pending => {
                        self.unsent = out[sent..].to_vec();
                        break;
                    }
                }
            }
            Poll::Ready(Ok(true))
        })
    }

    /// How much of the input it has answered.
    fn answer(&mut self, input: &[u8], value: &Constant, out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            if self.value_left_len > 0 {
                let len = self.value_left_len.min(rest.len());
                taken += len;
                self.value_left_len -= len;
                if self.value_left_len > 0 {
                    return taken;
                }
                out.extend_from_slice(b"STORED\r\n");
            }
            let rest = &input[taken..];
            let Some(end) = memchr(b'\n', rest) else { return taken };
            let line = rest[..end].trim_ascii_end();
            taken += end + 1;
            let mut words = line.split(|byte| *byte == b' ');
            match words.next() {
                Some(b"get") if value.is_large() => {
                    out.extend_from_slice(b"VALUE ");
                    out.extend_from_slice(words.next().unwrap_or_default());
                    out.extend_from_slice(&value.get);
                    self.is_value_due = true;
                    return taken;
                }
                Some(b"get") => {
                    for key in words {
                        out.extend_from_slice(b"VALUE ");
                        out.extend_from_slice(key);
                        out.extend_from_slice(&value.get);
                    }
                    out.extend_from_slice(b"END\r\n");
                }
                Some(b"mg") => {
                    let (before, after) = &value.meta;
                    out.extend_from_slice(before);
                    out.extend_from_slice(words.next().unwrap_or_default());
                    out.extend_from_slice(after);
                }
                Some(b"set") => {
                    let len = words.next_back().and_then(|len| str::from_utf8(len).ok());
                    let len: usize = len.and_then(|len| len.parse().ok()).unwrap_or(0);
                    self.value_left_len = len + b"\r\n".len();
                }
                Some(b"mn") => out.extend_from_slice(b"MN\r\n"),
                Some(_) | None => out.extend_from_slice(b"ERROR\r\n"),
            }
        }
    }
}
