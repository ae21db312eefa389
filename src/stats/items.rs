//! `stats items` and `stats slabs`: all items are one class, number 1, whose chunk is one byte.
//!
//! There are no size classes here; a tool that multiplies chunks by their size still gets bytes.

use super::{Block, stat};
use crate::instance::Instance;

/// A page of the one class, in bytes.
const PAGE_LEN: u64 = 1 << 20;

/// Appends `stats items`; nothing while there is no item.
pub fn items(instance: &Instance, out: &mut Block<'_>) {
    let store = instance.store_stats(instance.clock.now());
    if store.curr_items == 0 {
        return;
    }
    let totals = instance.totals();
    for (name, value) in [
        ("number", store.curr_items),
        ("number_hot", 0),
        ("number_warm", 0),
        ("number_cold", store.curr_items),
        ("age_hot", 0),
        ("age_warm", 0),
        ("age", store.age_s),
        ("mem_requested", store.bytes),
        ("evicted", store.evictions),
        ("evicted_nonzero", store.evicted_nonzero),
        ("evicted_time", store.evicted_time_s),
        ("outofmemory", totals.store_no_memory),
        ("tailrepairs", 0),
        ("reclaimed", store.reclaimed),
        ("expired_unfetched", store.expired_unfetched),
        ("evicted_unfetched", store.evicted_unfetched),
        ("evicted_active", 0),
        ("crawler_reclaimed", 0),
        ("crawler_items_checked", 0),
        ("lrutail_reflocked", 0),
        ("moves_to_cold", 0),
        ("moves_to_warm", 0),
        ("moves_within_lru", 0),
        ("direct_reclaims", 0),
        ("hits_to_hot", 0),
        ("hits_to_warm", 0),
        ("hits_to_cold", totals.get_hits),
        ("hits_to_temp", 0),
    ] {
        stat(out, &format!("items:1:{name}"), value);
    }
}

/// Appends `stats slabs`; the totals alone while there is no item.
pub fn slabs(instance: &Instance, out: &mut Block<'_>) {
    let store = instance.store_stats(instance.clock.now());
    let totals = instance.totals();
    let pages = store.charged_bytes.div_ceil(PAGE_LEN);
    let active = u64::from(store.curr_items > 0);
    if active == 1 {
        for (name, value) in [
            ("chunk_size", 1),
            ("chunks_per_page", PAGE_LEN),
            ("total_pages", pages),
            ("total_chunks", pages * PAGE_LEN),
            ("used_chunks", store.charged_bytes),
            ("free_chunks", pages * PAGE_LEN - store.charged_bytes),
            ("free_chunks_end", 0),
            ("get_hits", totals.get_hits),
            ("cmd_set", totals.cmd_set),
            ("delete_hits", totals.delete_hits),
            ("incr_hits", totals.incr_hits),
            ("decr_hits", totals.decr_hits),
            ("cas_hits", totals.cas_hits),
            ("cas_badval", totals.cas_badval),
            ("touch_hits", totals.touch_hits),
        ] {
            stat(out, &format!("1:{name}"), value);
        }
    }
    stat(out, "active_slabs", active);
    stat(out, "total_malloced", pages * PAGE_LEN);
}
