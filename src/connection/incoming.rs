//! A storage command with a large value, which goes where the store will keep it as it comes: from the socket, or from
//! what was read with its line.
//!
//! INVARIANT: it is answered as if its data block had come whole before anything was done.

use crate::command::meta;
use crate::command::storage::{self, Terms};
use crate::command::{self, Context};
use crate::store::{Cas, Key, Now, Store, Upload};
use larder_protocol::binary::{self, Origin, Update};
use larder_protocol::{BLOCK_END, Limits, MetaFlags, MetaStoreLine, Parsed, StoreLine, StoreVerb};
use std::io::{self, ErrorKind, IoSliceMut};
use std::task::{self, Poll, ready};
use tokio::net::TcpStream;

/// So much of a block, or all, comes before any memory is taken for it, in bytes.
pub(super) const BEGUN_LEN_MIN: usize = 4096;
/// There is room for as much as has come, times this, and for one segment at least.
const GROWTH: usize = 3;
/// Commands with more flags than this, in bytes, come whole.
const FLAGS_LEN_MAX: usize = 1024;
/// So many pieces at most are read into at once.
const PIECE_COUNT_MAX: usize = 32;

/// How much there should be room for when more is read.
fn next_len(upload: &Upload) -> usize {
    let (room_len, wanted_len) = (upload.room_len(), upload.len().saturating_mul(GROWTH).max(1));
    // As long as there is half of it, that is used first.
    if room_len > 0 && room_len >= wanted_len / 2 { 0 } else { wanted_len }
}

/// What a line, or the front of a frame, said beside the key and a length.
#[derive(Debug)]
enum Line {
    Classic { verb: StoreVerb, flags: u32, exptime: i32, noreply: bool },
    Meta { flags: MetaFlags<'static>, text: Box<[u8]> },
    Frame { origin: Origin, update: Update<()> },
}

/// What has come of a storage command.
#[derive(Debug)]
pub(super) struct Incoming {
    line: Line,
    /// As on the line.
    key: Box<[u8]>,
    /// The front of the value; `None` where there is no memory for it, and it is skipped.
    upload: Option<Upload>,
    /// Bytes of the front that are still to come.
    left_len: usize,
    /// Of all of the value, in bytes.
    value_len: usize,
    /// Bytes of the block behind the front, with its end.
    tail_len: usize,
}

impl Line {
    /// What is behind the value.
    fn block_end(&self) -> &'static [u8] {
        match self {
            Self::Classic { .. } | Self::Meta { .. } => BLOCK_END,
            Self::Frame { .. } => b"",
        }
    }

    /// Begins the command; `None` where it must come whole.
    fn begin(&self, cx: &Context<'_>, key: Key<'_>, value_len: usize) -> Option<Upload> {
        match self {
            Self::Classic { verb, flags, exptime, .. } => {
                storage::begin(cx, classic(key, *verb, *flags, *exptime), value_len)
            }
            Self::Meta { flags, text } => meta::with_key(cx, key, flags.reread(text), |asked| {
                meta::set::begin(cx, asked, value_len)
            }),
            Self::Frame { update, .. } => {
                let terms = command::binary::terms(update.with_key(|()| key));
                storage::begin(cx, terms, value_len)
            }
        }
    }

    /// Carries the command out; `value_len` is the length of all of its value.
    fn finish(
        &self,
        cx: &Context<'_>,
        key: Key<'_>,
        upload: Option<Upload>,
        rest: &[u8],
        value_len: usize,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Classic { verb, flags, exptime, noreply } => {
                let terms = classic(key, *verb, *flags, *exptime);
                let line = storage::line(storage::finish(cx, terms, upload, rest));
                command::answer(*noreply, line, out);
            }
            Self::Meta { flags, text } => meta::with_key(cx, key, flags.reread(text), |asked| {
                meta::set::finish(cx, asked, upload, rest, value_len, out);
            }),
            Self::Frame { origin, update } => {
                let terms = command::binary::terms(update.with_key(|()| key));
                let terms = command::binary::with_unique(cx, terms);
                let stored = storage::finish(cx, terms, upload, rest);
                command::binary::write_stored(*origin, &terms, stored, out);
            }
        }
    }

    /// Answers that the block is wrong, as only that of a line can be.
    fn refuse(&self, cx: &Context<'_>, key: Key<'_>, out: &mut Vec<u8>) {
        let (key, noreply) = match self {
            Self::Classic { noreply, .. } => (Some(key), *noreply),
            Self::Meta { .. } | Self::Frame { .. } => (None, false),
        };
        command::answer(noreply, Err(storage::bad_block(cx, key)), out);
    }
}

/// What comes before the value of a command.
struct Front<'a> {
    line: Line,
    key: &'a [u8],
    /// In bytes.
    len: usize,
    /// Of the value, in bytes.
    value_len: usize,
}

impl<'a> Front<'a> {
    /// Of a line at the front of the input whose data block has not come whole, where it may come in pieces.
    fn of_line(input: &'a [u8], limits: Limits) -> Option<Self> {
        match larder_protocol::parse(input, limits) {
            Parsed::NeedBlock(line) => {
                let StoreLine { verb, key, flags, exptime, noreply, line_len, value_len } = line;
                let line = Line::Classic { verb, flags, exptime, noreply };
                Some(Self { line, key, len: line_len, value_len })
            }
            // What is kept of its flags is counted nowhere.
            Parsed::NeedMetaBlock(line) if line.flags.text().len() <= FLAGS_LEN_MAX => {
                let MetaStoreLine { key, flags, line_len, value_len } = line;
                let text = flags.text().into();
                let line = Line::Meta { flags: flags.reread(&[]), text };
                Some(Self { line, key, len: line_len, value_len })
            }
            Parsed::NeedMetaBlock(_)
            | Parsed::Request { .. }
            | Parsed::Get { .. }
            | Parsed::NeedMore { .. }
            | Parsed::Refused { .. } => None,
        }
    }

    /// The same of a frame.
    fn of_frame(input: &'a [u8], limits: Limits) -> Option<Self> {
        match binary::parse(input, limits) {
            binary::Parsed::NeedValue { origin, update, head_len, value_len } => {
                let line = Line::Frame { origin, update: update.with_key(|_| ()) };
                Some(Self { line, key: update.key, len: head_len, value_len })
            }
            binary::Parsed::Request { .. }
            | binary::Parsed::NeedMore { .. }
            | binary::Parsed::Refused { .. }
            | binary::Parsed::Fatal { .. }
            | binary::Parsed::Garbage => None,
        }
    }
}

/// The terms of a classic command.
fn classic(key: Key<'_>, verb: StoreVerb, flags: u32, exptime: i32) -> Terms<'_> {
    Terms { verb, key, flags, exptime: exptime.into(), cas: Cas::default() }
}

/// Whether a command may come in pieces.
#[derive(Debug)]
pub(super) enum Beginning {
    /// So many bytes of the input are done with.
    Begun(Box<Incoming>, usize),
    /// To be asked again when the input is so long.
    TooEarly(usize),
    /// It is to come whole.
    Refused,
}

impl Incoming {
    /// Begins the command at the front of the input.
    pub(super) fn begin(cx: &Context<'_>, input: &[u8], is_binary: bool) -> Beginning {
        let limits = cx.instance.limits;
        let front =
            if is_binary { Front::of_frame(input, limits) } else { Front::of_line(input, limits) };
        let Some(Front { line, key, len, value_len }) = front else {
            return Beginning::Refused;
        };
        // What has come may be only looked at then, and is kept nowhere yet.
        if !cx.instance.clients.budget.has_room() {
            return Beginning::Refused;
        }
        let begun_len = len + value_len.min(BEGUN_LEN_MIN);
        if input.len() < begun_len {
            return Beginning::TooEarly(begun_len);
        }
        let Some(upload) = line.begin(cx, cx.instance.store.key(key), value_len) else {
            return Beginning::Refused;
        };
        let left_len = upload.left_len();
        let tail_len = value_len - left_len + line.block_end().len();
        let upload = Some(upload);
        let incoming = Self { line, key: key.into(), upload, left_len, value_len, tail_len };
        Beginning::Begun(Box::new(incoming), len)
    }

    /// Whether what comes next is of the front, and is kept.
    pub(super) fn is_receiving(&self) -> bool {
        self.left_len > 0 && self.upload.is_some()
    }

    /// Whether what comes is for nothing.
    pub(super) fn is_swallowing(&self) -> bool {
        self.upload.is_none()
    }

    /// Memory that it holds, in bytes.
    pub(super) fn held_len(&self) -> usize {
        self.upload.as_ref().map_or(0, Upload::held_len)
    }

    /// The same when there is room for what is read next.
    pub(super) fn planned_len(&self) -> usize {
        self.upload.as_ref().map_or(0, |upload| upload.held_len_with(next_len(upload)))
    }

    /// Sees to it that there is room for what is read next, or gives up what has come.
    pub(super) fn make_room(&mut self, store: &Store, now: Now) {
        let len = self.upload.as_ref().map_or(0, next_len);
        self.grow(store, len, now);
    }

    fn grow(&mut self, store: &Store, len: usize, now: Now) {
        let key = store.key(&self.key);
        if self.upload.as_mut().is_some_and(|upload| !store.grow_upload(upload, key, len, now)) {
            self.upload = None;
        }
    }

    /// Takes the front from the input; how much that was.
    pub(super) fn take_front(&mut self, cx: &Context<'_>, input: &[u8]) -> usize {
        let front = &input[..input.len().min(self.left_len)];
        if front.is_empty() {
            return 0;
        }
        self.grow(&cx.instance.store, front.len(), cx.now);
        if let Some(upload) = &mut self.upload {
            let mut rest = front;
            for piece in upload.room() {
                let (part, behind) = rest.split_at(rest.len().min(piece.len()));
                piece[..part.len()].copy_from_slice(part);
                rest = behind;
            }
            upload.advance(front.len());
        }
        self.left_len -= front.len();
        front.len()
    }

    /// How long the input must be for the next step, where it has nothing of the front.
    pub(super) fn len_min(&self) -> usize {
        if self.left_len > 0 { 1 } else { self.tail_len }
    }

    /// Carries out the command, of which all has come but the tail, which is here; appends its answer.
    pub(super) fn finish(self, cx: &Context<'_>, tail: &[u8], out: &mut Vec<u8>) {
        let Self { line, key, upload, value_len, .. } = self;
        let key = cx.instance.store.key(&key);
        match tail.strip_suffix(line.block_end()) {
            Some(rest) => line.finish(cx, key, upload, rest, value_len, out),
            None => line.refuse(cx, key, out),
        }
    }

    /// Reads the front into its place, and what comes behind it into `behind`; how much of both, and whether that
    /// is all there is. Apart from the reads that all others need.
    #[inline(never)]
    pub(super) fn poll_read(
        &mut self,
        stream: &TcpStream,
        cx: &mut task::Context<'_>,
        behind: &mut [u8],
    ) -> Poll<io::Result<(usize, usize, bool)>> {
        let Some(upload) = &mut self.upload else {
            return Poll::Ready(Ok((0, 0, false)));
        };
        let room_len = upload.room_len();
        let behind = if room_len == self.left_len { behind } else { &mut [] };
        let behind_len = behind.len();
        let mut slices: [IoSliceMut<'_>; PIECE_COUNT_MAX] =
            std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let pieces = upload.room().chain([behind]);
        let count = slices
            .iter_mut()
            .zip(pieces)
            .map(|(slice, piece)| *slice = IoSliceMut::new(piece))
            .count();
        let len = loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_vectored(&mut slices[..count]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => break read?,
            }
        };
        let front_len = len.min(room_len);
        upload.advance(front_len);
        self.left_len -= front_len;
        Poll::Ready(Ok((front_len, len - front_len, len < room_len + behind_len)))
    }
}
