//! Real clients, each a program under `tests/clients/` that starts its own servers and checks itself.
//!
//! `LARDER_TEST_PYTHON` names a Python that has `tests/clients/requirements.txt` installed, and
//! `LARDER_TEST_PYTHON_OLD` one that has the old python-memcached; `tests/run` makes both.

use crate::{LARDER, larder, skipped};
use std::path::Path;
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
fn check(python: &str, program: &str) {
    let Some(python) = std::env::var_os(python) else {
        return skipped(&format!("{program} needs {python}, which tests/run sets"));
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(program);
    let output = Command::new(python).arg(path).env("LARDER_BIN", LARDER).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let told = told(&output);
    assert!(output.status.success(), "{program}:\n{told}");
    assert!(told.trim_end().ends_with("checks passed"), "{program} says how many:\n{told}");
    eprintln!("{told}");
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
}
