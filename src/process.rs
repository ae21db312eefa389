//! What a Unix daemon does to its own process.
//!
//! Owns the calls that change the process as a whole: detaching, the user, the resource limits,
//! and the two files that tell others about it. Knows nothing of the configuration, of sockets
//! beyond their addresses, or of the store; decides nothing, its caller does.
//!
//! The order that works, where the steps apply:
//! 1. [`raise_open_file_limit`] and [`lock_memory`], which root may do better;
//! 2. [`drop_privileges`], after binding ports that only root may bind;
//! 3. [`enable_coredumps`], since a change of user turns core files off;
//! 4. [`PidFile::check`], so that what fails does so where the user sees it;
//! 5. [`detach`], while there is one thread only; relative paths point elsewhere afterwards, and [`lock_memory`] is
//!    due again;
//! 6. [`PidFile::write`] and [`write_port_file`], so that the final user owns the files and may remove them.
//!
//! INVARIANT: the files appear under their names with their whole content, or not at all.

use std::ffi::{CString, OsString};
use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::kill;
use nix::unistd::{self, Pid, Uid, User};

/// What could not be done and why: one sentence on one line, without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessError(String);

impl ProcessError {
    fn new(what: impl fmt::Display, why: impl Into<io::Error>) -> ProcessError {
        ProcessError::sentence(&format!("cannot {what}: {}", why.into()))
    }

    /// A sentence may quote a name or a path, so control characters are shown escaped.
    fn sentence(sentence: &str) -> ProcessError {
        ProcessError(crate::sentence::one_line(sentence))
    }
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProcessError {}

/// Goes on as a child in a session of its own, without a terminal; the parent exits with code 0.
///
/// The working directory becomes `/` unless `keep_directory`, which suits core files. Standard
/// input, output and error become `/dev/null` unless `keep_streams`, which suits a log on standard
/// error. Refused while there is a second thread, since the child would lack it.
pub fn detach(keep_directory: bool, keep_streams: bool) -> Result<(), ProcessError> {
    // Where there is no /proc, the caller's care has to do.
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(ProcessError(format!(
            "cannot detach: there are {threads} threads, and only one would go on"
        )));
    }
    go_on_as_child(keep_directory, keep_streams)
}

fn go_on_as_child(keep_directory: bool, keep_streams: bool) -> Result<(), ProcessError> {
    unistd::daemon(keep_directory, keep_streams).map_err(|errno| ProcessError::new("detach", errno))
}

/// The file that holds this process's id, for as long as the value lives.
///
/// Dropping it removes the file, unless another process has put its own id there.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the id of this process, with a newline, to `path`.
    ///
    /// A file that is there is replaced. When it names another process that is alive, a warning
    /// is logged, and no more, as in memcached: the id may long have been given to a stranger.
    pub fn write(path: &Path) -> Result<PidFile, ProcessError> {
        refuse_special(path).map_err(|error| cannot_write(path, error))?;
        if let Some(pid) = running_owner(path) {
            tracing::warn!("the pid file {} names process {pid}, which is running", path.display());
        }
        let own = std::process::id();
        replace_file(path, &format!(".{own}.tmp"), &format!("{own}\n"))
            .map_err(|error| cannot_write(path, error))?;
        Ok(PidFile { path: path.to_owned() })
    }

    /// Whether a file could be written to `path`; leaves nothing there.
    pub fn check(path: &Path) -> Result<(), ProcessError> {
        let staged = staged_path(path, &format!(".{}.tmp", std::process::id()));
        refuse_special(path)
            .and_then(|()| stage(&staged))
            .and_then(|_| fs::remove_file(&staged))
            .map_err(|error| cannot_write(path, error))
    }
}

/// A FIFO would be waited for, and a device replaced by a file.
fn refuse_special(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(io::Error::other("it is not a regular file")),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn cannot_write(path: &Path, error: io::Error) -> ProcessError {
    ProcessError::new(format_args!("write the pid file {}", path.display()), error)
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if read_pid(&self.path) != Some(own_pid()) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            tracing::warn!("cannot remove the pid file {path}: {error}");
        }
    }
}

/// Becomes `user`, with that user's groups, for good. Does nothing unless started as root.
pub fn drop_privileges(user: &str) -> Result<(), ProcessError> {
    if !runs_as_root() {
        return Ok(());
    }
    let failed = |error: io::Error| ProcessError::new(format_args!("become user '{user}'"), error);
    let account = User::from_name(user).map_err(|errno| failed(errno.into()))?;
    let account = account.ok_or_else(|| {
        ProcessError::sentence(&format!("cannot become user '{user}': there is no such user"))
    })?;
    let name = CString::new(account.name).map_err(|error| failed(error.into()))?;
    unistd::initgroups(&name, account.gid)
        .and_then(|()| unistd::setgid(account.gid))
        .and_then(|()| unistd::setuid(account.uid))
        .map_err(|errno| failed(errno.into()))?;
    if !account.uid.is_root() && unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(ProcessError::sentence(&format!(
            "cannot become user '{user}': the process could become root again"
        )));
    }
    Ok(())
}

/// Whether the process has root's rights, so that it should be told which user to become.
fn runs_as_root() -> bool {
    Uid::current().is_root() || Uid::effective().is_root()
}

/// Makes room for `needed` open files, and returns how many there may be now.
///
/// The soft limit is raised as far as the hard one, and root raises that one too.
pub fn raise_open_file_limit(needed: u64) -> Result<u64, ProcessError> {
    let got = raise_limit(Resource::RLIMIT_NOFILE, needed)
        .map_err(|errno| ProcessError::new("raise the limit of open files", errno))?;
    if got < needed {
        return Err(ProcessError(format!(
            "{needed} open files are needed and only {got} are allowed: start as root, raise \
             'ulimit -n', or allow fewer connections"
        )));
    }
    Ok(got)
}

/// Keeps all memory, that of today and that of later, out of swap.
///
/// Without root's rights the limit of locked memory stays in force, and it counts every later
/// allocation: one beyond it ends the process, so a finite limit is logged as a warning.
pub fn lock_memory() -> Result<(), ProcessError> {
    let failed = |errno: Errno| ProcessError::new("lock the memory", errno);
    let limit = raise_limit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY).map_err(failed)?;
    let finite = limit != RLIM_INFINITY;
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).map_err(|errno| {
        if finite {
            let what = format_args!("lock the memory, of which {limit} bytes may be locked");
            ProcessError::new(what, errno)
        } else {
            failed(errno)
        }
    })?;
    if finite {
        tracing::warn!("at most {limit} bytes may be locked, and memory beyond cannot be had");
    }
    Ok(())
}

/// Allows core files of any size, or as large as the hard limit permits.
///
/// To be called after [`drop_privileges`]: the kernel writes no core file for a process that has
/// changed its user, unless the process asks for it afterwards.
pub fn enable_coredumps() -> Result<(), ProcessError> {
    let failed = |errno: Errno| ProcessError::new("enable core files", errno);
    let limit = raise_limit(Resource::RLIMIT_CORE, RLIM_INFINITY).map_err(failed)?;
    if limit == 0 {
        return Err(ProcessError(
            "cannot enable core files: the hard limit of their size is 0".to_owned(),
        ));
    }
    prctl::set_dumpable(true).map_err(failed)
}

/// Tells whoever started the server which ports were bound.
///
/// The format is memcached's: a line `TCP INET: 11211` or `TCP INET6: 11211` for each address.
/// The text is written to `FILE.lck` first. Without any address there is no file.
pub fn write_port_file(path: &Path, addresses: &[SocketAddr]) -> Result<(), ProcessError> {
    if addresses.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for address in addresses {
        let family = if address.is_ipv4() { "INET" } else { "INET6" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "TCP {family}: {}", address.port());
    }
    replace_file(path, ".lck", &text).map_err(|error| {
        ProcessError::new(format_args!("write the port file {}", path.display()), error)
    })
}

/// Raises the soft limit towards `wanted`, with the hard one where allowed, and returns the soft
/// limit that came of it. Lowers nothing.
fn raise_limit(resource: Resource, wanted: u64) -> nix::Result<u64> {
    let (soft, hard) = getrlimit(resource)?;
    if soft >= wanted {
        return Ok(soft);
    }
    if wanted > hard && setrlimit(resource, wanted, wanted).is_ok() {
        return Ok(wanted);
    }
    let reachable = wanted.min(hard);
    setrlimit(resource, reachable, hard)?;
    Ok(reachable)
}

/// Writes `path` plus `suffix` and renames it to `path`, so that no reader sees half a text.
fn replace_file(path: &Path, suffix: &str, text: &str) -> io::Result<()> {
    let staged = staged_path(path, suffix);
    let written = stage(&staged)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&staged, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&staged);
    }
    written
}

fn staged_path(path: &Path, suffix: &str) -> PathBuf {
    let mut staged = OsString::from(path);
    staged.push(suffix);
    staged.into()
}

/// A new file only: a link that somebody has put there is not followed.
fn stage(staged: &Path) -> io::Result<File> {
    match fs::remove_file(staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().write(true).create_new(true).open(staged)
}

fn own_pid() -> Pid {
    unistd::getpid()
}

/// The process that a pid file names, when it is another one than this and is alive.
fn running_owner(path: &Path) -> Option<Pid> {
    let pid = read_pid(path).filter(|pid| *pid != own_pid())?;
    // A process of another user is alive too.
    matches!(kill(pid, None), Ok(()) | Err(Errno::EPERM)).then_some(pid)
}

/// The id in a pid file. To `kill`, 0 and negative numbers mean whole groups, so they are none.
fn read_pid(path: &Path) -> Option<Pid> {
    let mut text = String::new();
    File::open(path).ok()?.take(32).read_to_string(&mut text).ok()?;
    let pid = text.trim().parse().ok().filter(|pid: &i32| *pid > 0)?;
    Some(Pid::from_raw(pid))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::fd::AsFd;
    use std::process::{Command, Output};
    use std::thread;

    use nix::unistd::{Gid, getgroups};

    use super::*;

    /// Set in a process that plays the second part of a test.
    const CHILD: &str = "LARDER_PROCESS_TEST_CHILD";

    /// What changes a process is tested in one of its own: this runs the calling test again in a
    /// child, on its main thread, and returns what came of it; in the child it returns `None`.
    fn in_child(test: &str) -> Option<Output> {
        if env::var_os(CHILD).is_some() {
            return None;
        }
        let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", &name, "--test-threads=1", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(seen.contains("running 1 test"), "{seen}");
        Some(output)
    }

    /// Goes on as a child, with the test's thread alone, and reports over a descriptor that
    /// survives that.
    fn detach_and_report(keep_directory: bool, keep_streams: bool) {
        let before = unistd::getsid(None).unwrap();
        let report = io::stdout().as_fd().try_clone_to_owned().unwrap();
        go_on_as_child(keep_directory, keep_streams).unwrap();
        let mut report = File::from(report);
        let nowhere = (0..3).all(|fd| {
            fs::read_link(format!("/proc/self/fd/{fd}")).unwrap() == Path::new("/dev/null")
        });
        writeln!(
            report,
            "\ndetached session={} directory={} nowhere={nowhere}",
            unistd::getsid(None).unwrap() != before,
            env::current_dir().unwrap() != Path::new("/"),
        )
        .unwrap();
        std::process::exit(0);
    }

    #[test]
    fn detaches() {
        // The output ends when the process that goes on has ended, so nothing has to wait.
        let Some(output) = in_child("detaches") else {
            return detach_and_report(false, false);
        };
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(seen.contains("detached session=true directory=false nowhere=true"), "{seen}");
    }

    #[test]
    fn detaches_and_keeps() {
        let Some(output) = in_child("detaches_and_keeps") else {
            return detach_and_report(true, true);
        };
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(seen.contains("detached session=true directory=true nowhere=false"), "{seen}");
    }

    #[test]
    fn does_not_detach_with_threads() {
        // The scope's thread is alive until the channel closes.
        let (close, closed) = std::sync::mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || closed.recv());
            let refusal = detach(false, false).unwrap_err().to_string();
            drop(close);
            assert!(refusal.starts_with("cannot detach: there are "), "{refusal}");
            assert!(refusal.ends_with(" threads, and only one would go on"), "{refusal}");
        });
    }

    #[test]
    fn pid_file_comes_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        drop(file);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn pid_file_of_another_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        // And one that is gone is no trouble.
        let file = PidFile::write(&path).unwrap();
        fs::remove_file(&path).unwrap();
        drop(file);
    }

    #[test]
    fn pid_file_replaces_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let own = std::process::id();
        for (text, running) in [
            ("1\n".to_owned(), Some(Pid::from_raw(1))),
            ("1".to_owned(), Some(Pid::from_raw(1))),
            (format!("{own}\n"), None),
            // Above the kernel's largest id.
            ("2147483647\n".to_owned(), None),
            ("0\n".to_owned(), None),
            ("-1\n".to_owned(), None),
            ("pid\n".to_owned(), None),
            (String::new(), None),
        ] {
            fs::write(&path, &text).unwrap();
            assert_eq!(running_owner(&path), running, "{text:?}");
            let file = PidFile::write(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{own}\n"));
            drop(file);
            assert!(!path.exists());
        }
        assert_eq!(running_owner(&path), None);
    }

    #[test]
    fn pid_file_survives_a_stale_staging_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let staging = directory.path().join(format!("pid.{}.tmp", std::process::id()));
        let victim = directory.path().join("victim");
        std::os::unix::fs::symlink(&victim, &staging).unwrap();
        let _file = PidFile::write(&path).unwrap();
        assert!(!victim.exists());
        assert!(!fs::exists(&staging).unwrap());
    }

    #[test]
    fn pid_file_that_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/pid");
        let refusal = PidFile::write(&path).unwrap_err().to_string();
        assert_eq!(
            refusal,
            format!(
                "cannot write the pid file {}: No such file or directory (os error 2)",
                path.display()
            )
        );
        // The staging file does not stay when only the renaming fails.
        let path = directory.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(PidFile::write(&path).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn pid_file_that_is_a_fifo() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let expected =
            format!("cannot write the pid file {}: it is not a regular file", path.display());
        assert_eq!(PidFile::check(&path).unwrap_err().to_string(), expected);
        assert_eq!(PidFile::write(&path).unwrap_err().to_string(), expected);
    }

    #[test]
    fn port_file_has_a_line_for_each_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ports");
        fs::write(directory.path().join("ports.lck"), "stale").unwrap();
        let addresses: Vec<SocketAddr> = ["127.0.0.1:11211", "[::1]:11212", "0.0.0.0:65535"]
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        write_port_file(&path, &addresses).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "TCP INET: 11211\nTCP INET6: 11212\nTCP INET: 65535\n"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        write_port_file(&directory.path().join("none"), &[]).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let refusal = write_port_file(&directory.path().join("x/y"), &addresses).unwrap_err();
        assert!(refusal.to_string().starts_with("cannot write the port file "), "{refusal}");
    }

    #[test]
    fn open_file_limit() {
        if in_child("open_file_limit").is_some() {
            return;
        }
        setrlimit(Resource::RLIMIT_NOFILE, 64, 128).unwrap();
        // Enough already, and nothing is lowered.
        assert_eq!(raise_open_file_limit(32), Ok(64));
        // Up to the hard limit, on both sides of it.
        assert_eq!(raise_open_file_limit(128), Ok(128));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (128, 128));
        let beyond = raise_open_file_limit(129);
        if beyond == Ok(129) {
            assert!(runs_as_root());
            assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (129, 129));
        }
        // More than the kernel gives to root.
        let got = getrlimit(Resource::RLIMIT_NOFILE).unwrap().0;
        let refusal = raise_open_file_limit(1 << 62).unwrap_err().to_string();
        assert_eq!(
            refusal,
            format!(
                "{} open files are needed and only {got} are allowed: start as root, raise \
                 'ulimit -n', or allow fewer connections",
                1_u64 << 62
            )
        );
    }

    #[test]
    fn coredumps() {
        if in_child("coredumps").is_some() {
            return;
        }
        let hard = getrlimit(Resource::RLIMIT_CORE).unwrap().1;
        setrlimit(Resource::RLIMIT_CORE, 0, hard).unwrap();
        prctl::set_dumpable(false).unwrap();
        match enable_coredumps() {
            Ok(()) => {
                assert!(getrlimit(Resource::RLIMIT_CORE).unwrap().0 > 0);
                assert!(prctl::get_dumpable().unwrap());
            }
            Err(refusal) => {
                assert_eq!(hard, 0);
                assert_eq!(
                    refusal.to_string(),
                    "cannot enable core files: the hard limit of their size is 0"
                );
            }
        }
    }

    #[test]
    fn memory_is_locked_or_the_reason_told() {
        if in_child("memory_is_locked_or_the_reason_told").is_some() {
            return;
        }
        let locked = lock_memory();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let none =
            status.lines().any(|line| line.starts_with("VmLck:\t") && line.ends_with(" 0 kB"));
        assert_eq!(locked.is_err(), none, "{locked:?} {status}");
        if let Err(refusal) = locked {
            assert!(refusal.to_string().starts_with("cannot lock the memory"), "{refusal}");
        }
    }

    #[test]
    fn unknown_users() {
        let unknown = drop_privileges("no such user");
        if runs_as_root() {
            assert_eq!(
                unknown.unwrap_err().to_string(),
                "cannot become user 'no such user': there is no such user"
            );
            assert!(drop_privileges("").is_err());
            assert_eq!(
                drop_privileges("nul\0\n").unwrap_err().to_string(),
                "cannot become user 'nul\\u{0}\\n': there is no such user"
            );
        } else {
            assert_eq!(unknown, Ok(()));
        }
    }

    #[test]
    fn root_may_stay_root() {
        if in_child("root_may_stay_root").is_some() {
            return;
        }
        let before = Uid::effective();
        if can_become_anyone() {
            assert_eq!(drop_privileges("root"), Ok(()));
        }
        assert_eq!(Uid::effective(), before);
    }

    #[test]
    fn another_user_for_good() {
        if in_child("another_user_for_good").is_some() {
            return;
        }
        let Some(nobody) = User::from_name("nobody").unwrap() else {
            return;
        };
        if can_become_anyone() {
            assert_eq!(drop_privileges("nobody"), Ok(()));
            assert_eq!((Uid::current(), Uid::effective()), (nobody.uid, nobody.uid));
            assert_eq!((Gid::current(), Gid::effective()), (nobody.gid, nobody.gid));
            assert!(!getgroups().unwrap().contains(&Gid::from_raw(0)));
            assert!(!runs_as_root());
            // A second time there is nothing to do.
            assert_eq!(drop_privileges("root"), Ok(()));
            assert_eq!(Uid::effective(), nobody.uid);
            assert_eq!(enable_coredumps().is_ok(), prctl::get_dumpable().unwrap());
        }
    }

    /// Root, and not only root of a container that knows few users.
    fn can_become_anyone() -> bool {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let map: Vec<&str> = map.split_whitespace().collect();
        runs_as_root() && map == ["0", "0", "4294967295"]
    }
}
