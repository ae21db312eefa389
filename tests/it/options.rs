//! The program as an operator starts, detaches and stops it.

use crate::client::Client;
use crate::process::Server;
use crate::{LARDER, larder, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(LARDER).args(args).output().expect("the program starts")
}

/// Exits at once with this one line on stderr.
#[track_caller]
fn assert_refused(args: &[&str], sentence: &str) {
    let output = run(args);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!("larder: {sentence}\n"),
        "{args:?}"
    );
    assert!(!output.status.success() && output.stdout.is_empty());
}

/// The port in a port file, once it is there.
fn port_in(path: &Path) -> u16 {
    wait_until("the port file", || path.exists());
    let text = fs::read_to_string(path).expect("the port file");
    text.trim().strip_prefix("TCP INET: ").expect("a port").parse().expect("a number")
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("our address");
    assert_refused(
        &["-p", &addr.port().to_string()],
        &format!("cannot listen on {addr}: Address already in use (os error 98)"),
    );
    assert_refused(&["--bogus"], "unknown option '--bogus'; --help lists the options");
    let output = run(&["-m", "x"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("-m/--memory-limit"));
    let output = run(&["-l", "host.invalid"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("larder: cannot resolve the address host.invalid: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
    let output = run(&["-P", "/nonexistent/pid", "-p", "-1"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent"));
}

#[test]
fn help_version_and_licence_go_to_stdout() {
    for (flag, part) in [("-h", "--memory-limit"), ("--help", "-o"), ("-i", "MIT OR Apache-2.0")] {
        let output = run(&[flag]);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && output.stderr.is_empty() && stdout.contains(part),
            "{flag}"
        );
    }
    for flag in ["-V", "--version"] {
        let expected =
            concat!("larder ", env!("CARGO_PKG_VERSION"), " (speaks memcached 1.6.45)\n");
        assert_eq!(String::from_utf8_lossy(&run(&[flag]).stdout), expected);
    }
}

#[test]
fn it_says_in_one_line_that_it_listens() {
    let server = larder(&[]);
    wait_until("it says so", || !server.stderr().is_empty());
    let stderr = server.stderr();
    let expected =
        format!("larder {} listens on {}, 64 MB, ", env!("CARGO_PKG_VERSION"), server.address());
    assert!(stderr.contains(&expected), "{stderr:?}");
    assert_eq!(stderr.lines().count(), 1, "{stderr:?}");
    let server = larder(&["-l", "127.0.0.2,127.0.0.3"]);
    wait_until("it says so", || !server.stderr().is_empty());
    let stderr = server.stderr();
    let (_, listed) = stderr.split_once("listens on 127.0.0.1:").expect("the first of them");
    let (_, listed) = listed.split_once(", 127.0.0.2:").expect("the second");
    assert!(listed.contains(" and 127.0.0.3:"), "{stderr:?}");
}

#[test]
fn what_has_no_effect_is_said_in_one_line() {
    let server =
        larder(&["-f", "1.25", "-n", "48", "-L", "-o", "slab_reassign,slab_automove=1,modern"]);
    wait_until("it listens", || server.stderr().contains("listens on"));
    let stderr = server.stderr();
    let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("without effect")).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    for option in ["-f 1.25", "-n 48", "-L", "slab_reassign", "slab_automove=1", "modern"] {
        assert!(lines[0].contains(option), "{option} in {stderr}");
    }
}

#[test]
fn the_command_line_wins_over_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("larder.conf");
    let log = directory.path().join("larder.log");
    let text = format!(
        "# as Debian has it\nlogfile {}\n-m 32\n-c 99 # few\n\n-v\n-l 0.0.0.0\n-f 1.25\n",
        log.display()
    );
    fs::write(&file, text).expect("a file");
    let path = file.to_str().expect("a plain path");
    // The test's own `-l 127.0.0.1 -p -1` are on the command line.
    let server = larder(&["--config", path, "-c", "55"]);
    let mut client = Client::connect(&server);
    let settings: std::collections::HashMap<_, _> =
        client.stat_lines(" settings").into_iter().collect();
    for (name, value) in
        [("maxbytes", "33554432"), ("maxconns", "55"), ("verbosity", "1"), ("inter", "127.0.0.1")]
    {
        assert_eq!(settings[name], value, "{name}");
    }
    wait_until("it logs", || fs::read_to_string(&log).is_ok_and(|log| log.contains("connected")));
    assert_eq!(server.stderr(), "");

    fs::write(&file, "-m 64\n-c many\n").expect("a file");
    let output = run(&["--config", path]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with(&format!("larder: {path}:2: ")), "{stderr}");
    let output = run(&["--config", "/nonexistent.conf"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent.conf"));
}

#[test]
fn every_stopping_signal_ends_it_cleanly() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
        let mut server = larder(&[]);
        let mut client = Client::connect(&server);
        client.ask("version\r\n", "VERSION 1.6.45\r\n");
        server.signal(Signal::SIGHUP);
        client.ask("version\r\n", "VERSION 1.6.45\r\n");
        server.signal(signal);
        let status = server.wait();
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{signal}");
        client.assert_closed();
        assert!(server.stderr().ends_with("stopped\n"), "{}", server.stderr());
    }
}

#[test]
fn a_signal_at_the_earliest_moment_leaves_nothing_behind() {
    for _ in 0..50 {
        let directory = tempfile::tempdir().expect("a directory");
        let pid_file = directory.path().join("pid");
        let mut child = Command::new(LARDER)
            .args(["-p", "-1", "-P"])
            .arg(&pid_file)
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the program starts");
        let deadline = std::time::Instant::now() + crate::DEADLINE;
        while !pid_file.exists() {
            assert!(std::time::Instant::now() < deadline, "no pid file");
        }
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        assert_eq!(child.wait().expect("our own child").code(), Some(0));
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }
}

#[test]
fn shutdown_stops_it_where_that_is_allowed() {
    for word in ["", " graceful"] {
        let mut server = larder(&["-A"]);
        let mut client = Client::connect(&server);
        client.ask("shutdown at once\r\n", "CLIENT_ERROR invalid shutdown mode\r\n");
        client.send(format!("shutdown{word}\r\n"));
        client.assert_closed();
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn as_a_daemon_it_leaves_the_terminal_and_its_pid() {
    let directory = tempfile::tempdir().expect("a directory");
    let ports = directory.path().join("ports");
    let pid_file = directory.path().join("pid");
    let start = || {
        Command::new(LARDER)
            // Relative to a directory that the daemon leaves.
            .args(["-d", "-p", "-1", "-P", "pid"])
            .current_dir(directory.path())
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .output()
            .expect("the program starts")
    };
    let output = start();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let port = port_in(&ports);
    let pid: i32 = fs::read_to_string(&pid_file).expect("a pid").trim().parse().expect("a number");
    let stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let mut client = Client::over(stream);
    assert_eq!(client.stat("pid"), u64::try_from(pid).expect("a pid"));
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).expect("it runs");
    assert_eq!(cwd, Path::new("/"));
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    wait_until("it removed its pid file", || !pid_file.exists());

    // What goes wrong is still said where it was started.
    for args in [
        ["-d", "-p", "-1", "-P", "/nonexistent/pid"],
        ["-d", "-p", "-1", "--logfile", "/nonexistent/log"],
        ["-d", "-p", "-1", "-u", "no-such-user"],
    ] {
        // Only root can become another user, and so fail to.
        if args[3] == "-u" && !Uid::effective().is_root() {
            continue;
        }
        let output = run(&args);
        assert!(!output.status.success(), "{args:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with("larder: cannot ") && stderr.lines().count() == 1, "{stderr}");
    }
    let port = port.to_string();
    let taken = TcpListener::bind(format!("127.0.0.1:{port}"));
    let output = run(&["-d", "-p", &port]);
    drop(taken);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen on 127.0.0.1:"));
}

#[test]
fn root_becomes_the_user_that_it_is_told() {
    if !Uid::effective().is_root() {
        return crate::skipped("only root can become another user");
    }
    // The server's own files need a directory that the user may write to.
    let directory = tempfile::tempdir().expect("a directory");
    let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody");
    std::os::unix::fs::chown(directory.path(), Some(nobody.uid.as_raw()), None).expect("as root");
    let ports = directory.path().join("ports");
    let mut child = Command::new(LARDER)
        .args(["-p", "-1", "-u", "nobody", "-P"])
        .arg(directory.path().join("pid"))
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    port_in(&ports);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    for (name, id) in [("Uid:", nobody.uid.as_raw()), ("Gid:", nobody.gid.as_raw())] {
        let line = status.lines().find(|line| line.starts_with(name)).expect("ids");
        let ids: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert_eq!(ids, vec![id.to_string(); 4], "{name}");
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    assert!(child.wait().expect("our own child").success());
    assert!(!directory.path().join("pid").exists());
    assert_refused(
        &["-p", "-1", "-u", "no-such-user"],
        "cannot become user 'no-such-user': there is no such user",
    );
}

#[test]
fn nobody_waits_for_who_reads_the_log() {
    const COUNT: usize = 5_000;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(LARDER);
    command.args(["-p", "-1", "-t", "1", "-vv"]);
    let server = Server::start_logging_to(writer, command);
    let mut client = Client::connect(&server);
    // Some times what a pipe holds.
    for number in 0..COUNT {
        client.ask(format!("get key{number}\r\n"), "END\r\n");
    }
    let mut log = BufReader::new(reader).lines();
    let mut next = || log.next().expect("a line").expect("text");
    let mut line = next();
    let mut shown = 0;
    while !line.ends_with(" lines are left out here: nobody read them") {
        shown += usize::from(line.contains("< get key"));
        line = next();
        if shown == 1 {
            // There is room soon, and so somebody to say it.
            client.ask("verbosity 1\r\n", "OK\r\n");
        }
    }
    let skipped: usize = line.split(' ').next().and_then(|count| count.parse().ok()).expect("some");
    assert!(shown + skipped >= COUNT && shown > 0 && skipped > COUNT / 2, "{shown} and {skipped}");
    // Nor for one who has gone.
    drop(log);
    client.ask("verbosity 2\r\n", "OK\r\n");
    for _ in 0..10 {
        client.ask("get k\r\n", "END\r\n");
    }
    assert!(server.stop().success());
}

#[test]
fn it_logs_what_is_asked_and_lets_it_change() {
    let server = larder(&[]);
    let mut client = Client::connect(&server);
    client.ask(
        "get quiet\r\nverbosity 2\r\nget loud\x1b\r\nverbosity 0\r\nget still\r\n",
        "END\r\nOK\r\nEND\r\nOK\r\nEND\r\n",
    );
    let stderr = server.stderr();
    assert!(
        stderr.contains("get loud\\x1b") && !stderr.contains("quiet") && !stderr.contains("still"),
        "{stderr}"
    );
}
