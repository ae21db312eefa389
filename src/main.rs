//! The program: argv and file to a configuration, then to a running server.

use larder::address::Address;
use larder::config::{self, Config, Invocation};
use larder::instance::Instance;
use larder::log::Log;
use larder::panics;
use larder::process::{self, PidFile, ProcessError};
use larder::server::{self, Bound};
use larder::systemd::{self, Manager};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// An idle connection takes 0.7 KB with it, and 0.4 more with the C library's: tasks are aligned to 128 bytes, for which that
/// one pays in full. What the store holds comes from neither.
#[cfg(target_arch = "x86_64")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How it is set up: what is freed goes back to the system at once, and little is kept for each thread. It has few
/// large things to hold, and no others; with its own defaults the process takes 1.5 MiB more.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "this is the name that jemalloc reads")]
// SAFETY: a pointer to a C string that stays, as jemalloc's manual has it; no other symbol has this name.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 61] =
    b"narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0,lg_tcache_max:12\0";

fn main() -> ExitCode {
    let outcome = match config::parse(std::env::args_os()) {
        Ok(Invocation::Print(text)) => writeln!(io::stdout(), "{}", text.trim_end())
            .map_err(|error| format!("cannot write to standard output: {error}")),
        Ok(Invocation::Run(config)) => serve(*config),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            // Where that cannot be said, the exit status still tells.
            let _ = writeln!(io::stderr(), "larder: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// What can fail for a reason that the operator must know fails before [`detach`].
fn serve(mut config: Config) -> Result<(), String> {
    let mut listeners = systemd::listeners(config.protocol)?;
    let binds = listeners.is_empty();
    if binds {
        listeners = server::bind(&config)?;
    }
    for path in [&mut config.pid_file, &mut config.port_file] {
        absolute(path)?;
    }
    let log = Log::start(config.verbosity, config.log_file.as_deref())?;
    panics::log_panics();
    if !config.without_effect.is_empty() {
        tracing::warn!("without effect here: {}", config.without_effect.join(", "));
    }
    // The Unix socket is still to come: it is to be its user's.
    let listener_count = listeners.len() + usize::from(binds && config.unix_socket.is_some());
    prepare_process(&config, listener_count).map_err(|error| error.to_string())?;
    if binds {
        listeners.extend(server::bind_unix(&config)?);
    }
    let bound: Vec<(RawFd, Address)> = listeners.iter().map(Bound::address).collect();
    if config.daemon {
        detach(&config).map_err(|error| error.to_string())?;
    }
    let event_loop = server::event_loop().map_err(|error| format!("cannot start: {error}"))?;
    // Before there is a file that a signal would leave behind.
    let mut signals = {
        let _entered = event_loop.enter();
        Signals::catch().map_err(|error| format!("cannot catch signals: {error}"))?
    };
    let pid_file = config.pid_file.as_deref().map(PidFile::write).transpose();
    let pid_file = pid_file.map_err(|error| error.to_string())?;
    // Whoever reads the port may connect, and send signals, from here on.
    if let Some(path) = &config.port_file {
        let addrs: Vec<SocketAddr> = bound.iter().filter_map(|(_, addr)| addr.ip()).collect();
        process::write_port_file(path, &addrs).map_err(|error| error.to_string())?;
    }
    let instance = Arc::new(Instance::new(config, log, bound));
    let stop_asked = async || signals.wait_for_stop().await;
    server::run(&event_loop, &instance, listeners, &Manager::from_env(), stop_asked)
        .map_err(|error| format!("cannot serve: {error}"))?;
    drop(pid_file);
    tracing::info!("stopped");
    // The system takes back the memory of all items at once; item by item takes seconds.
    std::mem::forget(instance);
    Ok(())
}

/// Takes what only root may take, and stops being root.
fn prepare_process(config: &Config, listener_count: usize) -> Result<(), ProcessError> {
    let reserved = server::reserved_fds(config.threads, listener_count);
    if let Err(error) = process::raise_open_file_limit(u64::from(config.max_connections) + reserved)
    {
        tracing::warn!("{error}");
    }
    if config.lock_memory {
        process::lock_memory()?;
    }
    if let Some(user) = &config.user {
        process::drop_privileges(user)?;
    }
    if config.coredumps {
        process::enable_coredumps()?;
    }
    config.pid_file.as_deref().map_or(Ok(()), PidFile::check)
}

/// Goes into the background, and does again what a new process must.
fn detach(config: &Config) -> Result<(), ProcessError> {
    let keep_streams = config.verbosity > 0 && config.log_file.is_none();
    process::detach(config.coredumps, keep_streams)?;
    if config.lock_memory {
        process::lock_memory()?;
    }
    Ok(())
}

/// Makes a path hold after the working directory changed.
fn absolute(path: &mut Option<PathBuf>) -> Result<(), String> {
    if let Some(path) = path {
        *path = std::path::absolute(&path)
            .map_err(|error| format!("cannot find {}: {error}", path.display()))?;
    }
    Ok(())
}

/// The signals that the server does not leave to the system.
struct Signals {
    stop: [(&'static str, Signal); 3],
    /// Caught so that a closed terminal does not end the server; there is nothing to read anew.
    _hangup: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            stop: [
                ("SIGTERM", signal(SignalKind::terminate())?),
                ("SIGINT", signal(SignalKind::interrupt())?),
                ("SIGUSR1", signal(SignalKind::user_defined1())?),
            ],
            _hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn wait_for_stop(&mut self) {
        let name = std::future::poll_fn(|cx| {
            let mut stop = self.stop.iter_mut();
            let came =
                stop.find_map(|(name, signal)| signal.poll_recv(cx).is_ready().then_some(*name));
            came.map_or(Poll::Pending, Poll::Ready)
        });
        tracing::info!("stopping: {}", name.await);
    }
}
