//! What operators ask for beside `stats`.

use super::{Context, Flow, answer, crawler};
use larder_protocol::{Admin, AdminReject, Reject, Reply};

pub(super) fn operate(cx: &Context<'_>, admin: Admin, noreply: bool, out: &mut Vec<u8>) -> Flow {
    let refuse = |reject| Err(Reject::Admin(reject));
    let line = match admin {
        Admin::LruCrawler(asked) => return crawler::lru_crawler(cx, asked, out),
        Admin::Watch(_) if !cx.instance.config.watch_enabled => {
            refuse(AdminReject::WatchNotAllowed)
        }
        Admin::Watch(Some(streams)) => return Flow::Watch(streams),
        Admin::Watch(None) => Err(Reject::UnknownCommand),
        Admin::CacheMemlimit(mb) => {
            tracing::info!("a client has set the memory limit to {mb} MB");
            cx.instance.set_limit(mb << 20);
            Ok(Reply::Ok)
        }
        Admin::WithoutEffect => {
            tracing::debug!("a client tunes what is not there: slabs, an LRU in segments or flash");
            Ok(Reply::Ok)
        }
        Admin::SlabsReassign => refuse(AdminReject::SlabReassignDisabled),
        Admin::RefreshCerts => refuse(AdminReject::NoTls),
    };
    answer(noreply, line, out);
    Flow::Continue
}
