//! A hint to the processor to bring a line of memory near. Many reads that wait side by side take little longer than
//! one; one behind another, they are most of what a get costs (`cargo bench --bench store`: batches of 32
//! against single gets).
//!
//! It is asked for into the second cache, not the first: a processor drops what it is asked to prefetch when all the
//! buffers of its first cache are in use, which a burst does soon (a fifth was lost on an AMD EPYC 9004).
//!
//! Unsafe because the instruction takes an address that may be of anything, or of nothing any more.
#![expect(unsafe_code, reason = "there is no safe way to say it")]

use super::lines::LINE_LEN;

/// Asks for the line of an address. A wrong address costs time and nothing else.
#[inline]
pub(super) fn prefetch(address: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program could see and faults on no address, mapped or not
        // (AMD64 Architecture Programmer's Manual, volume 3, PREFETCHlevel).
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::without_provenance(address)) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Asks for all lines of some bytes.
#[inline]
pub(super) fn prefetch_all(bytes: &[u8]) {
    for line in bytes.chunks(LINE_LEN) {
        prefetch(line.as_ptr().addr());
    }
}
