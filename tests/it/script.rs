//! The script suite: bytes in, bytes out, on our server and on a real memcached, so that the suite itself is checked.
//!
//! The scripts are `scripts/*.txt`. Owns their format, the two kinds of server they run on, and the order of the runs.
//!
//! # The format
//! ```text
//! == a name that says what is so
//! # any comment; one that begins with why: is required by some of the lines below
//! args: -C -I 2m         options of the server; a case with options has a server of its own
//! fresh                  a server of its own without options, for cases that read counters or leave something behind
//! modes: step            run in these modes only (step, byte, burst); needs a `# why:`
//! > text                 send exactly these bytes
//! < text                 the next bytes are exactly these
//! <~ STAT a *\r\n        among the lines up to END is one like this (`*`: any bytes). Several such lines in a row look at
//!                        one reply, in this order
//! alive                  `version` is sent and answered, which proves that nothing else was. Comes by itself at the end
//!                        of a case, on every open connection
//! closed                 the server closes the connection, with nothing sent before
//! drop                   we close it, and nothing more is checked
//! exits                  the server ends by itself, with status 0
//! wait 1.5s              time passes
//! crowd 65               so many more connections, which stay idle
//! B> text, B< text       the same on another connection, which opens when it is first named; also `B closed` and so on
//! 1.6.18: < text         on memcached 1.6.18 this step comes instead of the one before (several lines: several steps,
//!                        `nothing`: none). Needs a `# why:`. For the whole case: `1.6.18: skip`, `1.6.18: modes: …` and
//!                        `1.6.18: args: …`
//! ```
//! Escapes in a text: `\r \n \t \0 \xNN \\ \{ \} \*`. `{text*250}` repeats, and `%i` in it is the number of the repetition,
//! from 1. `{now+100}` is a unix time. `{cas}` takes a number out of a reply and may be sent or expected from then on;
//! `{new!=cas}` takes one that must differ.
//!
//! # The modes
//! Every case runs three times: in steps (send, read the answers, send …), in the same steps byte by byte, and in a
//! burst, where all that is sent up to the next pause is one write. Where memcached and the reference for 1.6.45
//! differ, the reference is right for Larder.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::client::Client;
use crate::process::{DEADLINE, Server};

#[path = "scripts/check.rs"]
mod check;
#[path = "scripts/parse.rs"]
pub(crate) mod parse;
#[path = "scripts/peer.rs"]
mod peer;
#[path = "scripts/run.rs"]
mod run;

use parse::{Action, Case, Mode, Plan, Step};
use run::{Venue, play};

/// More at a time would only take the CPU from each other.
const WORKER_COUNT: usize = 4;
/// A server that is this wrong needs no longer list.
const FAILURES_PER_JOB_MAX: usize = 10;

/// What the scripts run on.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Our server.
    Larder { path: PathBuf },
    /// memcached 1.6.18.
    Memcached { path: PathBuf },
}

impl Target {
    fn path(&self) -> &Path {
        match self {
            Self::Larder { path } | Self::Memcached { path } => path,
        }
    }

    fn version(&self) -> &'static str {
        match self {
            Self::Larder { .. } => "1.6.45",
            Self::Memcached { .. } => "1.6.18",
        }
    }

    fn plan<'case>(&self, case: &'case Case) -> &'case Plan {
        match self {
            Self::Larder { .. } => &case.larder,
            Self::Memcached { .. } => &case.memcached,
        }
    }
}

/// Cases that share one server, one after another.
struct Job<'case> {
    mode: Mode,
    args: &'case [String],
    cases: Vec<&'case Case>,
}

impl Job<'_> {
    fn waits(&self) -> bool {
        let has_wait =
            |steps: &[Step]| steps.iter().any(|step| matches!(step.action, Action::Wait(_)));
        self.cases.iter().any(|case| has_wait(&case.larder.steps))
    }

    /// The failures, each with its place and what was expected.
    fn run(&self, target: &Target) -> Vec<String> {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let mut server = Server::start(target.path(), &args);
        let (address, pid) = (server.address(), server.pid());
        let is_shared = self.cases.len() > 1;
        let mut failures = Vec::new();
        let mut has_ended = false;
        for case in &self.cases {
            if is_shared && let Err(text) = forget(&server) {
                failures.push(format!("{}: before case \"{}\": {text}", case.file, case.name));
                break;
            }
            let plan = target.plan(case);
            let mut venue = Venue {
                address,
                version: target.version(),
                patience: DEADLINE,
                server: (!is_shared).then_some(&mut server),
            };
            if let Err(failure) = play(plan, self.mode, &mut venue) {
                let (file, name, mode) = (&case.file, &case.name, self.mode);
                let (line_number, text) = (failure.line_number, failure.text);
                failures.push(format!(
                    "{file}:{line_number}: case \"{name}\" ({mode:?}, server {pid}): {text}"
                ));
            }
            has_ended = plan.steps.iter().any(|step| matches!(step.action, Action::Exits));
            if failures.len() >= FAILURES_PER_JOB_MAX {
                failures.push(format!("… and no more {:?} cases on this server", self.mode));
                break;
            }
        }
        // A connection that panicked is closed like one that was at fault.
        if is_shared && matches!(target, Target::Larder { .. }) {
            let panic_count = Client::connect(&server).stat("conn_panics");
            if panic_count > 0 {
                failures.push(format!("server {pid}: {panic_count} panics: {}", server.stderr()));
            }
        }
        // memcached takes a second for this, and how it ends is not our concern.
        if !has_ended && matches!(target, Target::Larder { .. }) {
            let log = server.stderr();
            let status = server.stop();
            if !status.success() {
                failures.push(format!("server {pid} stopped with {status}: {log}"));
            }
        }
        failures
    }
}

/// Clears what the case before has stored.
fn forget(server: &Server) -> Result<(), String> {
    let mut stream = server.connect();
    let mut reply = [0; 4];
    let outcome = stream.write_all(b"flush_all\r\n").and_then(|()| stream.read_exact(&mut reply));
    match outcome {
        Ok(()) if reply == *b"OK\r\n" => Ok(()),
        Ok(()) => Err(format!("flush_all was answered {}", reply.escape_ascii())),
        Err(error) => Err(format!("flush_all: {error}")),
    }
}

/// Runs every script in every mode; panics with all that differs.
pub(crate) fn run_all(target: &Target) {
    let started = Instant::now();
    let cases = load("tests/it/scripts").unwrap_or_else(|error| panic!("{error}"));
    let (timed, quick): (Vec<Job>, Vec<Job>) =
        jobs(&cases, target).into_iter().partition(Job::waits);
    let run_count: usize = timed.iter().chain(&quick).map(|job| job.cases.len()).sum();
    let expectation_count: usize = cases.iter().map(|case| expectations(target.plan(case))).sum();
    let queue = Mutex::new(VecDeque::from(quick));
    let failures = Mutex::new(Vec::new());
    let run = |job: &Job| {
        let found = job.run(target);
        failures.lock().expect("nothing panics in here").extend(found);
    };
    thread::scope(|scope| {
        // These sleep nearly all the time, so each has a thread of its own.
        for job in &timed {
            scope.spawn(|| run(job));
        }
        for _ in 0..WORKER_COUNT {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("nothing panics in here").pop_front();
                    let Some(job) = next else { break };
                    run(&job);
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nothing panics in there");
    let summary = format!(
        "{} cases, {expectation_count} expectations, {run_count} runs, {:.1} s",
        cases.len(),
        started.elapsed().as_secs_f64()
    );
    println!("{target:?}: {summary}");
    assert!(failures.is_empty(), "{} of {summary}\n\n{}", failures.len(), failures.join("\n\n"));
}

/// All cases of the scripts in a folder of this repository.
pub(crate) fn load(folder: &str) -> Result<Vec<Case>, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut cases = Vec::new();
    for path in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        cases.extend(parse::cases(&name, &text)?);
    }
    Ok(cases)
}

/// One job for each case with a server of its own, and one for the others of a file, in each mode.
fn jobs<'case>(cases: &'case [Case], target: &Target) -> Vec<Job<'case>> {
    let mut jobs = Vec::new();
    for mode in Mode::ALL {
        let runs = cases.iter().filter(|case| target.plan(case).modes.contains(&mode));
        let (alone, together): (Vec<&Case>, Vec<&Case>) =
            runs.partition(|case| target.plan(case).is_alone());
        jobs.extend(alone.into_iter().map(|case| Job {
            mode,
            args: &target.plan(case).args,
            cases: vec![case],
        }));
        let by_file = together.chunk_by(|left, right| left.file == right.file);
        jobs.extend(by_file.map(|cases| Job { mode, args: &[], cases: cases.to_vec() }));
    }
    jobs
}

fn expectations(plan: &Plan) -> usize {
    let is_expectation = |step: &&Step| match step.action {
        Action::Expect(_) | Action::Line(_) | Action::Alive | Action::Closed | Action::Exits => {
            true
        }
        Action::Send(_) | Action::Drop | Action::Wait(_) | Action::Crowd(_) => false,
    };
    plan.steps.iter().filter(is_expectation).count()
}

#[test]
fn scripts_on_larder() {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_larder"));
    run_all(&Target::Larder { path });
}

#[test]
fn scripts_on_memcached() {
    let path = PathBuf::from("memcached");
    let found = match Command::new(&path).arg("-V").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    if found == "memcached 1.6.18" {
        run_all(&Target::Memcached { path });
        return;
    }
    let text =
        format!("SKIPPED: scripts_on_memcached needs memcached 1.6.18 on the PATH, found: {found}");
    assert!(std::env::var_os("LARDER_TEST_ALL").is_none_or(|value| value != "1"), "{text}");
    // Past the capture of the test harness, which hides what a passing test prints.
    let _ = writeln!(io::stderr(), "{text}");
}
