//! Fingerprints of keys that were evicted unread, to know them when they come back.
//!
//! A table of cache lines: each holds the last 31 fingerprints of 16 bits whose hashes fall into it, in a
//! ring. A fingerprint is wrong once in about 2,000 lookups, which costs a wrong guess about one key.
#![expect(clippy::cast_possible_truncation, reason = "fingerprints are parts of hashes")]

use super::segment::Pool;

const RING_LEN: usize = 31;
const LINE_LEN: u64 = 64;

/// One line of the table.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line {
    ring: [u16; RING_LEN],
    next: u16,
}

/// The fingerprints of one shard; charged to the pool.
#[derive(Debug, Default)]
pub(super) struct Ghost {
    lines: Vec<Line>,
}

impl Ghost {
    /// Makes room for about this many keys, forgetting all where the table changes its size. Keeps the
    /// old size where there is no memory for a larger one.
    pub(super) fn fit(&mut self, key_count: u64, pool: &Pool) {
        let wanted = usize::try_from(key_count).unwrap_or(usize::MAX).div_ceil(RING_LEN);
        if wanted <= self.lines.len() {
            return;
        }
        let line_count = (wanted + wanted / 4).next_multiple_of(16);
        let more = (line_count - self.lines.len()) as u64 * LINE_LEN;
        if pool.reserve(more) {
            self.lines = vec![Line::default(); line_count];
        }
    }

    /// Bytes that the table takes.
    pub(super) fn charged(&self) -> u64 {
        self.lines.len() as u64 * LINE_LEN
    }

    /// Remembers a key.
    pub(super) fn insert(&mut self, hash: u64) {
        if let Some(index) = self.line_index(hash) {
            let line = &mut self.lines[index];
            line.ring[usize::from(line.next)] = fingerprint(hash);
            line.next = (line.next + 1) % RING_LEN as u16;
        }
    }

    /// Forgets a key; whether it was known.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        let Some(index) = self.line_index(hash) else {
            return false;
        };
        let wanted = fingerprint(hash);
        match self.lines[index].ring.iter_mut().find(|known| **known == wanted) {
            Some(known) => {
                *known = 0;
                true
            }
            None => false,
        }
    }

    fn line_index(&self, hash: u64) -> Option<usize> {
        if self.lines.is_empty() {
            return None;
        }
        // The high half of a product spreads the middle bits of the hash over the lines.
        let spread = u128::from(hash << 16) * self.lines.len() as u128;
        Some((spread >> 64) as usize)
    }
}

/// 0 is an empty place.
fn fingerprint(hash: u64) -> u16 {
    (hash as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mixer in place of a hash of keys.
    fn hash(number: u64) -> u64 {
        let mixed = (number ^ (number >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d)
    }

    #[test]
    fn the_last_keys_are_known_and_others_are_not() {
        let pool = Pool::new(1 << 20, 4096);
        let mut ghost = Ghost::default();
        assert!(!ghost.take(hash(1)), "nothing is known without memory");
        ghost.fit(1000, &pool);
        for number in 0..10_000 {
            ghost.insert(hash(number));
        }
        let known = |ghost: &mut Ghost, numbers: std::ops::Range<u64>| {
            numbers.filter(|number| ghost.take(hash(*number))).count()
        };
        assert!(known(&mut ghost, 0..5_000) < 50, "those of long ago are forgotten");
        assert!(known(&mut ghost, 20_000..30_000) < 50, "strangers are seldom mistaken");
        let recent = known(&mut ghost, 9_500..10_000);
        assert!(recent > 450, "{recent} of 500");
        assert_eq!(known(&mut ghost, 9_500..10_000), 0, "who is taken is forgotten");
        assert_eq!(ghost.charged(), pool.budget.used());
    }

    #[test]
    fn without_memory_it_keeps_its_size() {
        let pool = Pool::new(4096, 4096);
        let mut ghost = Ghost::default();
        ghost.fit(500, &pool);
        let charged = ghost.charged();
        assert!(charged > 0);
        ghost.fit(100_000, &pool);
        assert_eq!((ghost.charged(), pool.budget.used()), (charged, charged));
    }
}
