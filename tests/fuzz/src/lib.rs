//! The rule for whatever clients send and operators write: no panic; exactly one reply to each request, in order; and a
//! way on from every input. The fuzz targets call it, and so do the property tests and the test that replays the seeds.
//!
//! What a session is held against is a naive reader of requests and replies ([`text`](mod@text), [`frames`]) that knows how long
//! they are and which may be silent, and nothing else. Each input is played three times, on a server of its own each time:
//!
//! * byte by byte, while everything is logged and watched;
//! * cut at places that follow from the input, or not at all;
//! * request by request as the naive reader sees them, with a no-op behind each, which must be answered right there.
//!
//! All of them must say the same, less what is counted (`stats`) and the order of what is listed.

#![allow(unreachable_pub, reason = "the targets are other crates, the tests are not")]

mod config;
mod dialogue;
mod frames;
mod text;

pub use config::config;
pub use dialogue::Dialogue;

use larder::config::{Config, Protocol};
use larder::instance::Instance;
use larder::log::Log;
use larder_protocol::binary::REQUEST_MAGIC;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::LazyLock;

/// Room for an input and what it has made of itself, so that nothing is evicted; little, for it is made anew for each.
const MEMORY_LIMIT_BYTES: u64 = 2 << 20;
/// So much of an input comes byte by byte.
const SINGLE_BYTES_MAX: usize = 1024;
/// Into so many pieces at most an input is cut.
const CUT_COUNT_MAX: u64 = 16;

/// Items that meta commands find: a number, one that expires, one that is out of date, one that is being refilled, one whose key
/// came in base64, and one of several segments.
static ITEMS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let lines = "ms n 2 F5\r\n10\r\nms t 1 T100\r\nx\r\nms s 3 T1000 E7\r\nold\r\nmd s I T30\r\nmg w N60\r\n\
                 ms AQI= 2 b\r\nab\r\nms v 9000\r\n";
    [lines.as_bytes(), &[b'v'; 9000], b"\r\n"].concat()
});

/// A session in text.
pub fn text(input: &[u8]) {
    keeps_the_rule(Wire::Text, b"", input);
}

/// The same, where there are items of many kinds.
pub fn meta(input: &[u8]) {
    keeps_the_rule(Wire::Text, &ITEMS, input);
}

/// A session in the binary protocol.
pub fn binary(input: &[u8]) {
    keeps_the_rule(Wire::Binary, b"", input);
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Text,
    Binary,
}

/// What a session has said.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    replies: Vec<u8>,
    is_closed: bool,
}

impl Wire {
    /// As a listener has it for this to be spoken; by itself where it is.
    fn protocol(self, input: &[u8]) -> Protocol {
        match (self, input.first() == Some(&REQUEST_MAGIC)) {
            (Self::Text, false) | (Self::Binary, true) => Protocol::Auto,
            (Self::Text, true) => Protocol::Ascii,
            (Self::Binary, false) => Protocol::Binary,
        }
    }

    /// A request that does nothing, and its reply.
    fn noop(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Text => (b"mn\r\n", b"MN\r\n"),
            Self::Binary => (&frames::NOOP, &frames::NOOP_DONE),
        }
    }

    /// How long the request at the front is, which may be more than there is; `None` where that cannot be seen yet.
    fn request_len(self, input: &[u8]) -> Option<usize> {
        match self {
            Self::Text => text::Request::read(input).map(|request| request.len()),
            Self::Binary => frames::request_len(input),
        }
    }

    /// Panics unless that is the answer to one request: one reply, or none where it may be silent.
    fn check_answer(self, request: &[u8], said: &Said) {
        match self {
            Self::Text => {
                let request = text::Request::read(request).expect("it was read before");
                request.check_answer(&said.replies, said.is_closed);
            }
            Self::Binary => frames::check_answer(request, &said.replies, said.is_closed),
        }
    }

    /// Replies less what differs from one server to the next.
    fn normal(self, replies: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Self::Text => text::normal(replies),
            Self::Binary => frames::normal(replies),
        }
    }
}

/// A server where nothing happened yet.
fn server(protocol: Protocol) -> Instance {
    static CONFIG: LazyLock<Config> = LazyLock::new(|| Config {
        threads: 1,
        memory_limit_bytes: MEMORY_LIMIT_BYTES,
        detail_enabled: true,
        ..Config::default()
    });
    Instance::new(Config { protocol, ..CONFIG.clone() }, Log::default(), Vec::new())
}

fn keeps_the_rule(wire: Wire, before: &[u8], input: &[u8]) {
    // What is before the input decides what is spoken.
    let protocol = wire.protocol(if before.is_empty() { input } else { before });
    let play = |play: &dyn Fn(&mut Dialogue<'_>)| {
        let server = server(protocol);
        let mut dialogue = Dialogue::new(&server);
        dialogue.send(before);
        dialogue.take();
        play(&mut dialogue);
        Said { is_closed: dialogue.is_closed(), replies: dialogue.take() }
    };
    let by_byte = play(&|dialogue| {
        dialogue.in_the_open(|dialogue| {
            let (front, rest) = input.split_at(input.len().min(SINGLE_BYTES_MAX));
            front.chunks(1).for_each(|byte| dialogue.send(byte));
            dialogue.send(rest);
        });
    });
    let in_pieces = play(&|dialogue| pieces(input).for_each(|piece| dialogue.send(piece)));
    let by_request = play(&|dialogue| request_by_request(wire, dialogue, input));

    for said in [by_byte, in_pieces] {
        // Where a line becomes too long does depend on how much of it comes at once.
        if said.is_closed && wire == Wire::Text && text::has_long_line(input) {
            let (all, mut part) = (text::normal(&by_request.replies), text::normal(&said.replies));
            // What is behind the last newline is empty.
            part.pop();
            assert!(all.starts_with(&part), "{} -- {}", by_request.shown(), said.shown());
        } else {
            check_same(wire, &by_request, &said);
        }
    }
}

/// Asks one thing after another, and looks at each answer and at that of a no-op behind it.
fn request_by_request(wire: Wire, dialogue: &mut Dialogue<'_>, input: &[u8]) {
    let (noop, done) = wire.noop();
    let (mut replies, mut rest) = (Vec::new(), input);
    while let Some(request) = wire.request_len(rest).and_then(|len| rest.get(..len)) {
        rest = &rest[request.len()..];
        dialogue.send(request);
        let said = Said { is_closed: dialogue.is_closed(), replies: dialogue.take() };
        wire.check_answer(request, &said);
        replies.extend_from_slice(&said.replies);
        if !said.is_closed {
            dialogue.send(noop);
            let answer = dialogue.take();
            let (shown, behind) = (answer.escape_ascii(), request.escape_ascii());
            assert!(answer == done, "a no-op is answered {shown} behind {behind}");
        }
    }
    // Amid a request: much of a get is answered before its end, and what is too large before its block.
    dialogue.send(rest);
    replies.extend(dialogue.take());
    dialogue.put_back(replies);
}

fn check_same(wire: Wire, one: &Said, other: &Said) {
    if one != other {
        assert_eq!(one.is_closed, other.is_closed, "{} -- {}", one.shown(), other.shown());
        let (one, other) = (wire.normal(&one.replies), wire.normal(&other.replies));
        let differs = one.iter().zip(&other).find(|(one, other)| one != other);
        if let Some((one, other)) = differs {
            panic!("{} -- {}", one.escape_ascii(), other.escape_ascii());
        }
        assert_eq!(one.len(), other.len(), "more is said");
    }
}

impl Said {
    fn shown(&self) -> String {
        self.replies.escape_ascii().to_string()
    }
}

/// The input in pieces, cut at places that follow from it.
fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut hasher = DefaultHasher::new();
    hasher.write(input);
    let mut cuts: Vec<usize> = (0..hasher.finish() % CUT_COUNT_MAX)
        .map(|cut| {
            hasher.write_u64(cut);
            usize::try_from(hasher.finish() % (input.len() as u64 + 1)).expect("within the input")
        })
        .collect();
    cuts.sort_unstable();
    cuts.push(input.len());
    let mut start = 0;
    cuts.into_iter().map(move |end| &input[std::mem::replace(&mut start, end)..end])
}
