//! Closes connections when others wait in vain for the memory that these hold.

use crate::instance::Instance;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long memory may be short before somebody must go, and how long a connection may hold some for the same request.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks while memory is short.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Looks after the memory of the connections, for ever.
pub(super) async fn relieve(instance: &Instance) {
    let budget = &instance.clients.budget;
    loop {
        budget.pressed().await;
        let mut short_since = Instant::now();
        while budget.is_pressed() {
            sleep(LOOK_PAUSE).await;
            if short_since.elapsed() >= PATIENCE && close_worst(instance) {
                short_since = Instant::now();
            }
            budget.wake_all();
        }
    }
}

/// Closes those that hold most; whether there were any.
fn close_worst(instance: &Instance) -> bool {
    let now_ms = instance.clock.now().ms;
    let patience_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    let closed = instance.clients.close_worst(now_ms.saturating_sub(patience_ms));
    let counters = instance.acceptor_counters();
    counters.read_buf_oom.add(closed.readers);
    counters.response_obj_oom.add(closed.writers);
    let count = closed.readers + closed.writers;
    if count > 0 {
        tracing::warn!(
            "closed {count} connections, which held {} bytes: -o connection_memory is short",
            closed.bytes
        );
    }
    count > 0
}
