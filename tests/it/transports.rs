//! Where the server listens: Unix sockets, IPv6, several addresses, each with a protocol of its own.

use crate::client::Client;
use crate::process::Server;
use crate::{LARDER, wait_until};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use std::fs;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Ours, and where it is installed the one that ours is to be like.
fn programs() -> Vec<PathBuf> {
    let memcached = PathBuf::from("/usr/bin/memcached");
    let mut programs = vec![PathBuf::from(LARDER)];
    if memcached.is_file() {
        programs.push(memcached);
    } else {
        crate::skipped("memcached, from Debian's memcached, is not installed");
    }
    programs
}

fn at(path: &Path) -> Client {
    Client::over_unix(UnixStream::connect(path).expect("it listens"))
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").mode() & 0o7777
}

#[test]
fn a_unix_socket_takes_the_place_of_the_network() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    for program in programs() {
        for (args, mode) in [(&[][..], 0o700), (&["-a", "666", "-l", "0.0.0.0", "-p", "1"], 0o666)]
        {
            // What another server has left is replaced, and what it looked like.
            let mut server = Server::start_at(&program, &path, args);
            assert_eq!(mode_of(&path), mode);
            let mut client = at(&path);
            client
                .ask("set k 5 0 3\r\nabc\r\nget k\r\n", "STORED\r\nVALUE k 5 3\r\nabc\r\nEND\r\n");
            let settings: std::collections::HashMap<_, _> =
                client.stat_lines(" settings").into_iter().collect();
            assert_eq!(settings["domain_socket"], path.to_str().expect("a plain path"));
            assert_eq!(settings["umask"], format!("{mode:o}"));
            assert_eq!(settings["tcpport"], if args.is_empty() { "11211" } else { "1" });
            assert_eq!(listening_tcp_sockets(server.pid()), 0);
            client.send("quit\r\n");
            client.assert_closed();
            server.signal(Signal::SIGTERM);
            server.wait();
            assert!(path.exists(), "{program:?} leaves it");
        }
    }
}

/// How many of a process's sockets listen on TCP.
fn listening_tcp_sockets(pid: u32) -> usize {
    const LISTENING: &str = "0A";
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it runs")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        })
        .collect();
    let tables = ["tcp", "tcp6"].map(|name| {
        fs::read_to_string(format!("/proc/{pid}/net/{name}")).expect("the kernel tells")
    });
    let fields = |line: &str| {
        let fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        (fields[3].clone(), fields[9].clone())
    };
    let lines = tables.iter().flat_map(|table| table.lines().skip(1)).map(fields);
    lines.filter(|(state, inode)| state == LISTENING && inodes.contains(inode)).count()
}

#[test]
fn who_is_connected_shows_as_in_memcached() {
    let directory = tempfile::tempdir().expect("a directory");
    for (number, program) in programs().iter().enumerate() {
        let path = directory.path().join(format!("socket{number}"));
        let server = Server::start_at(program, &path, &["-t", "1"]);
        // Clients with a path, with an abstract name, and without any.
        let of_path = |name: &str| {
            let local = directory.path().join(format!("{name}{number}"));
            bound(&socket2::SockAddr::unix(local).expect("a short path"), &path)
        };
        let name = SocketAddr::from_abstract_name(format!("larder-{number}-{}", server.pid()));
        let named = bound_to_name(&name.expect("a short name"), &path);
        let mut clients = [of_path("client"), named, at(&path)];
        for client in &mut clients {
            client.send("version\r\n");
            assert!(client.line().starts_with("VERSION "));
        }
        let lines = clients[0].stat_lines(" conns");
        let count = |what: &str, value: &str| {
            lines.iter().filter(|(name, seen)| name.ends_with(what) && seen == value).count()
        };
        let shown = format!("unix:{}", path.display());
        assert_eq!(count(":addr", &shown), 1, "the listener: {lines:?}");
        assert_eq!(count(":state", "conn_listening"), 1);
        assert_eq!(count(":addr", "?:<AF 0>"), 3, "{lines:?}");
        assert_eq!(count(":listen_addr", &shown), 3, "{lines:?}");
    }
}

/// A client that has an address of its own.
fn bound(own: &socket2::SockAddr, server: &Path) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(own).expect("a new name");
    socket.connect(&socket2::SockAddr::unix(server).expect("a short path")).expect("it listens");
    Client::over_unix(std::os::fd::OwnedFd::from(socket).into())
}

fn bound_to_name(own: &SocketAddr, server: &Path) -> Client {
    let name = own.as_abstract_name().expect("it is one");
    let path = std::ffi::OsStr::new("\0").to_owned();
    let path = [path.as_encoded_bytes(), name].concat();
    let path = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&path);
    bound(&socket2::SockAddr::unix(path).expect("a short name"), server)
}

#[test]
fn what_is_no_socket_is_let_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "mine").expect("a file");
    let link = directory.path().join("link");
    let listener = UnixListener::bind(directory.path().join("target")).expect("a new name");
    std::os::unix::fs::symlink(directory.path().join("target"), &link).expect("a link");
    // One byte is for the end of the name.
    let longest = directory.path().join("x".repeat(107 - 1 - directory.path().as_os_str().len()));
    let too_long = longest.with_extension("y");
    let refusal = |path: &Path| {
        let output = Command::new(LARDER).arg("-s").arg(path).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (path, why) in [
        (&file, "Address already in use (os error 98)"),
        (&link, "Address already in use (os error 98)"),
        (&directory.path().join("no/socket"), "No such file or directory (os error 2)"),
        (&too_long, "path must be shorter than SUN_LEN"),
    ] {
        let expected = format!("larder: cannot listen on {}: {why}\n", path.display());
        assert_eq!(refusal(path), expected);
    }
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "mine");
    assert!(fs::symlink_metadata(&link).expect("it is still there").is_symlink());
    drop(listener);
    let server = Server::start_at(Path::new(LARDER), &longest, &[]);
    at(&longest).ask("version\r\n", "VERSION 1.6.45\r\n");
    assert!(server.stop().success());
}

#[test]
fn it_belongs_to_the_user_of_the_server() {
    if !Uid::effective().is_root() {
        return crate::skipped("only root can become another user");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody");
    std::os::unix::fs::chown(directory.path(), Some(nobody.uid.as_raw()), None).expect("as root");
    let path = directory.path().join("socket");
    let server = Server::start_at(Path::new(LARDER), &path, &["-u", "nobody"]);
    let socket = fs::symlink_metadata(&path).expect("it is there");
    assert!(socket.file_type().is_socket());
    assert_eq!((socket.uid(), socket.gid()), (nobody.uid.as_raw(), nobody.gid.as_raw()));
    assert!(server.stop().success());
}

#[test]
fn over_a_unix_socket_everything_is_as_over_tcp() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let limits = "maxconns_per_ip=1,idle_timeout=1";
    let mut server = Server::start_at(Path::new(LARDER), &path, &["-c", "5", "-o", limits]);
    // They have no address that could have too many, and as in memcached they may be idle.
    let mut clients = vec![at(&path)];
    wait_until("there is no other", || clients[0].stat("curr_connections") == 2);
    clients.extend((1..5).map(|_| at(&path)));
    for client in &mut clients {
        client.ask("version\r\n", "VERSION 1.6.45\r\n");
    }
    let mut sixth = at(&path);
    assert_eq!(sixth.line(), "ERROR Too many open connections");
    sixth.assert_closed();
    // A value that is received where it stays, lent to replies that are not taken, and a burst.
    let value = "v".repeat(1_000_000);
    let [first, second, ..] = &mut clients[..] else { panic!("five") };
    first.ask(format!("set large 0 0 1000000\r\n{value}\r\n"), "STORED\r\n");
    second.send("get large\r\n".repeat(20));
    wait_until("its replies are stuck", || first.stat("response_obj_count") == 1);
    for _ in 0..20 {
        second.ask("", &format!("VALUE large 0 1000000\r\n{value}\r\nEND\r\n"));
    }
    first.send("incr n 1\r\nset n 0 0 1\r\n1\r\n".to_owned() + &"incr n 1\r\n".repeat(3000));
    first.ask("", "NOT_FOUND\r\nSTORED\r\n");
    for number in 2..=3001 {
        assert_eq!(first.line(), number.to_string());
    }
    // A refused block is skipped, and what was sent before an unreadable command is answered.
    second.ask(
        format!("set big 0 0 2000000\r\n{}\r\nversion\r\n", "x".repeat(2_000_000)),
        "SERVER_ERROR object too large for cache\r\nVERSION 1.6.45\r\n",
    );
    second.send("version\r\nset k 0 0 x\r\n");
    second.ask("", "VERSION 1.6.45\r\nCLIENT_ERROR bad command line format\r\n");
    second.assert_closed();
    wait_until("it has been silent for longer than a second", || {
        let lines = first.stat_lines(" conns");
        lines.iter().any(|(name, value)| name.ends_with(":secs_since_last_cmd") && value == "2")
    });
    assert_eq!(first.stat("idle_kicks"), 0);
    // What is on its way when it is to end is answered.
    first.send("set k 0 0 3\r\na");
    wait_until("it has come", || clients[4].stat("read_buf_count") == 1);
    server.signal(Signal::SIGTERM);
    clients[0].ask("bc\r\n", "STORED\r\n");
    assert!(server.wait().success());
}

#[test]
fn a_protocol_belongs_to_its_listener() {
    // A frame that asks for the version, and a line of text that asks for nothing.
    let request = [&b"\x80\x0b"[..], &[0; 10], b"\r\n\0\0", &[0; 8]].concat();
    let is_binary = |port| {
        let mut client = Client::over(connect("127.0.0.1", port));
        client.send(&request);
        client.bytes(7) != b"ERROR\r\n"
    };
    let list =
        "proto[ascii]:127.0.0.1,127.0.0.1,proto[negotiating]:127.0.0.1:0,proto[binary]:127.0.0.1:0";
    let (child, ports) = start(&["-l", list]);
    let answered: Vec<bool> = ports.iter().map(|(_, port)| is_binary(*port)).collect();
    assert_eq!(answered, [false, true, true, true]);
    let mut client = Client::over(connect("127.0.0.1", ports[3].1));
    client.send("version\r\n");
    client.assert_closed();
    stop(child);
    let (child, ports) = start(&["-B", "ascii", "-l", "proto[negotiating]:127.0.0.1,127.0.0.1"]);
    assert!(is_binary(ports[0].1) && !is_binary(ports[1].1));
    stop(child);
}

#[test]
fn it_listens_on_every_address_that_it_is_given() {
    let (child, ports) = start(&["-l", "127.0.0.1,[::1]:0", "-l", "localhost,*"]);
    let families: Vec<&str> = ports.iter().map(|(family, _)| family.as_str()).collect();
    assert_eq!(families[..2], ["TCP INET", "TCP INET6"]);
    for (family, port) in &ports {
        let (host, kind) =
            if family == "TCP INET" { ("127.0.0.1", "tcp") } else { ("::1", "tcp6") };
        let stream = connect(host, *port);
        let own = stream.local_addr().expect("ours");
        let mut client = Client::over(stream);
        client.ask("version\r\n", "VERSION 1.6.45\r\n");
        let lines = client.stat_lines(" conns");
        let shows = |what: &str, addr: String| {
            lines.iter().any(|(name, value)| name.ends_with(what) && *value == addr)
        };
        assert!(shows(":addr", format!("{kind}:{own}")), "{lines:?}");
        let listens = std::net::SocketAddr::new(own.ip(), *port);
        assert!(shows(":listen_addr", format!("{kind}:{listens}")), "{lines:?}");
    }
    // Every family of one name has the same port, and other names have others.
    let [.., (_, v4), (last, v6)] = &ports[..] else { panic!("{ports:?}") };
    assert!(last == "TCP INET6" && v4 == v6, "{ports:?}");
    assert!(ports[0].1 != ports[1].1 && ports[2].1 != *v4, "{ports:?}");
    assert!(ports.len() >= 5, "localhost is one or two addresses: {ports:?}");
    stop(child);
}

/// Starts the program on free ports; with what its port file says, line by line.
fn start(args: &[&str]) -> (Running, Vec<(String, u16)>) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ports");
    let child = Command::new(LARDER)
        .args(["-p", "-1"])
        .args(args)
        .env("MEMCACHED_PORT_FILENAME", &file)
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let child = Running(child);
    wait_until("the port file", || file.exists());
    let text = fs::read_to_string(&file).expect("the port file");
    let port = |line: &str| {
        let (family, port) = line.split_once(": ").expect("a family and a port");
        (family.to_owned(), port.parse().expect("a number"))
    };
    (child, text.lines().map(port).collect())
}

fn connect(host: &str, port: u16) -> TcpStream {
    let stream = TcpStream::connect((host, port)).expect("it listens there");
    stream.set_read_timeout(Some(crate::DEADLINE)).expect("a timeout above zero");
    stream
}

/// A program that does not outlive a test that fails.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stop(mut running: Running) {
    let pid = nix::unistd::Pid::from_raw(running.0.id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("it runs");
    assert!(running.0.wait().expect("our own child").success());
}
