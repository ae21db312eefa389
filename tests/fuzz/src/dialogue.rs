//! What a client and a server say to each other, without a socket: the server's part is a [`Session`], as in a connection.

use larder::command::Context;
use larder::connection::burst::{Next, REPLY_LEN_MAX, Session};
use larder::instance::Instance;
use larder::replies::Replies;
use larder::store::Now;
use larder::watch::Watcher;
use larder_protocol::Streams;
use std::io;
use std::sync::LazyLock;
use tracing::Dispatch;

/// A session goes on at last after so many turns in which it has not.
const IDLE_TURNS_MAX: u32 = 10_000;

/// Writes a line for each request, to nowhere.
static LOG: LazyLock<Dispatch> = LazyLock::new(|| {
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    log.with_writer(io::sink).with_ansi(false).without_time().into()
});

/// One session with a server.
#[derive(Debug)]
pub struct Dialogue<'a> {
    server: &'a Instance,
    /// It stands still, so that all that is played says the same.
    now: Now,
    session: Session,
    /// What was sent and is not done with.
    input: Vec<u8>,
    /// How long that must be for another look at it.
    len_min: usize,
    out: Replies,
    /// What nobody has taken yet.
    replies: Vec<u8>,
    is_closed: bool,
}

impl<'a> Dialogue<'a> {
    /// Nothing was said yet.
    pub fn new(server: &'a Instance) -> Self {
        Self {
            server,
            // As soon as the server has started.
            now: Now { ms: 1, unix_ms: 1_800_000_000_000 },
            session: Session::new(server.config.protocol),
            input: Vec::new(),
            len_min: 1,
            out: Replies::default(),
            replies: Vec::new(),
            is_closed: false,
        }
    }

    /// Whether the server has closed; whatever is sent then is not read.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What was answered since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.replies)
    }

    /// Lets what was taken be taken again.
    pub(super) fn put_back(&mut self, replies: Vec<u8>) {
        self.replies = replies;
    }

    /// Does something while all that happens is logged, and watched.
    pub(super) fn in_the_open(&mut self, act: impl FnOnce(&mut Self)) {
        let streams = Streams::of_bits(u16::MAX);
        let watcher = Watcher::enter(&self.server.watchers, streams).expect("it is the only one");
        tracing::dispatcher::with_default(&LOG, || act(self));
        drop(watcher);
    }

    /// Sends what is read at once, and has all of it answered that can be.
    pub fn send(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        // Taken out while it is read.
        let mut input = std::mem::take(&mut self.input);
        let (mut start, mut idle_turns) = (0, 0);
        while !self.is_closed && input.len() - start >= self.len_min {
            let consumed = self.turn(&input[start..]);
            start += consumed;
            idle_turns = if consumed > 0 { 0 } else { idle_turns + 1 };
            assert!(idle_turns < IDLE_TURNS_MAX, "no way on: {}", input[start..].escape_ascii());
        }
        input.drain(..start);
        self.input = input;
    }

    /// One call, and what a connection does behind it.
    fn turn(&mut self, input: &[u8]) -> usize {
        let before_len = self.out.len();
        let cx = Context {
            instance: self.server,
            counters: &self.server.counters[0],
            now: self.now,
            watched: self.server.watchers.streams(),
            cfd: 0,
        };
        let progress = self.session.run(&cx, input, &mut self.out);
        let item_size_max = self.server.config.item_size_max_bytes as usize;
        let len_max = before_len + REPLY_LEN_MAX + item_size_max + 300;
        assert!(self.out.len() < len_max, "replies are bounded");
        assert!(progress.partial_len <= progress.consumed);
        self.len_min = 0;
        match progress.next {
            Next::Read { len_min } => {
                assert!(len_min > input.len() - progress.consumed, "waits for what is here");
                self.len_min = len_min;
            }
            Next::Flush => assert!(self.out.len() > 0, "nothing is to be sent"),
            // The replies may be held back.
            Next::Yield => return progress.consumed,
            Next::Quit | Next::Close | Next::Watch(_) => self.is_closed = true,
        }
        self.out.pieces().for_each(|piece| self.replies.extend_from_slice(piece));
        self.out.clear();
        progress.consumed
    }
}
