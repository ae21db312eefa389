//! What was measured, as it is written to a file and read again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::process::Outcome;
use crate::servers::Peer;

/// A figure, with its unit last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    RequestsPerS,
    KeysPerS,
    P50Us,
    P99Us,
    #[serde(rename = "p99_9_us")]
    P999Us,
    CpuUsPerKey,
    UserUsPerKey,
    SystemUsPerKey,
    /// How much of its processors the server used; well below 100, the load was the limit.
    BusyPercent,
    /// How much of them other programs used: what was measured then is not to be trusted.
    OthersPercent,
    MissPercent,
    RssMb,
    OfferedPerS,
    IdleConnections,
    ConnectionBytes,
    ReadyMs,
    IdleCpuPercent,
}

/// One round of one row on one server.
pub(crate) type Run = BTreeMap<Measure, f64>;

/// All rounds of one row on one server, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Runs {
    pub(crate) server: Peer,
    pub(crate) rounds: Vec<Run>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<String>,
}

impl Runs {
    fn figures(&self, measure: Measure) -> Vec<f64> {
        let mut figures: Vec<f64> =
            self.rounds.iter().filter_map(|run| run.get(&measure).copied()).collect();
        figures.sort_by(f64::total_cmp);
        figures
    }

    /// The one in the middle.
    pub(crate) fn median(&self, measure: Measure) -> Option<f64> {
        median(&self.figures(measure))
    }

    /// Between the lowest and the highest, in percent of the median.
    pub(crate) fn spread_percent(&self, measure: Measure) -> Option<f64> {
        let figures = self.figures(measure);
        Some(100.0 * (figures.last()? - figures.first()?) / median(&figures)?)
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let (low, high) =
        (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

/// One row of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RowResult {
    pub(crate) row: String,
    pub(crate) about: String,
    pub(crate) servers: Vec<Runs>,
}

impl RowResult {
    pub(crate) fn of(&self, peer: Peer) -> Option<&Runs> {
        self.servers.iter().find(|runs| runs.server == peer)
    }

    /// One server's figure over another's: the median of the ratios of the rounds, each of which was measured
    /// within a short time.
    pub(crate) fn ratio(&self, measure: Measure, over: Peer, under: Peer) -> Option<f64> {
        let rounds = self.of(over)?.rounds.iter().zip(&self.of(under)?.rounds);
        let mut ratios: Vec<f64> = rounds
            .filter_map(|(over, under)| Some(over.get(&measure)? / under.get(&measure)?))
            .collect();
        ratios.sort_by(f64::total_cmp);
        median(&ratios)
    }
}

/// The whole table, and where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) versions: Vec<String>,
    pub(crate) keys: u32,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) rows: Vec<RowResult>,
}

impl Results {
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?)
    }

    pub(crate) fn write(&self, path: &Path) -> Outcome<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n")
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(())
    }

    pub(crate) fn row(&self, name: &str) -> Option<&RowResult> {
        self.rows.iter().find(|row| row.row == name)
    }
}

/// Today as year, month and day, in UTC.
pub(crate) fn today() -> Outcome<String> {
    let mut days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for len in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    Ok(format!("{year}-{month:02}-{:02}", days + 1))
}
