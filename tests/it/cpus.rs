//! As many threads as there are CPUs for the process, whoever says how many these are.

use crate::client::Client;
use crate::process::Server;
use crate::{LARDER, larder, say_skipped};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn threads(server: &Server) -> u64 {
    let mut client = Client::connect(server);
    let settings = client.stat_lines(" settings");
    let (_, number) = settings.iter().find(|(name, _)| name == "num_threads").expect("a setting");
    assert_eq!(client.stats()["threads"], *number);
    number.parse().expect("a number")
}

#[test]
fn a_process_that_is_bound_to_one_cpu_has_one_thread() {
    let here = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    assert_eq!(threads(&larder(&[])), here);
    if here == 1 {
        say_skipped(
            "there is one CPU, so nothing shows that only those are counted that are allowed",
        );
    }
    // A server inherits them from the thread that starts it, which is one of its own.
    let bound = std::thread::spawn(|| {
        let calling = Pid::from_raw(0);
        let allowed = sched_getaffinity(calling).expect("our own CPUs");
        let is_allowed = |cpu: &usize| allowed.is_set(*cpu).expect("a CPU");
        let mut one = CpuSet::new();
        one.set((0..CpuSet::count()).find(is_allowed).expect("we run on one")).expect("a CPU");
        sched_setaffinity(calling, &one).expect("a CPU that is allowed");
        [larder(&[]), larder(&["-t", "3"])]
    });
    let [server, with_more] = bound.join().expect("servers");
    assert_eq!(threads(&server), 1);
    assert_eq!(threads(&with_more), 3, "who asks gets more");
}

/// A control group that allows one CPU, as containers are limited; removed when dropped.
struct OneCpu(PathBuf);

impl OneCpu {
    /// Where this process may make one, with either version of them.
    fn make() -> Option<Self> {
        let name = format!("larder-test-{}", std::process::id());
        [
            ("/sys/fs/cgroup", "cpu.max", "100000 100000"),
            ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "100000"),
        ]
        .into_iter()
        .find_map(|(root, file, quota)| {
            let is_it = Path::new(root).join("cgroup.procs").exists();
            let group = is_it.then(|| Self(Path::new(root).join(&name)))?;
            fs::create_dir(&group.0).ok()?;
            // Made by the system with the group, where it can limit.
            let file = group.0.join(file);
            (file.exists() && fs::write(file, quota).is_ok()).then_some(group)
        })
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        // Fails where there is none.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_container_with_the_time_of_one_cpu_has_one_thread() {
    let Some(group) = OneCpu::make() else {
        return say_skipped(
            "no control group can be made here, so none limits the CPUs of a server",
        );
    };
    let mut command = Command::new("/bin/sh");
    let procs = group.0.join("cgroup.procs");
    command.args(["-c", "echo $$ >\"$1\" && exec \"$0\" -p -1", LARDER]).arg(procs);
    let server = Server::start_command(command);
    assert_eq!(threads(&server), 1);
    assert!(server.stop().success());
}
