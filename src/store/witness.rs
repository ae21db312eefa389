//! Who is told what the store does by itself.

use super::exptime::Now;
use super::operation::Listed;
use std::fmt::Debug;

/// Is told of evictions, under the lock of their shard: must neither wait nor use the store.
pub trait Witness: Debug + Send + Sync {
    /// Whether it wants to know of them.
    fn wants_evicted(&self) -> bool;

    /// A living item is thrown out.
    fn evicted(&self, item: &Listed<'_>, now: Now);
}
