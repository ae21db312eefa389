//! A chart of the results: how many times memcached's work each server does in the same processor time.
//!
//! Written by hand: it is rectangles, lines and text, and a crate for charts costs more than it saves.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::process::Outcome;
use crate::results::{Measure, Results, RowResult};
use crate::servers::Peer;

const WIDTH: f64 = 900.0;
const NAME_WIDTH: f64 = 190.0;
const FIGURE_WIDTH: f64 = 170.0;
const TOP: f64 = 70.0;
const LINE_HEIGHT: f64 = 24.0;
const BAR_HEIGHT: f64 = 14.0;
const INK: &str = "#24292f";
const PALE: &str = "#d0d7de";
const LARDER: &str = "#2a78b8";
const LIMIT: &str = "#b35900";

struct Bar<'a> {
    row: &'a RowResult,
    larder: f64,
    bare: Option<f64>,
}

/// Writes the chart.
pub(crate) fn write(results: &Results, path: &Path) -> Outcome<()> {
    let bars: Vec<Bar<'_>> = results.rows.iter().filter_map(bar).collect();
    if bars.is_empty() {
        return Err("no row for a chart: it needs Larder and memcached".into());
    }
    fs::write(path, svg(results, &bars)?)
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(())
}

fn bar(row: &RowResult) -> Option<Bar<'_>> {
    let ratio = |peer| row.ratio(Measure::CpuUsPerKey, Peer::Memcached, peer);
    Some(Bar { row, larder: ratio(Peer::Larder)?, bare: ratio(Peer::Bare) })
}

fn svg(results: &Results, bars: &[Bar<'_>]) -> Outcome<String> {
    let most = bars.iter().map(|bar| bar.larder.max(bar.bare.unwrap_or(0.0))).fold(1.0, f64::max);
    let scale = (WIDTH - NAME_WIDTH - FIGURE_WIDTH) / most;
    let bottom = TOP + LINE_HEIGHT * bars.len() as f64;
    let height = bottom + 50.0;
    let mut out = String::new();
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13" fill="{INK}">
<rect width="{WIDTH}" height="{height}" fill="white"/>
<text x="16" y="26" font-size="16" font-weight="bold">Work done in the same processor time, memcached = 1</text>
<rect x="16" y="40" width="14" height="12" fill="{LARDER}"/><text x="36" y="51">Larder</text>
<rect x="101" y="38" width="3" height="16" fill="{LIMIT}"/><text x="112" y="51">a server that keeps nothing (bare tokio)</text>
<text x="{WIDTH}" y="51" dx="-16" text-anchor="end">CPU per key: memcached, Larder</text>"#
    )?;
    let mut step = 1.0;
    while most / step > 12.0 {
        step *= 2.0;
    }
    let mut mark = 0.0_f64;
    while mark <= most {
        let (x, colour) = (NAME_WIDTH + mark * scale, if is_one(mark) { INK } else { PALE });
        writeln!(
            out,
            r#"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="{colour}"/><text x="{x:.1}" y="{}" text-anchor="middle" font-size="11">{mark}</text>"#,
            bottom + 14.0
        )?;
        mark += step;
    }
    for (index, bar) in bars.iter().enumerate() {
        let top = TOP + LINE_HEIGHT * index as f64 + (LINE_HEIGHT - BAR_HEIGHT) / 2.0;
        let base = top + BAR_HEIGHT - 2.5;
        let cpu = |peer| bar.row.of(peer)?.median(Measure::CpuUsPerKey);
        let (memcached, larder) =
            (cpu(Peer::Memcached).unwrap_or(0.0), cpu(Peer::Larder).unwrap_or(0.0));
        writeln!(
            out,
            r#"<text x="{}" y="{base}" text-anchor="end">{}</text><rect x="{NAME_WIDTH}" y="{top}" width="{:.1}" height="{BAR_HEIGHT}" fill="{LARDER}"/>"#,
            NAME_WIDTH - 8.0,
            bar.row.row,
            bar.larder * scale,
        )?;
        if let Some(bare) = bar.bare {
            let x = NAME_WIDTH + bare * scale - 1.5;
            let y = top - 2.0;
            writeln!(out, r#"<rect x="{x:.1}" y="{y}" width="3" height="18" fill="{LIMIT}"/>"#)?;
        }
        writeln!(
            out,
            r#"<text x="{}" y="{base}" text-anchor="end">{memcached:.2}, {larder:.2} µs ({:.1}x)</text>"#,
            WIDTH - 16.0,
            bar.larder
        )?;
    }
    let (versions, date, machine) =
        (results.versions.join(", "), &results.date, escaped(&results.machine));
    writeln!(
        out,
        r#"<text x="16" y="{}" font-size="11">{}; {machine}; {date}</text>
</svg>"#,
        height - 10.0,
        escaped(&versions)
    )?;
    Ok(out)
}

fn is_one(mark: f64) -> bool {
    (mark - 1.0).abs() < 0.01
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
