//! Real clients, each a program under `tests/clients/` that starts its own servers and checks itself.
//!
//! `LARDER_TEST_PYTHON` names a Python that has `tests/clients/requirements.txt` installed, and
//! `LARDER_TEST_PYTHON_OLD` one that has the old python-memcached; `tests/run` makes both. It also names a directory,
//! `LARDER_TEST_CLIENTS`, where each test leaves rows of the README's table of clients.

use crate::{LARDER, larder, skipped};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Whether a program can be started at all.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Both streams of a finished program, for the message of a failure.
fn told(output: &Output) -> String {
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
}

/// Runs a program of `tests/clients/`, which must say how many checks passed.
#[track_caller]
fn check(variable: &str, program: &str) {
    let Some(python) = std::env::var_os(variable) else {
        return skipped(&format!("{program} needs {variable}, which tests/run sets"));
    };
    let name = format!("{variable}-{program}");
    run(Command::new(python).arg(path_of(program)).env("LARDER_BIN", LARDER), &name);
}

fn path_of(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(program)
}

#[track_caller]
fn run(command: &mut Command, program: &str) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let told = told(&output);
    assert!(output.status.success(), "{program}:\n{told}");
    assert!(told.trim_end().ends_with("checks passed"), "{program} says how many:\n{told}");
    let rows: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("CLIENT")).collect();
    proven(program, &rows);
    eprintln!("{told}");
}

/// Keeps rows for the README's table of clients, which `tests/run` makes of them; each test's have a name of their own.
fn proven(test: &str, rows: &[&str]) {
    if let Some(directory) = std::env::var_os("LARDER_TEST_CLIENTS") {
        let rows = rows.join(" |\n") + " |\n";
        std::fs::write(Path::new(&directory).join(test), rows).expect("tests/run makes it");
    }
}

#[test]
fn python_memcached() {
    check("LARDER_TEST_PYTHON", "python_memcached_client.py");
}

#[test]
fn python_memcached_1_59() {
    check("LARDER_TEST_PYTHON_OLD", "python_memcached_client.py");
}

#[test]
fn pymemcache() {
    check("LARDER_TEST_PYTHON", "pymemcache_client.py");
}

#[test]
fn pylibmc() {
    check("LARDER_TEST_PYTHON", "pylibmc_client.py");
}

#[test]
fn aiomcache() {
    check("LARDER_TEST_PYTHON", "aiomcache_client.py");
}

#[test]
fn django() {
    check("LARDER_TEST_PYTHON", "django_caches.py");
}

#[test]
fn flask_caching() {
    check("LARDER_TEST_PYTHON", "flask_caching_client.py");
}

#[test]
fn telnet_and_nc() {
    check("LARDER_TEST_PYTHON", "telnet_session.py");
}

#[test]
fn cache_aside_in_front_of_mysql() {
    check("LARDER_TEST_PYTHON", "cache_aside_check.py");
}

#[test]
fn memccapable_passes_every_text_test() {
    if !is_installed("memccapable") {
        return skipped("memccapable, from Debian's libmemcached-tools, is not installed");
    }
    let server = larder(&[]);
    let port = server.address().port().to_string();
    let output = Command::new("memccapable").args(["-a", "-h", "127.0.0.1", "-p", &port]).output();
    let output = output.expect("it is installed");
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("All tests passed"), "{told}");
    assert!(told.matches("[pass]").count() >= 20 && !told.contains("[FAIL]"), "{told}");
    let row = " | libmemcached's `memccapable -a` | C | text | its own tests, one for each command";
    proven("memccapable", &[row]);
}
