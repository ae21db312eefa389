//! Real clients, each a program under `tests/clients/` that starts its own servers and checks itself.
//!
//! What they need is made by `tests/run`, which says in the environment where it is: `LARDER_TEST_PYTHON` is a Python that
//! has `tests/clients/requirements.txt` installed, `LARDER_TEST_PYTHON_OLD` one that has the old python-memcached,
//! `NODE_PATH` a folder of npm packages, `LARDER_TEST_MEMCACHE_CRATE` a program. In `LARDER_TEST_CLIENTS` each test leaves
//! rows of the README's table of clients.

use crate::process::Server;
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

/// The same in another language: servers are started for it here, three on ports and one on a Unix socket, and are its
/// arguments.
#[track_caller]
fn check_in(interpreter: &str, program: &str) {
    if !is_installed(interpreter) {
        return skipped(&format!("{program} needs {interpreter}"));
    }
    with_servers(Command::new(interpreter).arg(path_of(program)), program);
}

#[track_caller]
fn with_servers(command: &mut Command, program: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let servers: [Server; 3] = std::array::from_fn(|_| larder(&[]));
    let _local = Server::start_at(Path::new(LARDER), &socket, &[]);
    command.args(servers.each_ref().map(|one| one.address().to_string())).arg(socket);
    run(command, program);
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
fn celery_with_rabbitmq() {
    check("LARDER_TEST_PYTHON", "celery_results.py");
}

#[test]
fn nginx() {
    check("LARDER_TEST_PYTHON", "nginx.py");
}

#[test]
fn tools_of_libmemcached_and_memcached() {
    check("LARDER_TEST_PYTHON", "libmemcached_tools.py");
}

#[test]
fn names_that_the_exporter_reads() {
    check("LARDER_TEST_PYTHON", "exporter_names.py");
}

#[test]
fn php_memcached() {
    check_in("php", "memcached_client.php");
}

/// In Node.js, which finds its packages by itself.
#[track_caller]
fn check_in_node(program: &str) {
    if std::env::var_os("NODE_PATH").is_none() {
        return skipped(&format!("{program} needs NODE_PATH, which tests/run sets"));
    }
    check_in("node", program);
}

#[test]
fn npm_memcached() {
    check_in_node("memcached_client.js");
}

#[test]
fn npm_memjs() {
    check_in_node("memjs_client.js");
}

#[test]
fn dalli() {
    check_in("ruby", "dalli_client.rb");
}

#[test]
fn memcache_crate() {
    let Some(program) = std::env::var_os("LARDER_TEST_MEMCACHE_CRATE") else {
        return skipped(
            "the memcache crate needs LARDER_TEST_MEMCACHE_CRATE, which tests/run sets",
        );
    };
    with_servers(&mut Command::new(program), "memcache_crate");
}

#[test]
fn python_binary_memcached_and_pylibmc_in_binary() {
    check("LARDER_TEST_PYTHON", "binary_clients.py");
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
fn memccapable_passes_every_test() {
    if !is_installed("memccapable") {
        return skipped("memccapable, from Debian's libmemcached-tools, is not installed");
    }
    let server = larder(&[]);
    let port = server.address().port().to_string();
    for (protocol, count) in [("-a", 20), ("-b", 27)] {
        let mut command = Command::new("memccapable");
        let output = command.args([protocol, "-h", "127.0.0.1", "-p", &port]).output();
        let output = output.expect("it is installed");
        let told = told(&output);
        assert!(output.status.success(), "{told}");
        assert!(told.contains("All tests passed"), "{told}");
        assert!(told.matches("[pass]").count() >= count && !told.contains("[FAIL]"), "{told}");
    }
    let row =
        " | libmemcached's `memccapable` | C | text, binary | its own tests, one for each command";
    proven("memccapable", &[row]);
}
