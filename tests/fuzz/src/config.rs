//! Files that `--config` names.

use larder::config::{Config, Invocation, parse};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

/// A file is taken, and within all limits then, or refused in one sentence.
pub fn config(bytes: &[u8]) {
    // It has a name as long as it is open.
    let file = memfd_create(c"config", MFdFlags::empty()).expect("there is memory for a file");
    let mut file = File::from(file);
    file.write_all(bytes).expect("there is memory for it");
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    match parse(["larder", "--config", &name].map(OsString::from)) {
        Ok(Invocation::Run(config)) => check_limits(&config),
        Ok(Invocation::Print(text)) => panic!("a file has something printed: {text}"),
        Err(error) => {
            let sentence = error.to_string();
            // Lines that are valid alone are valid together, as far as each can say.
            let begins =
                [&format!("{name}:"), "-I/--max-item-size is ", "-o connection_memory is "];
            let is_begun = begins.iter().any(|begin| sentence.starts_with(begin));
            assert!(is_begun && !sentence.chars().any(char::is_control), "{sentence:?}");
        }
    }
}

/// What the fields of a [`Config`] say of themselves.
fn check_limits(config: &Config) {
    const COUNT_MAX: u32 = i32::MAX as u32;
    assert!(!config.listen.is_empty());
    assert!(config.unix_mask <= 0o777);
    assert!((1 << 20..=1 << 50).contains(&config.memory_limit_bytes));
    assert!((1..=COUNT_MAX).contains(&config.max_connections));
    assert!((1..=1024).contains(&config.threads));
    assert!(config.verbosity <= 3);
    assert!((1 << 10..=1 << 30).contains(&config.item_size_max_bytes));
    assert!(u64::from(config.item_size_max_bytes) <= config.memory_limit_bytes / 2);
    assert!((1..=COUNT_MAX).contains(&config.backlog));
    assert!((1..=COUNT_MAX).contains(&config.requests_per_event));
    assert!((1 << 20..=1 << 50).contains(&config.connection_memory_bytes));
    assert!(config.connection_memory_bytes >= 2 * u64::from(config.item_size_max_bytes));
    assert!(config.max_connections_per_ip <= COUNT_MAX);
    assert!(config.drain_timeout_s <= 3600);
    assert!(config.idle_timeout_s <= COUNT_MAX);
}
