//! What each request means: from a [`Request`] and the store to a reply.
//!
//! One file a family. They hold no locks and know no sockets; the time is one for all requests of a
//! burst.

mod admin;
mod arithmetic;
pub mod binary;
mod crawler;
mod delete;
mod dump;
pub mod meta;
mod operate;
pub mod retrieve;
pub mod storage;

pub use dump::Dump;

use crate::instance::Instance;
use crate::replies::Replies;
use crate::stats::{Block, Counters};
use crate::store::{Cas, Deleted, Key, Now};
use admin::Shown;
use larder_protocol::admin::Cachedump;
use larder_protocol::response::META_NOOP;
use larder_protocol::{ItemsForm, Reject, Reply, Request, Streams};
use std::os::fd::RawFd;
use storage::Terms;

/// What a command works with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The server.
    pub instance: &'a Instance,
    /// The calling thread's counters.
    pub counters: &'a Counters,
    /// When the burst came.
    pub now: Now,
    /// What anybody watches.
    pub watched: Streams,
    /// The number of the client's socket.
    pub cfd: RawFd,
}

/// How a connection goes on after a command.
#[derive(Debug)]
pub enum Flow {
    /// With the next request.
    Continue,
    /// It ends here.
    Close,
    /// With what comes in pieces.
    Dump(Dump),
    /// With nothing but what happens from now on.
    Watch(Streams),
}

/// Carries out a request and appends its reply to `out`.
///
/// Of a get there is nothing to do here: its keys are answered by [`retrieve::key`], one at a time.
pub fn execute(cx: &Context<'_>, request: &Request<'_, Key<'_>>, replies: &mut Replies) -> Flow {
    let out = &mut replies.text;
    match *request {
        Request::Retrieve(_) => {}
        Request::Store { verb, key, flags, exptime, value, noreply } => {
            let (exptime, cas) = (exptime.into(), Cas::default());
            let stored = storage::store(cx, Terms { verb, key, flags, exptime, cas }, value);
            answer(noreply, storage::line(stored), out);
        }
        Request::StoreTooLarge { verb, key, noreply } => {
            storage::too_large(cx, verb, key);
            answer(noreply, Err(Reject::TooLarge), out);
        }
        Request::Delete { key, noreply } => {
            let reply = match delete::delete(cx, key, None) {
                Deleted::Deleted => Reply::Deleted,
                Deleted::Exists => Reply::Exists,
                Deleted::NotFound => Reply::NotFound,
            };
            answer(noreply, Ok(reply), out);
        }
        Request::StoreBadBlock { key, noreply } => {
            answer(noreply, Err(storage::bad_block(cx, Some(key))), out);
        }
        Request::Touch { key, exptime, noreply } => {
            let is_there = retrieve::touch(cx, key, exptime);
            answer(noreply, Ok(if is_there { Reply::Touched } else { Reply::NotFound }), out);
        }
        Request::Arithmetic { verb, key, delta, noreply } => {
            arithmetic::arithmetic(cx, verb, key, delta, noreply, out);
        }
        Request::Meta { verb, key, flags } => meta::execute(cx, verb, key, flags, replies),
        Request::MetaSet { key, flags, value } => {
            meta::with_key(cx, key, flags, |asked| meta::set::store(cx, asked, value, out));
        }
        Request::MetaSetTooLarge { key, flags } => {
            meta::with_key(cx, key, flags, |asked| meta::set::too_large(cx, asked, out));
        }
        Request::MetaSetBadBlock => {
            answer(false, Err(storage::bad_block(cx, None)), out);
        }
        Request::MetaNoop => out.extend_from_slice(META_NOOP),
        Request::FlushAll { delay, noreply } => {
            answer(noreply, admin::flush_all(cx, delay.map(i64::from)), out);
        }
        Request::Version => admin::version(out),
        Request::Verbosity { level, noreply } => {
            answer(noreply, Ok(admin::verbosity(cx, level)), out);
        }
        Request::Stats(topic) => {
            let line = match admin::stats(cx, topic, &mut Block::lines(out)) {
                Ok(Shown::All(end)) => Ok(end),
                Ok(Shown::Prefixes) => return Flow::Dump(Dump::Prefixes { next: 0 }),
                Ok(Shown::Sizes) => return Flow::Dump(Dump::sizes(cx, None)),
                Ok(Shown::Items(Cachedump { class, limit })) => {
                    return Dump::begin(ItemsForm::Cachedump, class == crawler::CLASS, limit, out);
                }
                Err(reject) => Err(reject),
            };
            answer(false, line, out);
        }
        Request::Admin { admin, noreply } => return operate::operate(cx, admin, noreply, out),
        Request::Shutdown(mode) => return admin::shutdown(cx, mode, out),
        Request::Quit => return Flow::Close,
    }
    Flow::Continue
}

/// A reply of one line.
pub type Line = Result<Reply, Reject>;

/// Appends it, unless the client does not want to hear it.
pub fn answer(noreply: bool, line: Line, out: &mut Vec<u8>) {
    if !noreply {
        out.extend_from_slice(match line {
            Ok(reply) => reply.line(),
            Err(reject) => reject.line(),
        });
    }
}
