//! The program under a service manager: told how far it is, and given its sockets.

use crate::client::Client;
use crate::process::{DEADLINE, Server};
use crate::{LARDER, wait_until};
use nix::sys::signal::Signal;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn larder(args: &[&str]) -> Command {
    let mut command = Command::new(LARDER);
    command.args(["-p", "-1"]).args(args);
    command
}

#[test]
fn it_says_when_it_is_ready_and_when_it_stops() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let name = format!("larder-test-{}", std::process::id());
    let abstract_addr = SocketAddr::from_abstract_name(&name).expect("a short name");
    for (manager, name) in [
        (UnixDatagram::bind(&path), path.to_str().expect("a plain path").to_owned()),
        (UnixDatagram::bind_addr(&abstract_addr), format!("@{name}")),
    ] {
        let manager = manager.expect("a new name");
        manager.set_read_timeout(Some(DEADLINE)).expect("a timeout above zero");
        let heard = || {
            let mut state = [0; 100];
            let len = manager.recv(&mut state).expect("it says something");
            String::from_utf8_lossy(&state[..len]).into_owned()
        };
        let mut command = larder(&["-o", "drain_timeout=3600"]);
        command.env("NOTIFY_SOCKET", name);
        let mut server = Server::start_command(command);
        assert_eq!(heard(), "READY=1");
        let mut client = Client::connect(&server);
        client.ask("version\r\nset k 0 0 3\r\nx", "VERSION 1.6.45\r\n");
        wait_until("it has come", || Client::connect(&server).stat("read_buf_count") == 1);
        server.signal(Signal::SIGTERM);
        assert_eq!(heard(), "STOPPING=1");
        // That was the beginning of the end.
        client.ask("yz\r\n", "STORED\r\n");
        assert!(server.wait().success());
        manager.set_nonblocking(true).expect("a socket");
        let error = manager.recv(&mut [0]).expect_err("that was all");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(!server.stderr().contains("WARN"), "{}", server.stderr());
    }
}

#[test]
fn without_anybody_to_tell_it_serves() {
    for (name, is_said) in [("/nonexistent/notify", true), ("nowhere", true), ("", false)] {
        let mut command = larder(&[]);
        command.env("NOTIFY_SOCKET", name);
        let server = Server::start_command(command);
        Client::connect(&server).ask("version\r\n", "VERSION 1.6.45\r\n");
        let warning = "cannot tell the service manager READY=1: ";
        assert_eq!(server.stderr().matches(warning).count(), usize::from(is_said), "{name:?}");
    }
}

/// The program with these sockets from 3 on, as systemd starts it.
fn activated(first: impl Into<OwnedFd>, second: impl Into<OwnedFd>, args: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = "export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=a:b; \
        exec \"$0\" \"$@\" 3<&0 4<&1 0</dev/null 1>/dev/null";
    command.args(["-c", script, LARDER]).args(args);
    command.stdin(Stdio::from(first.into())).stdout(Stdio::from(second.into()));
    command
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

#[test]
fn sockets_that_are_handed_over_are_used_and_outlive_it() {
    let listeners = [listener(), listener()];
    let [first, second] = listeners.each_ref().map(|listener| listener.local_addr().expect("ours"));
    let start = || {
        let [first, second] = listeners.each_ref().map(|one| one.try_clone().expect("a socket"));
        // Nothing is bound: that port is taken.
        let port = first.local_addr().expect("ours").port().to_string();
        Server::start_command(activated(first, second, &["-l", "127.0.0.1", "-p", &port]))
    };
    let mut server = start();
    assert_eq!(server.address(), first);
    for addr in [first, second] {
        let stream = TcpStream::connect(addr).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout above zero");
        let mut client = Client::over(stream);
        client.ask("version\r\n", "VERSION 1.6.45\r\n");
        wait_until("the other has gone", || client.stat("curr_connections") == 3);
    }
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    // Who comes while none is running waits for the next one.
    let mut client = Client::connect(&server);
    client.send("version\r\n");
    let server = start();
    client.ask("", "VERSION 1.6.45\r\n");
    assert!(server.stop().success());
}

#[test]
fn a_unix_socket_may_be_one_of_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("unix");
    let abstract_addr =
        SocketAddr::from_abstract_name(format!("larder-handed-over-{}", std::process::id()));
    let abstract_addr = abstract_addr.expect("a short name");
    for unix in [UnixListener::bind(&path), UnixListener::bind_addr(&abstract_addr)] {
        let unix = unix.expect("a new name");
        let addr = unix.local_addr().expect("ours");
        // Where memcached would listen by itself does not count.
        let server = Server::start_command(activated(listener(), unix, &["-s", "/nonexistent/x"]));
        let stream = UnixStream::connect_addr(&addr).expect("it listens");
        let mut client = Client::over_unix(stream);
        client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
        Client::connect(&server).ask("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
        let shown = match addr.as_pathname() {
            Some(path) => format!("unix:{}", path.display()),
            None => format!("unix:@larder-handed-over-{}", std::process::id()),
        };
        let lines = client.lines("stats conns\r\n");
        let shown_count = lines.iter().filter(|line| line.ends_with(&shown)).count();
        assert_eq!(shown_count, 2, "the listener and its client");
        assert!(server.stop().success());
    }
    assert!(path.exists(), "it is the manager's");
}

#[test]
fn sockets_for_another_process_are_let_alone() {
    let ours = listener();
    let addr = ours.local_addr().expect("ours");
    for (count, pid) in [("1", "1"), ("1", ""), ("0", "$$")] {
        let mut command = Command::new("/bin/sh");
        let script = format!(
            "export LISTEN_FDS={count} LISTEN_PID={pid}; exec \"$0\" -p -1 3<&0 0</dev/null"
        );
        command.args(["-c", &script, LARDER]).stdout(Stdio::null());
        command.stdin(Stdio::from(OwnedFd::from(ours.try_clone().expect("a socket"))));
        let server = Server::start_command(command);
        assert_ne!(server.address(), addr);
        Client::connect(&server).ask("version\r\n", "VERSION 1.6.45\r\n");
    }
}

#[test]
fn what_cannot_be_listened_on_is_refused_in_one_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = std::fs::File::create(directory.path().join("file")).expect("a file");
    let path = directory.path().join("unix");
    let unix = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let unix = unix.expect("a socket");
    unix.bind(&socket2::SockAddr::unix(&path).expect("a short path")).expect("a new name");
    let datagram = UnixDatagram::bind(directory.path().join("datagram")).expect("a new name");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let tcp = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let tcp = tcp.expect("a socket");
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    tcp.bind(&free.into()).expect("a free port");
    let addr = tcp.local_addr().expect("ours").as_socket().expect("an IP address");
    for (socket, why) in [
        (OwnedFd::from(file), "fd 4 is not a socket".to_owned()),
        (unix.into(), format!("the socket of {} does not listen", path.display())),
        (datagram.into(), "fd 4 is not a valid tcp socket".to_owned()),
        (udp.into(), "fd 4 is not a valid tcp socket".to_owned()),
        (tcp.into(), format!("the socket of {addr} does not listen")),
    ] {
        let mut command = activated(listener(), socket, &[]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let deadline = Instant::now() + DEADLINE;
        while child.try_wait().expect("our own child").is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        // Fails where it has ended, as it should.
        let _ = child.kill();
        let output = child.wait_with_output().expect("our own child");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!("larder: cannot listen on what was handed over: {why}\n")
        );
        assert_eq!(output.status.code(), Some(1));
    }
}
