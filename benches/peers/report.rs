//! The table, a row at a time.

use crate::process::Outcome;
use crate::results::{Measure, Results, RowResult, Runs};
use crate::rows::COMPARED;
use crate::servers::Peer;

/// Head, width and decimals of the columns that a figure is in.
const COLUMNS: [(&str, Measure, usize, usize); 12] = [
    ("requests/s", Measure::RequestsPerS, 10, 0),
    ("keys/s", Measure::KeysPerS, 10, 0),
    ("p50 us", Measure::P50Us, 9, 1),
    ("p99 us", Measure::P99Us, 9, 1),
    ("p99.9 us", Measure::P999Us, 9, 1),
    ("CPU us/key", Measure::CpuUsPerKey, 10, 3),
    ("user", Measure::UserUsPerKey, 8, 3),
    ("system", Measure::SystemUsPerKey, 8, 3),
    ("busy %", Measure::BusyPercent, 6, 0),
    ("others", Measure::OthersPercent, 6, 0),
    ("miss %", Measure::MissPercent, 6, 1),
    ("RSS MB", Measure::RssMb, 6, 0),
];
/// What has no column of its own stands at the end of the line.
const REMARKS: [(&str, Measure, usize); 5] = [
    ("requests/s were due", Measure::OfferedPerS, 0),
    ("connections", Measure::IdleConnections, 0),
    ("bytes of RSS each", Measure::ConnectionBytes, 0),
    ("ms until ready", Measure::ReadyMs, 1),
    ("% of a processor when idle", Measure::IdleCpuPercent, 3),
];
const NAME_LEN: usize = 12;

/// The head of the table.
pub(crate) fn print_head() {
    print!("{:<NAME_LEN$}", "");
    for (head, _, width, _) in COLUMNS {
        print!(" {head:>width$}");
    }
    println!(" {:>7}", "spread");
}

/// A row, all servers and their ratios.
pub(crate) fn print_row(row: &RowResult) {
    println!("\n{}: {}", row.row, row.about);
    for runs in &row.servers {
        print_runs(runs);
    }
    let ratios = ratios(row);
    if !ratios.is_empty() {
        println!("{:<NAME_LEN$} {}", "", ratios.join("; "));
    }
}

fn print_runs(runs: &Runs) {
    print!("{:<NAME_LEN$}", runs.server.name());
    if let Some(reason) = &runs.skipped {
        return println!(" skipped: {reason}");
    }
    let has_load = runs.median(Measure::RequestsPerS).is_some();
    if has_load {
        for (_, measure, width, decimals) in COLUMNS {
            match runs.median(measure) {
                Some(figure) => print!(" {figure:>width$.decimals$}"),
                None => print!(" {:>width$}", "-"),
            }
        }
        let spread = runs.spread_percent(Measure::CpuUsPerKey).unwrap_or(0.0);
        print!(" {:>7}", format!("{spread:.0} %"));
    }
    let remarks = REMARKS.iter().filter_map(|(unit, measure, decimals)| {
        let figure = runs.median(*measure)?;
        let spread = match runs.spread_percent(*measure) {
            Some(spread) if spread > 0.0 => format!(" (spread {spread:.0} %)"),
            Some(_) | None => String::new(),
        };
        Some(format!("{figure:.decimals$} {unit}{spread}"))
    });
    println!("{}", remarks.map(|remark| format!(" {remark}")).collect::<Vec<_>>().join(","));
}

fn ratios(row: &RowResult) -> Vec<String> {
    use Peer::{Bare, Larder, Memcached};
    let is_open_loop = row.servers.iter().any(|runs| runs.median(Measure::OfferedPerS).is_some());
    let speed = if is_open_loop { Measure::P999Us } else { Measure::RequestsPerS };
    let mut wanted = vec![
        ("memcached's CPU / Larder's", Measure::CpuUsPerKey, Memcached, Larder),
        ("Larder's CPU / bare tokio's", Measure::CpuUsPerKey, Larder, Bare),
    ];
    wanted.push(match speed {
        Measure::P999Us => ("Larder's p99.9 / memcached's", speed, Larder, Memcached),
        _ => ("Larder's requests / memcached's", speed, Larder, Memcached),
    });
    let ratio = |(what, measure, over, under)| {
        Some(format!("{what} {:.2}", row.ratio(measure, over, under)?))
    };
    wanted.into_iter().filter_map(ratio).collect()
}

/// What rows say next to each other.
pub(crate) fn print_comparisons(results: &Results) {
    let mut is_first = true;
    for (what, over, under) in COMPARED {
        let (Some(over), Some(under)) = (results.row(over), results.row(under)) else { continue };
        let ratios: Vec<String> = over
            .servers
            .iter()
            .filter_map(|runs| {
                let cpu = runs.median(Measure::CpuUsPerKey)?;
                let under_cpu = under.of(runs.server)?.median(Measure::CpuUsPerKey)?;
                Some(format!("{} {:.2}", runs.server.name(), cpu / under_cpu))
            })
            .collect();
        if !ratios.is_empty() {
            let head = if is_first { "\nCPU per key\n" } else { "" };
            is_first = false;
            println!("{head}  {what}: {}", ratios.join(", "));
        }
    }
}

/// What a round came to, in a few words.
pub(crate) fn in_short(runs: &Runs) -> Outcome<String> {
    let run = runs.rounds.last().ok_or("no round was measured")?;
    let columns = COLUMNS.map(|(unit, measure, _, decimals)| (unit, measure, decimals));
    let figure = |(unit, measure, decimals): &(&str, Measure, usize)| {
        run.get(measure).map(|figure| format!("{figure:.decimals$} {unit}"))
    };
    let shown = [&columns[0], &columns[5]].into_iter().chain(&REMARKS);
    Ok(shown.filter_map(figure).collect::<Vec<_>>().join(", "))
}
