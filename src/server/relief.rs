//! Closes connections when others wait in vain for the memory that these hold.
//!
//! While requests and replies come and go, waiting helps, and only who holds on to memory for long must go.

use crate::clients::Closed;
use crate::instance::Instance;
use crate::panics;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// While memory is short, a connection may hold some for so long for the same request, where hardly any comes free.
const PATIENCE: Duration = Duration::from_secs(1);
/// And for so long where much does: such a part of the limit, in the time of [`PATIENCE`].
const FLOWING_PATIENCE: Duration = Duration::from_secs(10);
const FLOWING_PART: usize = 16;
/// Between two looks while memory is short.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Looks after the memory of the connections, for ever. A panic is counted as one amid serving a connection is, and it
/// begins anew.
pub(super) async fn look_after(instance: &Instance) {
    loop {
        let mut relieving = pin!(relieve(instance));
        let panic = poll_fn(|cx| match panics::catch(|| relieving.as_mut().poll(cx)) {
            Ok(pending) => pending.map(|never| match never {}),
            Err(panic) => Poll::Ready(panic),
        })
        .await;
        instance.acceptor_counters().conn_panics.increment();
        tracing::error!("looking after the memory of connections panicked: {panic}");
    }
}

/// The same until it panics.
async fn relieve(instance: &Instance) -> Infallible {
    let budget = &instance.clients.budget;
    loop {
        budget.pressed().await;
        let (mut since, mut freed_before) = (Instant::now(), budget.freed());
        while budget.is_pressed() {
            sleep(LOOK_PAUSE).await;
            if since.elapsed() >= PATIENCE {
                let freed = budget.freed();
                let is_flowing =
                    freed.saturating_sub(freed_before) >= budget.limit() / FLOWING_PART;
                let closed =
                    close_worst(instance, if is_flowing { FLOWING_PATIENCE } else { PATIENCE });
                // What these give back is no sign of life.
                (since, freed_before) = (Instant::now(), freed + closed.bytes);
            }
            budget.wake_all();
        }
    }
}

/// Closes those that hold most, of those that have done so for long.
fn close_worst(instance: &Instance, patience: Duration) -> Closed {
    #[cfg(debug_assertions)]
    panics::when_asked(b"-o connection_memory");
    let now_ms = instance.clock.now().ms;
    let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
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
    closed
}
