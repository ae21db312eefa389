//! `flush_all version verbosity stats shutdown`.

use super::{Context, Flow, Line};
use crate::config::COMPATIBLE_VERSION;
use crate::stats;
use crate::store::Deadline;
use larder_protocol::response::write_version;
use larder_protocol::{DetailMode, Reject, Reply, ShutdownMode, StatsTopic};

pub(super) fn flush_all(cx: &Context<'_>, delay: Option<i32>) -> Line {
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

pub(super) fn stats(cx: &Context<'_>, topic: StatsTopic, out: &mut Vec<u8>) {
    let instance = cx.instance;
    match topic {
        StatsTopic::General => stats::general(instance, out),
        StatsTopic::Settings => stats::settings(instance, out),
        StatsTopic::Items => stats::items(instance, out),
        StatsTopic::Slabs => stats::slabs(instance, out),
        StatsTopic::Conns => stats::conns(instance, out),
        StatsTopic::Detail(Some(DetailMode::Dump)) if instance.config.dump_enabled => {
            instance.prefixes.dump(out);
        }
        StatsTopic::Reset => {
            instance.reset_stats();
            out.extend_from_slice(Reply::Reset.line());
            return;
        }
        StatsTopic::Detail(mode) => {
            out.extend_from_slice(match detail(cx, mode) {
                Ok(reply) => reply.line(),
                Err(reject) => reject.line(),
            });
            return;
        }
        StatsTopic::Unknown => {
            out.extend_from_slice(Reject::UnknownCommand.line());
            return;
        }
    }
    out.extend_from_slice(Reply::End.line());
}

/// `stats detail` with anything but an allowed dump.
fn detail(cx: &Context<'_>, mode: Option<DetailMode>) -> Line {
    if !cx.instance.config.dump_enabled {
        return Err(Reject::DetailNotAllowed);
    }
    let enabled = match mode {
        Some(DetailMode::On) => true,
        Some(DetailMode::Off) => false,
        Some(DetailMode::Dump) | None => return Err(Reject::DetailUsage),
    };
    cx.instance.prefixes.enable(enabled);
    Ok(Reply::Ok)
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
