//! The limit: a server of sockets and tokio alone. It keeps nothing.
//!
//! It finds out how many requests it got and of which kind, and answers each `get` with a constant value for every
//! key and each `set`, once its value is there, with `STORED`. What it costs is what no server on tokio can
//! save. It runs in a process of its own: this program, started with a hidden option.
//!
//! Large values are sent from where they are; a client waits for one before it asks for the next.
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
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::Buf;
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::process::Outcome;

const BUFFER_LEN: usize = 256 << 10;
/// Values from this length on are not copied.
const LARGE_LEN: usize = 16 << 10;

thread_local! {
    /// What is read, and what is answered.
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = RefCell::new((vec![0; BUFFER_LEN], Vec::new()));
}

/// Serves until it is killed.
pub(crate) fn serve(value_len: usize, workers: usize) -> Outcome<()> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let ports = env::var_os("MEMCACHED_PORT_FILENAME").ok_or("nobody asked for the port")?;
    fs::write(ports, format!("TCP INET: {}\n", listener.local_addr()?.port()))?;
    let value = Arc::new(Constant::new(value_len));
    for _ in 1..workers {
        let (listener, value) = (listener.try_clone()?, Arc::clone(&value));
        thread::spawn(move || work(listener, &value).expect("a worker has what it needs"));
    }
    Ok(work(listener, &value)?)
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
    /// Between the key and the end of a value.
    get: Vec<u8>,
    /// Between `VA ` and the key, and from there to the end of a value.
    meta: (Vec<u8>, Vec<u8>),
}

impl Constant {
    fn new(value_len: usize) -> Self {
        let value = "c".repeat(value_len);
        Self {
            get: format!(" 0 {value_len}\r\n{value}\r\n").into_bytes(),
            meta: (
                format!("VA {value_len} k").into_bytes(),
                format!("\r\n{value}\r\n").into_bytes(),
            ),
        }
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
                if self.is_value_due { (&value.get, b"END\r\n") } else { (&[], &[]) };
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
        BUFFERS.with_borrow_mut(|(input, out)| {
            let rest_len = self.rest.len();
            input[..rest_len].copy_from_slice(&self.rest);
            let mut unread = ReadBuf::new(&mut input[rest_len..]);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut unread))?;
            let read_len = unread.filled().len();
            if read_len == 0 {
                return Poll::Ready(Ok(false));
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
                Some(b"get") if value.get.len() >= LARGE_LEN => {
                    out.extend_from_slice(b"VALUE ");
                    out.extend_from_slice(words.next().unwrap_or_default());
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
