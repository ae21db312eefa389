//! Statistics by key prefix (`stats detail`): what stands before the first delimiter of a key.
//!
//! INVARIANT: at most [`PREFIX_COUNT_MAX`] prefixes are kept, whatever keys clients invent.

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::one::RefMut;
use parking_lot::RwLock;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// As many prefixes as are counted; later ones are not.
pub const PREFIX_COUNT_MAX: usize = 65_536;

/// What is counted of a prefix.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    get: u64,
    hit: u64,
    set: u64,
    del: u64,
}

/// The counts of all prefixes, fed by all workers while it is on.
#[derive(Debug)]
pub struct Prefixes {
    delimiter: u8,
    enabled: AtomicBool,
    table: DashMap<Arc<[u8]>, Counts, RandomState>,
    /// The keys of the table in the order in which they came, so that a dump may stop and go on.
    order: RwLock<Vec<Arc<[u8]>>>,
}

impl Prefixes {
    /// An empty table.
    pub fn new(delimiter: u8, enabled: bool) -> Self {
        Self {
            delimiter,
            enabled: AtomicBool::new(enabled),
            table: DashMap::with_hasher(RandomState::new()),
            order: RwLock::default(),
        }
    }

    /// Starts or stops counting; what was counted stays.
    pub fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Relaxed);
    }

    /// Whether keys are counted.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// Forgets all prefixes.
    pub fn clear(&self) {
        let mut order = self.order.write();
        self.table.clear();
        order.clear();
    }

    /// Counts a read of a key.
    #[inline]
    pub fn record_get(&self, key: &[u8], hit: bool) {
        if let Some(mut counts) = self.counts(key) {
            counts.get += 1;
            counts.hit += u64::from(hit);
        }
    }

    /// Counts a storage command on a key.
    #[inline]
    pub fn record_set(&self, key: &[u8]) {
        if let Some(mut counts) = self.counts(key) {
            counts.set += 1;
        }
    }

    /// Counts a delete of a key.
    pub fn record_delete(&self, key: &[u8]) {
        if let Some(mut counts) = self.counts(key) {
            counts.del += 1;
        }
    }

    /// Appends a `PREFIX` line for each prefix from number `next` on, in the order in which they came,
    /// until `out` has this length. The number to go on with; `None` when that was all.
    pub fn dump(&self, next: usize, out: &mut Vec<u8>, len_max: usize) -> Option<usize> {
        let order = self.order.read();
        for (index, prefix) in order.iter().enumerate().skip(next) {
            if out.len() >= len_max {
                return Some(index);
            }
            let Some(counts) = self.table.get(prefix) else {
                continue;
            };
            let Counts { get, hit, set, del } = *counts;
            out.extend_from_slice(b"PREFIX ");
            out.extend_from_slice(prefix);
            write!(out, " get {get} hit {hit} set {set} del {del}\r\n")
                .expect("a vector takes every write");
        }
        None
    }

    /// The counts to add to, where any are kept.
    #[inline]
    fn counts(&self, key: &[u8]) -> Option<RefMut<'_, Arc<[u8]>, Counts>> {
        if self.is_enabled() { self.counts_of(key) } else { None }
    }

    /// Those of a key that has a prefix, where there is room for it.
    #[cold]
    fn counts_of(&self, key: &[u8]) -> Option<RefMut<'_, Arc<[u8]>, Counts>> {
        let prefix = &key[..key.iter().position(|byte| *byte == self.delimiter)?];
        if let Some(counts) = self.table.get_mut(prefix) {
            return Some(counts);
        }
        let mut order = self.order.write();
        if !self.table.contains_key(prefix) {
            if order.len() == PREFIX_COUNT_MAX {
                return None;
            }
            let prefix: Arc<[u8]> = prefix.into();
            order.push(Arc::clone(&prefix));
            self.table.insert(prefix, Counts::default());
        }
        self.table.get_mut(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(prefixes: &Prefixes) -> String {
        let mut out = Vec::new();
        assert_eq!(prefixes.dump(0, &mut out, usize::MAX), None);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn keys_are_counted_by_what_stands_before_the_first_delimiter() {
        let prefixes = Prefixes::new(b':', true);
        prefixes.record_get(b"user:1:x", true);
        prefixes.record_get(b"user:2", false);
        prefixes.record_set(b"book:1");
        prefixes.record_delete(b":1");
        prefixes.record_set(b"plain");
        assert_eq!(
            dump(&prefixes),
            "PREFIX user get 2 hit 1 set 0 del 0\r\n\
             PREFIX book get 0 hit 0 set 1 del 0\r\n\
             PREFIX  get 0 hit 0 set 0 del 1\r\n"
        );
        prefixes.enable(false);
        prefixes.record_set(b"user:3");
        prefixes.enable(true);
        assert!(dump(&prefixes).contains("user get 2 hit 1 set 0"));
        prefixes.clear();
        assert_eq!(dump(&prefixes), "");
    }

    #[test]
    fn invented_prefixes_do_not_grow_the_table_without_bound() {
        let prefixes = Prefixes::new(b':', true);
        for number in 0..PREFIX_COUNT_MAX + 1000 {
            prefixes.record_set(format!("{number}:").as_bytes());
        }
        assert_eq!(prefixes.table.len(), PREFIX_COUNT_MAX);
        // A dump in pieces is the same dump.
        let (mut pieces, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let mut piece = Vec::new();
            next = prefixes.dump(from, &mut piece, 1000);
            assert!(piece.len() < 1100);
            pieces.append(&mut piece);
        }
        assert_eq!(pieces, dump(&prefixes).into_bytes());
        prefixes.record_set(b"0:");
        assert!(dump(&prefixes).starts_with("PREFIX 0 get 0 hit 0 set 2 del 0\r\n"));
    }
}
