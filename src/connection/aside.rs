//! Buffers for what is put aside in the middle of a burst while others have their turn. A thread keeps some, since the
//! allocator gives back to the system what comes free: with 50 clients, every seventh burst had a page fault for that.

use std::cell::RefCell;

/// A thread keeps so many.
const SPARE_COUNT_MAX: usize = 128;
/// Of so many bytes at most.
const SPARE_LEN_MAX: usize = 8 * 1024;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = RefCell::default();
}

/// A copy that is needed for a moment.
pub(super) fn put_aside(bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut copy = SPARES.with_borrow_mut(Vec::pop).unwrap_or_default();
    copy.extend_from_slice(bytes);
    copy
}

/// Takes its buffer back.
pub(super) fn take_back(mut bytes: Vec<u8>) {
    if (1..=SPARE_LEN_MAX).contains(&bytes.capacity()) {
        bytes.clear();
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARE_COUNT_MAX {
                spares.push(bytes);
            }
        });
    }
}
