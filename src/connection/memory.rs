//! What a connection costs, within the budget of all of them: it waits before it grows, and ends where there is no room
//! for what it has.

use super::aside::put_aside;
use super::{Connection, FIRST_LEN_MIN, READ_LEN, Turn, linger};
use larder_protocol::Reject;
use std::io;
use std::sync::Arc;

/// Then there is room for as much as this, so that those that wait for room hold little, in bytes.
const ROOM_LEN: usize = 1 << 20;
/// That grows by this factor at most when it is full.
const GROWTH: usize = 4;

impl Connection {
    /// Takes memory for replies, or gives it back. Without it the connection ends: amid a reply nothing can be said.
    pub(super) fn hold_replies(&self, len: usize) -> io::Result<()> {
        if self.guest.hold_replies(len) {
            return Ok(());
        }
        self.counters().response_obj_oom.increment();
        Err(io::Error::new(io::ErrorKind::OutOfMemory, "no memory for replies that are not taken"))
    }

    /// Keeps what is left after a turn. False, and nothing changed, where there is no memory for it.
    pub(super) fn keep(&mut self, rest: &[u8], turn: Turn) -> bool {
        let is_held = self.guest.hold_input(rest.len() + self.session.held_len());
        if is_held {
            // In memory no longer than it must be: many may wait with a part of a request.
            self.input = if turn == Turn::Yield { put_aside(rest) } else { rest.to_vec() };
        }
        is_held
    }

    /// The same, of what was looked at behind the input; how much of these `len` bytes is done with. `None` where there
    /// is no memory even for what was kept before.
    pub(super) fn keep_peeked(
        &mut self,
        rest: &[u8],
        turn: Turn,
        consumed: usize,
        len: usize,
    ) -> Option<usize> {
        if self.keep(rest, turn) {
            return Some(len);
        }
        let of_input = consumed.min(self.input.len());
        self.input = self.input.split_off(of_input);
        let is_held = self.guest.hold_input(self.input.len() + self.session.held_len());
        is_held.then_some(consumed - of_input)
    }

    /// What came is never answered, since there is no memory for it.
    pub(super) fn refuse_input(&mut self) -> Turn {
        self.counters().read_buf_oom.increment();
        self.drop_input()
    }

    pub(super) fn drop_input(&mut self) -> Turn {
        self.input = Vec::new();
        self.session.give_up();
        self.guest.hold_input(0);
        Turn::NoMemory
    }

    /// Whether the next read goes into the thread's buffer.
    pub(super) fn is_read_shared(&self) -> bool {
        self.len_min() <= READ_LEN || self.input.len() < FIRST_LEN_MIN
    }

    /// Whether there is memory for the next read, or none is needed. Grows by what has come, not by what was announced.
    pub(super) fn has_room(&mut self) -> bool {
        let (len, capacity) = (self.input.len(), self.input.capacity());
        if len >= self.len_min() {
            return true;
        }
        if let Some(incoming) = self.session.receiving() {
            let is_planned = self.guest.plan_input(incoming.planned_len());
            if is_planned {
                incoming.make_room(&self.instance.store, self.instance.clock.now());
                self.guest.hold_input(incoming.held_len());
            }
            return is_planned;
        }
        if self.is_read_shared() {
            return self.guest.may_read();
        }
        if len < capacity {
            return true;
        }
        let wanted = self.len_min().min(ROOM_LEN.max(len * GROWTH));
        if !self.guest.plan_input(wanted) {
            return false;
        }
        // The system may have less than the budget.
        let is_there = self.input.try_reserve_exact(wanted - len).is_ok();
        if !is_there {
            self.guest.hold_input(capacity);
        }
        is_there
    }

    /// Waits until there is memory for the next read, or the connection is to be closed.
    pub(super) async fn wait_for_room(&mut self) {
        let instance = Arc::clone(&self.instance);
        instance.clients.budget.wait(|| self.guest.is_closing() || self.has_room()).await;
    }

    /// Tells the client that there is no memory for its request, where a line can tell it.
    pub(super) async fn refuse(&mut self) -> io::Result<()> {
        tracing::debug!(client = %self.guest.peer(), "closing: no memory for its request");
        // Where the client takes nothing, it hears nothing, and nothing out of turn.
        let held = std::mem::take(&mut self.held);
        let is_sent =
            held.is_empty() || self.stream.try_write(&held).is_ok_and(|len| len == held.len());
        if is_sent && !self.session.is_binary() {
            let _ = self.stream.try_write(Reject::OutOfMemoryReading.line());
        }
        linger(&mut self.stream).await
    }
}
