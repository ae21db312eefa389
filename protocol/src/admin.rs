//! What operators ask for beside `stats`, and how it is refused.
//!
//! Counts and forms of words are as strict as memcached's here: most mistakes are answered `ERROR`.

use crate::Reject;
use crate::dump::ItemsForm;
use crate::token::{Words, strict_i32, strict_u32};
use crate::watch::Streams;

/// Classes of items are numbered below this.
const CLASS_COUNT: u32 = 64;
/// The longest rest of the crawler, in microseconds.
const CRAWLER_SLEEP_MAX_US: u32 = 1_000_000;

/// What `cache_memlimit` takes, in MB.
const MEMLIMIT_MIN_MB: u32 = 8;
const MEMLIMIT_MAX_MB: u32 = 1_000_000_000;
/// What `slabs automove window` takes.
const AUTOMOVE_WINDOW_MIN: u32 = 3;
const AUTOMOVE_WINDOW_MAX: u32 = 1800;
/// Hot and warm items together, in percent.
const LRU_SHARE_MAX: u64 = 80;

/// A command of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    /// `lru_crawler`.
    LruCrawler(LruCrawler),
    /// `watch`; `None` where a word names nothing to be watched.
    Watch(Option<Streams>),
    /// `cache_memlimit`, in MB.
    CacheMemlimit(u64),
    /// What tunes memcached's slabs, LRU or flash: checked, and nothing more.
    WithoutEffect,
    /// `slabs reassign`.
    SlabsReassign,
    /// `refresh_certs`.
    RefreshCerts,
}

/// What `lru_crawler` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LruCrawler {
    /// `enable`, `disable`.
    Enable(bool),
    /// `sleep`, in microseconds.
    Sleep(u32),
    /// `tocrawl`: items a class, 0 for all.
    ToCrawl(u32),
    /// `crawl`: look for dead items. `None` where the classes are none.
    Crawl(Option<Classes>),
    /// `metadump`, `mgdump`: list items.
    Dump(ItemsForm, Option<Classes>),
}

/// Which classes of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classes {
    /// `all`.
    All,
    /// `hash`: all of them, in the order of the index.
    Hash,
    /// Those whose bits are set.
    Some(u64),
}

impl Classes {
    /// Reads `all`, `hash` or numbers with commas between them.
    fn read(word: &[u8]) -> Option<Self> {
        match word {
            b"all" => Some(Self::All),
            b"hash" => Some(Self::Hash),
            _ => word
                .split(|byte| *byte == b',')
                .filter(|number| !number.is_empty())
                .try_fold(0, |bits, number| {
                    let class = strict_u32(number).filter(|class| (1..CLASS_COUNT).contains(class));
                    Some(bits | 1 << class?)
                })
                .map(Self::Some),
        }
    }

    /// Whether a class is one of them.
    pub fn has(self, class: u32) -> bool {
        match self {
            Self::All | Self::Hash => true,
            Self::Some(bits) => bits >> class & 1 == 1,
        }
    }
}

/// `stats cachedump class limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cachedump {
    /// The class, below 64.
    pub class: u32,
    /// So many items at most; 0 is any number.
    pub limit: u32,
}

/// Why an operator's command was refused. `Busy` to `UnknownError` are said by memcached without `ERROR` in front where
/// they are no mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminReject {
    /// `lru_crawler crawl` while it crawls.
    CrawlerBusy,
    /// No such class.
    BadClass,
    /// `lru_crawler` with no class.
    NothingToCrawl,
    /// `lru_crawler crawl hash`.
    CrawlerError,
    /// The crawler is switched off.
    CrawlerDisabled,
    /// `lru_crawler enable` of one that is.
    CrawlerNotStarted,
    /// `lru_crawler sleep` for more than a second.
    CrawlerSleepTooLong,
    /// `lru_crawler metadump` is switched off.
    MetadumpNotAllowed,
    /// `lru_crawler mgdump` is switched off.
    KeyDumpNotAllowed,
    /// `watch` is switched off.
    WatchNotAllowed,
    /// As many watch as may.
    TooManyWatchers,
    /// No memory for what is to be shown.
    WatcherFailed,
    /// `cache_memlimit` of less than 8 MB.
    MemlimitTooSmall,
    /// `cache_memlimit` of bytes, it seems.
    MemlimitNotMegabytes,
    /// `slabs automove window` of other than 3 to 1800.
    AutomoveWindow,
    /// `lru tune` with too much for hot and warm items.
    LruPercentages,
    /// `lru tune` with an age that is nothing.
    LruFactors,
    /// `slabs reassign` where there are no slabs.
    SlabReassignDisabled,
    /// `refresh_certs` without TLS.
    NoTls,
    /// `stats cachedump` is switched off.
    CachedumpNotAllowed,
    /// `stats cachedump` with words missing.
    CachedumpWords,
    /// `stats cachedump` of a class over 63.
    IllegalSlabId,
}

impl AdminReject {
    /// The reply line, with its line end.
    pub fn line(self) -> &'static [u8] {
        match self {
            Self::CrawlerBusy => b"BUSY currently processing crawler request\r\n",
            Self::BadClass => b"BADCLASS invalid class id\r\n",
            Self::NothingToCrawl => b"NOTSTARTED no items to crawl\r\n",
            Self::CrawlerError => b"ERROR an unknown error happened\r\n",
            Self::CrawlerDisabled => b"CLIENT_ERROR lru crawler disabled\r\n",
            Self::CrawlerNotStarted => b"ERROR failed to start lru crawler thread\r\n",
            Self::CrawlerSleepTooLong => b"CLIENT_ERROR sleep must be one second or less\r\n",
            Self::MetadumpNotAllowed => b"ERROR metadump not allowed\r\n",
            Self::KeyDumpNotAllowed => b"ERROR key dump not allowed\r\n",
            Self::MemlimitTooSmall => b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n",
            Self::MemlimitNotMegabytes => {
                b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"
            }
            Self::AutomoveWindow => b"CLIENT_ERROR automove window too low or too high\r\n",
            Self::LruPercentages => b"ERROR hot and warm pcts must not exceed 80\r\n",
            Self::LruFactors => b"ERROR hot/warm age factors must be greater than 0\r\n",
            Self::SlabReassignDisabled => b"CLIENT_ERROR slab reassignment disabled\r\n",
            Self::NoTls => b"Error TLS not enabled\r\n",
            Self::WatchNotAllowed => b"CLIENT_ERROR watch commands not allowed\r\n",
            Self::TooManyWatchers => b"WATCHER_TOO_MANY log watcher limit reached\r\n",
            Self::WatcherFailed => b"WATCHER_FAILED failed to add log watcher\r\n",
            Self::CachedumpNotAllowed => b"CLIENT_ERROR stats cachedump not allowed\r\n",
            Self::CachedumpWords => b"CLIENT_ERROR bad command line\r\n",
            Self::IllegalSlabId => b"CLIENT_ERROR Illegal slab id\r\n",
        }
    }
}

/// `lru_crawler what [value]`.
pub(crate) fn lru_crawler(words: &Words<'_>) -> Result<Admin, Reject> {
    let number = || strict_u32(words.at(2)).ok_or(Reject::BadLine);
    let crawler = match (words.at(1), words.count()) {
        (b"enable", 2) => LruCrawler::Enable(true),
        (b"disable", 2) => LruCrawler::Enable(false),
        (b"sleep", 3) => match number()? {
            us @ 0..=CRAWLER_SLEEP_MAX_US => LruCrawler::Sleep(us),
            _ => return Err(Reject::Admin(AdminReject::CrawlerSleepTooLong)),
        },
        (b"tocrawl", 3) => LruCrawler::ToCrawl(number()?),
        (b"crawl", 3) => LruCrawler::Crawl(Classes::read(words.at(2))),
        (b"metadump", 3) => LruCrawler::Dump(ItemsForm::Metadump, Classes::read(words.at(2))),
        (b"mgdump", 3) => LruCrawler::Dump(ItemsForm::Mgdump, Classes::read(words.at(2))),
        _ => return Err(Reject::UnknownCommand),
    };
    Ok(Admin::LruCrawler(crawler))
}

/// `cache_memlimit MB`.
pub(crate) fn cache_memlimit(words: &Words<'_>) -> Result<Admin, Reject> {
    match strict_u32(words.at(1)) {
        None => Err(Reject::UnknownCommand),
        Some(..MEMLIMIT_MIN_MB) => Err(Reject::Admin(AdminReject::MemlimitTooSmall)),
        Some(mb @ MEMLIMIT_MIN_MB..=MEMLIMIT_MAX_MB) => Ok(Admin::CacheMemlimit(mb.into())),
        Some(_) => Err(Reject::Admin(AdminReject::MemlimitNotMegabytes)),
    }
}

/// `slabs reassign|automove`.
pub(crate) fn slabs(words: &Words<'_>) -> Result<Admin, Reject> {
    let count = words.count() - usize::from(words.noreply());
    match (words.at(1), count) {
        (b"reassign", 4) => match (strict_i32(words.at(2)), strict_i32(words.at(3))) {
            (Some(_), Some(_)) => Ok(Admin::SlabsReassign),
            (None, _) | (_, None) => Err(Reject::BadLine),
        },
        // More words are ignored.
        (b"automove", 3..) => match words.at(2) {
            b"ratio" | b"freeratio" => match decimal(words.at(3)) {
                Some(_) => Ok(Admin::WithoutEffect),
                None => Err(Reject::UnknownCommand),
            },
            b"window" => match strict_u32(words.at(3)) {
                Some(AUTOMOVE_WINDOW_MIN..=AUTOMOVE_WINDOW_MAX) => Ok(Admin::WithoutEffect),
                Some(_) => Err(Reject::Admin(AdminReject::AutomoveWindow)),
                None => Err(Reject::BadLine),
            },
            level => match strict_u32(level) {
                Some(0..=2) => Ok(Admin::WithoutEffect),
                Some(_) => Err(Reject::UnknownCommand),
                None => Err(Reject::BadLine),
            },
        },
        _ => Err(Reject::UnknownCommand),
    }
}

/// `lru tune|mode|temp_ttl`.
pub(crate) fn lru(words: &Words<'_>) -> Result<Admin, Reject> {
    let is_valid = match (words.at(1), words.at(2)) {
        (b"tune", _) if words.count() >= 6 => return lru_tune(words),
        (b"mode", mode) => matches!(mode, b"flat" | b"segmented"),
        (b"temp_ttl", seconds) => strict_i32(seconds).is_some(),
        _ => false,
    };
    if is_valid { Ok(Admin::WithoutEffect) } else { Err(Reject::UnknownCommand) }
}

/// `lru tune hot warm hot_factor warm_factor`.
fn lru_tune(words: &Words<'_>) -> Result<Admin, Reject> {
    let shares = strict_u32(words.at(2)).zip(strict_u32(words.at(3)));
    let factors = decimal(words.at(4)).zip(decimal(words.at(5)));
    match (shares, factors) {
        (Some((hot, warm)), _) if u64::from(hot) + u64::from(warm) > LRU_SHARE_MAX => {
            Err(Reject::Admin(AdminReject::LruPercentages))
        }
        (Some(_), Some((hot, warm))) if hot <= 0.0 || warm <= 0.0 => {
            Err(Reject::Admin(AdminReject::LruFactors))
        }
        (Some(_), Some(_)) => Ok(Admin::WithoutEffect),
        (None, _) | (_, None) => Err(Reject::UnknownCommand),
    }
}

/// `extstore setting number`, `extstore free_memchunks class number`.
pub(crate) fn extstore(words: &Words<'_>) -> Result<Admin, Reject> {
    let is_valid = match words.at(1) {
        b"free_memchunks" => words.count() >= 4,
        b"max_frag" => decimal(words.at(2)).is_some(),
        b"item_size" | b"item_age" | b"low_ttl" | b"recache_rate" | b"compact_under"
        | b"drop_under" | b"max_sleep" | b"drop_unread" => strict_u32(words.at(2)).is_some(),
        _ => false,
    };
    if is_valid { Ok(Admin::WithoutEffect) } else { Err(Reject::UnknownCommand) }
}

/// A number that may have a fraction.
fn decimal(word: &[u8]) -> Option<f64> {
    str::from_utf8(word).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}

/// `watch [streams]`.
pub(crate) fn watch(line: &[u8]) -> Admin {
    Admin::Watch(Streams::read(Words::all(line).skip(1)))
}

/// What stands behind `stats cachedump`.
pub(crate) fn cachedump(words: &Words<'_>) -> Result<Cachedump, Reject> {
    if words.count() < 4 {
        return Err(Reject::Admin(AdminReject::CachedumpWords));
    }
    match (strict_u32(words.at(2)), strict_u32(words.at(3))) {
        (Some(class @ 0..CLASS_COUNT), Some(limit)) => Ok(Cachedump { class, limit }),
        (Some(_), Some(_)) => Err(Reject::Admin(AdminReject::IllegalSlabId)),
        (None, _) | (_, None) => Err(Reject::BadLine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_all_or_named() {
        for (word, classes) in [
            ("all", Some(Classes::All)),
            ("hash", Some(Classes::Hash)),
            ("1", Some(Classes::Some(2))),
            ("1,3,,1", Some(Classes::Some(0b1010))),
            ("63", Some(Classes::Some(1 << 63))),
            (",", Some(Classes::Some(0))),
            ("0", None),
            ("64", None),
            ("1,64", None),
            ("1,x", None),
            ("-1", None),
        ] {
            assert_eq!(Classes::read(word.as_bytes()), classes, "{word}");
        }
        assert!(Classes::Some(2).has(1) && !Classes::Some(4).has(1));
        assert!(Classes::All.has(1) && Classes::Hash.has(1));
    }

    #[test]
    fn the_limit_is_in_megabytes() {
        let asked = |line: &str| cache_memlimit(&Words::split(line.as_bytes()));
        let refused = |reject| Err(Reject::Admin(reject));
        assert_eq!(asked("cache_memlimit 8"), Ok(Admin::CacheMemlimit(8)));
        assert_eq!(asked("cache_memlimit 7"), refused(AdminReject::MemlimitTooSmall));
        assert_eq!(asked("cache_memlimit 1000000000"), Ok(Admin::CacheMemlimit(1_000_000_000)));
        let over = asked("cache_memlimit 1000000001");
        assert_eq!(over, refused(AdminReject::MemlimitNotMegabytes));
        for line in
            ["cache_memlimit", "cache_memlimit x", "cache_memlimit -1", "cache_memlimit 4294967296"]
        {
            assert_eq!(asked(line), Err(Reject::UnknownCommand), "{line}");
        }
    }

    #[test]
    fn the_crawler_rests_a_second_at_most() {
        let asked = |line: &str| lru_crawler(&Words::split(line.as_bytes()));
        let sleep = |us| Ok(Admin::LruCrawler(LruCrawler::Sleep(us)));
        assert_eq!(asked("lru_crawler sleep 1000000"), sleep(1_000_000));
        let refused = Err(Reject::Admin(AdminReject::CrawlerSleepTooLong));
        assert_eq!(asked("lru_crawler sleep 1000001"), refused);
    }
}
