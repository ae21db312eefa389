//! `stats sizes`: how many items there are of each size, counted when somebody asks.
//!
//! INVARIANT: what is counted takes the same memory however many items there are, and of whatever sizes.

use super::{Block, stat};

/// Sizes are rounded up to a multiple of this, as in memcached, in bytes.
const STEP: u64 = 32;
/// But those above this one to a multiple of it: there are as many of these as memcached has at its default, and few
/// more.
const FINE_MAX: u64 = 1 << 20;
/// The place of the last fine one.
const FINE_COUNT: u64 = FINE_MAX / STEP;

/// Items by size.
#[derive(Debug)]
pub struct Sizes {
    counts: Vec<u32>,
    /// So many of them were shown.
    shown: usize,
}

/// Where items of a size are counted.
fn place(size: u64) -> usize {
    let place = match size.checked_sub(FINE_MAX) {
        None => size.div_ceil(STEP),
        Some(over) => FINE_COUNT + over.div_ceil(FINE_MAX),
    };
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The largest size that is counted there.
fn size_at(place: usize) -> u64 {
    let place = place as u64;
    match place.checked_sub(FINE_COUNT) {
        None => place * STEP,
        Some(coarse) => FINE_MAX + coarse * FINE_MAX,
    }
}

impl Sizes {
    /// No items yet, which may have so many bytes.
    pub fn new(item_size_max: u32) -> Self {
        Self { counts: vec![0; place(item_size_max.into()) + 1], shown: 0 }
    }

    /// Memory that it takes, in bytes.
    pub fn held_len(&self) -> usize {
        size_of_val(&*self.counts)
    }

    /// Counts an item of so many bytes.
    pub fn count(&mut self, size: u64) {
        if let Some(count) = self.counts.get_mut(place(size)) {
            *count = count.saturating_add(1);
        }
    }

    /// Appends what was counted and not shown yet, until there are so many bytes; whether that was all.
    pub fn write_piece(&mut self, out: &mut Block<'_>, len_max: usize) -> bool {
        while let Some(count) = self.counts.get(self.shown) {
            if out.out.len() >= len_max {
                return false;
            }
            if *count > 0 {
                stat(out, &size_at(self.shown).to_string(), count);
            }
            self.shown += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up() {
        for (size, rounded) in [
            (1, 32),
            (32, 32),
            (33, 64),
            ((1 << 20) - 31, 1 << 20),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, 2 << 20),
            (2 << 20, 2 << 20),
            ((2 << 20) + 1, 3 << 20),
            (1 << 30, 1 << 30),
        ] {
            assert_eq!(size_at(place(size)), rounded, "{size}");
        }
        assert!(Sizes::new(1 << 30).held_len() < 140_000);
    }

    #[test]
    fn what_is_counted_is_shown_in_pieces() {
        let mut sizes = Sizes::new(1 << 20);
        for size in [60, 61, 64, 65, 1 << 20, (1 << 20) + 1] {
            sizes.count(size);
        }
        let mut lines = Vec::new();
        // The last one is larger than any may be.
        let mut pieces = 1;
        while !sizes.write_piece(&mut Block::lines(&mut lines), pieces) {
            pieces = lines.len() + 1;
        }
        assert_eq!(String::from_utf8_lossy(&lines), "STAT 64 3\r\nSTAT 96 1\r\nSTAT 1048576 1\r\n");
    }
}
