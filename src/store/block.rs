//! Memory of the system, cut into pieces that each go back alone.
//!
//! It is asked for in blocks as long as a huge page (2 MiB on x86-64), and the system is advised to use one. Looking up
//! pages is much of what a get in a burst waits for: with huge ones it costs 6 % less at a million items, and more above
//! (`cargo bench --bench store`); memory that is touched for the first time costs a quarter.
//!
//! The last page that is touched brings all of its block, so the process may have 2 MiB that are not charged for yet.
//!
//! Unsafe because a part of a mapping, or of an allocation, cannot be given back otherwise.
#![expect(unsafe_code, reason = "there is no safe way to unmap a part of a mapping")]

use memmap2::{Advice, MmapMut};
use nix::sys::mman::{MmapAdvise, madvise, munmap};
use nix::unistd::{SysconfVar, sysconf};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// The length of a huge page, and its alignment, in bytes.
pub(super) const BLOCK_LEN: usize = 2 << 20;

/// Mapped memory, zeros at first, which goes back to the system when it is dropped.
///
/// INVARIANT: nothing else refers to these bytes, or will unmap their mapping.
#[derive(Debug)]
pub(super) struct Piece(NonNull<[u8]>);

// SAFETY: bytes, which nothing else refers to.
unsafe impl Send for Piece {}
// SAFETY: bytes, which only change through a reference that excludes others.
unsafe impl Sync for Piece {}

impl Piece {
    /// A block, or less where that is too long; `None` where the system has no memory for it.
    pub(super) fn block(len_max: usize) -> Option<Self> {
        let mut map = MmapMut::map_anon(len_max.min(BLOCK_LEN)).ok()?;
        if map.len() < BLOCK_LEN {
            return Some(Self::of(map));
        }
        let mut skip = map.as_ptr().align_offset(BLOCK_LEN);
        // Blocks that are aligned follow one another; the first one may have to be cut out.
        if skip > 0 {
            skip = 0;
            if let Ok(long) = MmapMut::map_anon(2 * BLOCK_LEN) {
                skip = long.as_ptr().align_offset(BLOCK_LEN);
                map = long;
            }
        }
        // A system without huge pages has others.
        let _ = map.advise_range(Advice::HugePage, skip, BLOCK_LEN);
        let mut rest = Self::of(map);
        drop(rest.split_front(skip));
        Some(rest.split_front(BLOCK_LEN))
    }

    /// All of a mapping.
    fn of(map: MmapMut) -> Self {
        // A few bytes stay behind, for each block.
        let map: &'static mut MmapMut = Box::leak(Box::new(map));
        let bytes: &'static mut [u8] = map;
        Self(NonNull::from(bytes))
    }

    /// Cuts off its front. What is no whole pages stays mapped for ever.
    pub(super) fn split_front(&mut self, len: usize) -> Self {
        let (front, rest) = self.split_at_mut(len);
        let (front, rest) = (NonNull::from(front), NonNull::from(rest));
        self.0 = rest;
        Self(front)
    }
}

impl Default for Piece {
    fn default() -> Self {
        Self(NonNull::from(&mut []))
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let (address, len) = (self.0.cast(), self.0.len());
        if len == 0 || !is_whole_pages(address.addr().get(), len) {
            return;
        }
        // SAFETY: these are whole pages of a mapping that was leaked, so nobody else unmaps them, and nobody refers to what
        // is in them.
        unsafe {
            // A process may have so many mappings, and a hole makes two of one: then the memory goes and the addresses
            // stay.
            if munmap(address, len).is_err() {
                let _ = madvise(address, len, MmapAdvise::MADV_DONTNEED);
            }
        }
    }
}

/// Gives the memory of the whole pages among these words back to the system, where it takes it: they are zeros then. All
/// of them must be zeros before.
pub(super) fn discard(words: &[AtomicU64]) {
    let Some(page_len) = page_len() else { return };
    let start = words.as_ptr().addr().next_multiple_of(page_len);
    let end = words.as_ptr_range().end.addr() / page_len * page_len;
    let skip_len = start - words.as_ptr().addr();
    let Some(len) = end.checked_sub(start).filter(|len| *len > 0) else { return };
    let pages = NonNull::from(words).cast::<u8>();
    // SAFETY: the pages are among the words, so they are mapped, private and nobody else's. They are zeros before and
    // after, and who reads them meanwhile does so by atomic loads.
    unsafe {
        let _ = madvise(pages.byte_add(skip_len).cast(), len, MmapAdvise::MADV_DONTNEED);
    }
}

/// The length of a page of the system, in bytes; `None` where it does not say.
pub(super) fn page_len() -> Option<usize> {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|len| len.try_into().ok())
}

/// Whether nothing else is in the pages of these bytes.
fn is_whole_pages(address: usize, len: usize) -> bool {
    page_len()
        .is_some_and(|page_len| address.is_multiple_of(page_len) && len.is_multiple_of(page_len))
}

impl Deref for Piece {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: they are mapped as long as this is not dropped, and nobody has a reference to change them by.
        unsafe { self.0.as_ref() }
    }
}

impl DerefMut for Piece {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: they are mapped as long as this is not dropped, and nobody else has a reference to them.
        unsafe { self.0.as_mut() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_block_go_one_by_one() {
        let mut block = Piece::block(usize::MAX).expect("there is memory");
        assert_eq!((block.len(), block.as_ptr().align_offset(BLOCK_LEN)), (BLOCK_LEN, 0));
        let mut pieces: Vec<Piece> = (0..4).map(|_| block.split_front(1 << 16)).collect();
        assert_eq!(block.len(), BLOCK_LEN - (4 << 16));
        for (number, piece) in (1..).zip(&mut pieces) {
            assert!(piece.iter().all(|byte| *byte == 0));
            piece.fill(number);
        }
        drop(pieces.swap_remove(1));
        drop(block);
        let numbers = [1, 4, 3];
        assert!(
            pieces.iter().zip(numbers).all(|(piece, number)| piece.iter().all(|b| *b == number))
        );
    }

    #[test]
    fn a_little_is_a_little() {
        let block = Piece::block(8192).expect("there is memory");
        assert_eq!(*block, [0; 8192]);
    }
}
