//! `flush_all version verbosity stats shutdown`.

use super::crawler::CLASS;
use super::{Context, Dump, Flow, Line, answer};
use crate::config::COMPATIBLE_VERSION;
use crate::stats;
use crate::store::Deadline;
use larder_protocol::response::write_version;
use larder_protocol::{
    AdminReject, DetailMode, ItemsForm, Reject, Reply, ShutdownMode, StatsTopic,
};

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

pub(super) fn stats(cx: &Context<'_>, topic: StatsTopic, out: &mut Vec<u8>) -> Flow {
    let instance = cx.instance;
    let line = match topic {
        StatsTopic::General => Ok(block(out, |out| stats::general(instance, out))),
        StatsTopic::Settings => Ok(block(out, |out| stats::settings(instance, out))),
        StatsTopic::Items => Ok(block(out, |out| stats::items(instance, out))),
        StatsTopic::Slabs => Ok(block(out, |out| stats::slabs(instance, out))),
        StatsTopic::Conns => Ok(block(out, |out| stats::conns(instance, out))),
        StatsTopic::Store => Ok(block(out, |out| stats::store(instance, out))),
        StatsTopic::Sizes => Ok(block(out, stats::sizes)),
        StatsTopic::Reset => {
            instance.reset_stats();
            Ok(Reply::Reset)
        }
        StatsTopic::Cachedump(_) if !instance.config.dump_enabled => {
            Err(Reject::Admin(AdminReject::CachedumpNotAllowed))
        }
        StatsTopic::Cachedump(Ok(asked)) => {
            return Dump::begin(ItemsForm::Cachedump, asked.class == CLASS, asked.limit, out);
        }
        StatsTopic::Cachedump(Err(reject)) => Err(reject),
        StatsTopic::Detail(_) if !instance.config.dump_enabled => Err(Reject::DetailNotAllowed),
        StatsTopic::Detail(Some(DetailMode::Dump)) => {
            return Flow::Dump(Dump::Prefixes { next: 0 });
        }
        StatsTopic::Detail(Some(mode @ (DetailMode::On | DetailMode::Off))) => {
            instance.prefixes.enable(mode == DetailMode::On);
            Ok(Reply::Ok)
        }
        StatsTopic::Detail(None) => Err(Reject::DetailUsage),
        StatsTopic::Unknown => Err(Reject::UnknownCommand),
    };
    answer(false, line, out);
    Flow::Continue
}

/// `STAT` lines, which `END` closes.
fn block(out: &mut Vec<u8>, lines: impl FnOnce(&mut Vec<u8>)) -> Reply {
    lines(out);
    Reply::End
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
