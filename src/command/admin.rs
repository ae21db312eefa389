//! `flush_all version verbosity stats shutdown`.

use super::{Context, Flow, Line};
use crate::config::COMPATIBLE_VERSION;
use crate::stats::{self, Block};
use crate::store::Deadline;
use larder_protocol::admin::Cachedump;
use larder_protocol::response::write_version;
use larder_protocol::{AdminReject, DetailMode, Reject, Reply, ShutdownMode, StatsTopic};

pub(super) fn flush_all(cx: &Context<'_>, delay: Option<i64>) -> Line {
    cx.counters.cmd_flush.increment();
    if !cx.instance.config.flush_enabled {
        return Err(Reject::FlushNotAllowed);
    }
    // No delay is now, where an exptime of 0 would be never.
    let at = match delay.ok_or(Reject::InvalidExptime)? {
        0 => Deadline::new(-1, cx.now),
        delay => Deadline::new(delay, cx.now),
    };
    cx.instance.store.flush_all(at, cx.now);
    Ok(Reply::Ok)
}

pub(super) fn version(out: &mut Vec<u8>) {
    write_version(out, COMPATIBLE_VERSION);
}

pub(super) fn verbosity(cx: &Context<'_>, level: u32) -> Reply {
    cx.instance.log.set_verbosity(level);
    Reply::Ok
}

/// What `stats` has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// All, but for this.
    All(Reply),
    /// Nothing: the lines of `stats detail dump` are to come.
    Prefixes,
    /// Nothing: the lines of `stats cachedump` are to come.
    Items(Cachedump),
    /// Nothing: items are to be counted.
    Sizes,
}

pub(super) fn stats(
    cx: &Context<'_>,
    topic: StatsTopic,
    out: &mut Block<'_>,
) -> Result<Shown, Reject> {
    let instance = cx.instance;
    match topic {
        StatsTopic::General => stats::general(instance, out),
        StatsTopic::Settings => stats::settings(instance, out),
        StatsTopic::Items => stats::items(instance, out),
        StatsTopic::Slabs => stats::slabs(instance, out),
        StatsTopic::Conns => stats::conns(instance, out),
        StatsTopic::Store => stats::store(instance, out),
        StatsTopic::Sizes if instance.config.track_sizes => return Ok(Shown::Sizes),
        StatsTopic::Sizes => stats::no_sizes(out),
        // There is none, and memcached has no lines of one then.
        StatsTopic::Extstore => {}
        StatsTopic::Reset => {
            instance.reset_stats();
            return Ok(Shown::All(Reply::Reset));
        }
        StatsTopic::Cachedump(_) if !instance.config.dump_enabled => {
            return Err(Reject::Admin(AdminReject::CachedumpNotAllowed));
        }
        StatsTopic::Cachedump(asked) => return asked.map(Shown::Items),
        StatsTopic::Detail(_) if !instance.config.dump_enabled => {
            return Err(Reject::DetailNotAllowed);
        }
        StatsTopic::Detail(Some(DetailMode::Dump)) => return Ok(Shown::Prefixes),
        StatsTopic::Detail(Some(mode @ (DetailMode::On | DetailMode::Off))) => {
            instance.prefixes.enable(mode == DetailMode::On);
            return Ok(Shown::All(Reply::Ok));
        }
        StatsTopic::Detail(None) => return Err(Reject::DetailUsage),
        StatsTopic::Unknown => return Err(Reject::UnknownCommand),
    }
    Ok(Shown::All(Reply::End))
}

/// Stops the server; the reply to that is the end of the connection.
pub(super) fn shutdown(cx: &Context<'_>, mode: Option<ShutdownMode>, out: &mut Vec<u8>) -> Flow {
    let reject = match (cx.instance.config.shutdown_command, mode) {
        (false, _) => Reject::ShutdownNotEnabled,
        (true, None) => Reject::InvalidShutdownMode,
        (true, Some(ShutdownMode::Now | ShutdownMode::Graceful)) => {
            tracing::info!("stopping: a client sent shutdown");
            cx.instance.stop();
            return Flow::Close;
        }
    };
    out.extend_from_slice(reject.line());
    Flow::Continue
}
