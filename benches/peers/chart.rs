//! A chart of the results: how many times memcached's work each server does in the same processor time.
//!
//! Written by hand: it is rectangles, lines and text, and a crate for charts costs more than it saves.

use std::fmt::Write;
use std::fs;
use std::iter;
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

/// Ratios on a scale on which twice as much is always as wide.
struct Scale {
    least: f64,
    unit: f64,
}

impl Scale {
    /// From a power of 2 to a power of 2, around all that is drawn and 1.
    fn around(bars: &[Bar<'_>]) -> Self {
        let ratios = || bars.iter().flat_map(|bar| [Some(bar.larder), bar.bare]).flatten();
        let least = ratios().fold(1.0, f64::min).log2().floor();
        let most = ratios().fold(2.0, f64::max).log2().ceil();
        Self { least, unit: (WIDTH - NAME_WIDTH - FIGURE_WIDTH) / (most - least) }
    }

    fn x(&self, ratio: f64) -> f64 {
        NAME_WIDTH + (ratio.log2() - self.least) * self.unit
    }

    /// The powers of 2.
    fn marks(&self) -> impl Iterator<Item = f64> {
        let inside = |mark: &f64| self.x(*mark) <= WIDTH - FIGURE_WIDTH + 0.1;
        iter::successors(Some(self.least.exp2()), |mark| Some(mark * 2.0)).take_while(inside)
    }
}

fn svg(results: &Results, bars: &[Bar<'_>]) -> Outcome<String> {
    let scale = Scale::around(bars);
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
<text x="{}" y="51" text-anchor="end">µs per key: memcached, Larder</text>"#,
        WIDTH - 16.0
    )?;
    for mark in scale.marks() {
        let (x, colour) = (scale.x(mark), if is_one(mark) { INK } else { PALE });
        writeln!(
            out,
            r#"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="{colour}"/><text x="{x:.1}" y="{}" text-anchor="middle" font-size="11">{mark}</text>"#,
            bottom + 14.0
        )?;
    }
    for (index, bar) in bars.iter().enumerate() {
        draw(&mut out, bar, &scale, TOP + LINE_HEIGHT * index as f64)?;
    }
    let source = format!("{}; {}; {}", results.versions.join(", "), results.machine, results.date);
    writeln!(
        out,
        r#"<text x="16" y="{}" font-size="11">{}</text>
</svg>"#,
        height - 10.0,
        escaped(&source)
    )?;
    Ok(out)
}

fn draw(out: &mut String, bar: &Bar<'_>, scale: &Scale, line_top: f64) -> Outcome<()> {
    let top = line_top + (LINE_HEIGHT - BAR_HEIGHT) / 2.0;
    let base = top + BAR_HEIGHT - 2.5;
    let (one, end) = (scale.x(1.0), scale.x(bar.larder));
    writeln!(
        out,
        r#"<text x="{}" y="{base}" text-anchor="end">{}</text><rect x="{:.1}" y="{top}" width="{:.1}" height="{BAR_HEIGHT}" fill="{LARDER}"/>"#,
        NAME_WIDTH - 8.0,
        bar.row.row,
        one.min(end),
        (end - one).abs(),
    )?;
    if let Some(bare) = bar.bare {
        let (x, y) = (scale.x(bare) - 1.5, top - 2.0);
        writeln!(out, r#"<rect x="{x:.1}" y="{y}" width="3" height="18" fill="{LIMIT}"/>"#)?;
    }
    let cpu = |peer| bar.row.of(peer)?.median(Measure::CpuUsPerKey);
    if let (Some(memcached), Some(larder)) = (cpu(Peer::Memcached), cpu(Peer::Larder)) {
        writeln!(
            out,
            r#"<text x="{}" y="{base}" text-anchor="end">{memcached:.2}, {larder:.2} ({:.1}x)</text>"#,
            WIDTH - 16.0,
            bar.larder
        )?;
    }
    Ok(())
}

fn is_one(mark: f64) -> bool {
    (mark - 1.0).abs() < 0.01
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
