//! `lru_crawler`.

use super::{Context, Dump, Flow, Line, answer};
use larder_protocol::{AdminReject, Classes, ItemsForm, LruCrawler, Reject, Reply};

/// The class of all items.
pub(super) const CLASS: u32 = 1;

pub(super) fn lru_crawler(cx: &Context<'_>, asked: LruCrawler, out: &mut Vec<u8>) -> Flow {
    let crawler = &cx.instance.crawler;
    let line = match asked {
        LruCrawler::Enable(is_enabled) if crawler.enable(is_enabled) => Ok(Reply::Ok),
        LruCrawler::Enable(_) => refuse(AdminReject::CrawlerNotStarted),
        LruCrawler::Sleep(us) => {
            crawler.set_sleep_us(us);
            Ok(Reply::Ok)
        }
        LruCrawler::ToCrawl(count) => {
            crawler.set_tocrawl(count);
            Ok(Reply::Ok)
        }
        LruCrawler::Crawl(classes) => crawl(cx, classes),
        LruCrawler::Dump(form, classes) => match dump(cx, form, classes, out) {
            Ok(flow) => return flow,
            Err(reject) => Err(reject),
        },
    };
    answer(false, line, out);
    Flow::Continue
}

fn refuse(reject: AdminReject) -> Line {
    Err(Reject::Admin(reject))
}

/// The classes to be crawled, where there are any and it may.
fn classes(cx: &Context<'_>, classes: Option<Classes>) -> Result<Classes, Reject> {
    let rejected = match classes {
        _ if !cx.instance.crawler.is_enabled() => AdminReject::CrawlerDisabled,
        None => AdminReject::BadClass,
        Some(Classes::Some(0)) => AdminReject::NothingToCrawl,
        Some(classes) => return Ok(classes),
    };
    Err(Reject::Admin(rejected))
}

/// Has dead items looked for, by the thread that does so now and then.
fn crawl(cx: &Context<'_>, asked: Option<Classes>) -> Line {
    match classes(cx, asked)? {
        Classes::Hash => refuse(AdminReject::CrawlerError),
        classes @ (Classes::All | Classes::Some(_)) => {
            if classes.has(CLASS) && !cx.instance.crawler.start() {
                return refuse(AdminReject::CrawlerBusy);
            }
            cx.counters.lru_crawler_starts.increment();
            Ok(Reply::Ok)
        }
    }
}

fn dump(
    cx: &Context<'_>,
    form: ItemsForm,
    asked: Option<Classes>,
    out: &mut Vec<u8>,
) -> Result<Flow, Reject> {
    if !cx.instance.config.dump_enabled {
        return Err(Reject::Admin(match form {
            ItemsForm::Metadump => AdminReject::MetadumpNotAllowed,
            ItemsForm::Mgdump => AdminReject::KeyDumpNotAllowed,
            ItemsForm::Cachedump => AdminReject::CachedumpNotAllowed,
        }));
    }
    let classes = classes(cx, asked)?;
    cx.counters.lru_crawler_starts.increment();
    Ok(Dump::begin(form, classes.has(CLASS), 0, out))
}
