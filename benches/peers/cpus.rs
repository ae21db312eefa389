//! Which processors the servers run on, and which the load.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::process::Outcome;

/// Of what `/proc` counts in, on every Linux.
const TICKS_PER_S: f64 = 100.0;
/// Of a thread that asks for itself.
const SELF: Pid = Pid::from_raw(0);

/// Numbers of processors, as in `0` or `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) Vec<usize>);

impl Display for Cpus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.trim().parse::<usize>() {
            Ok(number) if number < CpuSet::count() => Ok(number),
            Ok(_) | Err(_) => Err(format!("{text:?} is no number of a processor")),
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((first, last)) => cpus.extend(number(first)?..=number(last)?),
                None => cpus.push(number(part)?),
            }
        }
        if cpus.is_empty() { Err(format!("{text:?} is empty")) } else { Ok(Self(cpus)) }
    }
}

impl Cpus {
    /// All that this process may use.
    pub(crate) fn allowed() -> Outcome<Self> {
        let set = sched_getaffinity(SELF)?;
        Ok(Self((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect()))
    }

    /// These, and others up to `count` where there are as many.
    pub(crate) fn extended(&self, allowed: &Self, count: usize) -> Self {
        let others = allowed.0.iter().filter(|cpu| !self.0.contains(cpu));
        let missing = count.saturating_sub(self.0.len());
        Self(self.0.iter().chain(others.take(missing)).copied().collect())
    }

    /// Those of `allowed` that are not here, if any.
    pub(crate) fn others(&self, allowed: &Self) -> Option<Self> {
        let others = allowed.0.iter().copied().filter(|cpu| !self.0.contains(cpu));
        Some(Self(others.collect())).filter(|others| !others.0.is_empty())
    }

    /// Seconds that these processors have worked, for whomever, and that the host of a virtual machine kept them.
    pub(crate) fn worked_s(&self) -> Outcome<f64> {
        let stat = fs::read_to_string("/proc/stat")?;
        let mut ticks = 0;
        for cpu in &self.0 {
            let name = format!("cpu{cpu} ");
            let line = stat.lines().find_map(|line| line.strip_prefix(name.as_str()));
            let line = line.ok_or_else(|| format!("no {name} in /proc/stat"))?;
            let of_kind: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
            // After user, nice and system come two kinds of idleness, then interrupts and what the host took.
            let of_kind = of_kind?;
            ticks +=
                of_kind.iter().take(8).sum::<u64>() - of_kind.iter().skip(3).take(2).sum::<u64>();
        }
        Ok(ticks as f64 / TICKS_PER_S)
    }

    /// Where the calling thread runs from now on, and what it starts.
    pub(crate) fn pin(&self) -> Outcome<()> {
        let mut set = CpuSet::new();
        for cpu in &self.0 {
            set.set(*cpu)?;
        }
        sched_setaffinity(SELF, &set)
            .map_err(|error| format!("cannot run on the processors {:?}: {error}", self.0))?;
        Ok(())
    }
}

/// What the system calls the processors, and how many it has.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{} CPUs, {}", count, model.map_or("of an unknown kind", |(_, name)| name))
}
