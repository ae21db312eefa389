//! Where log lines go, without anybody ever waiting for who reads them: a pipe may be full.
//!
//! INVARIANT: what finds no room is left out, and a line says later how many were.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Write};
use std::os::fd::AsFd;

/// A pipe that has any room has room for so many bytes (Linux' `PIPE_BUF`).
const ROOM_LEN: usize = 4096;

/// What log lines are written to, one with each write.
#[derive(Debug)]
pub(super) struct Lossy<W> {
    to: W,
    /// Lines that were left out since the last one that was not.
    skipped: u64,
}

impl<W: Write + AsFd> Lossy<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, skipped: 0 }
    }

    fn has_room(&self) -> bool {
        let mut asked = [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)];
        // Where that cannot be told, nothing is.
        poll(&mut asked, PollTimeout::ZERO).is_ok() && asked[0].any() == Some(true)
    }

    /// Writes what there is room for; whether that was all. An error is as good as no room.
    fn try_write(&mut self, text: &[u8]) -> bool {
        text.chunks(ROOM_LEN).all(|chunk| self.has_room() && self.to.write_all(chunk).is_ok())
    }
}

impl<W: Write + AsFd> Write for Lossy<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.skipped > 0 {
            let notice = format!("{} lines are left out here: nobody read them\n", self.skipped);
            if self.try_write(notice.as_bytes()) {
                self.skipped = 0;
            }
        }
        if self.skipped > 0 || !self.try_write(line) {
            self.skipped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read as _;

    #[test]
    fn what_finds_no_room_is_left_out_and_that_is_said() {
        let (mut reader, writer) = nix::unistd::pipe().map(|(r, w)| (File::from(r), w)).unwrap();
        let mut lossy = Lossy::new(File::from(writer));
        let line = |number: usize| format!("{number:0>99}\n");
        let count = 10_000;
        for number in 0..count {
            lossy.write_all(line(number).as_bytes()).unwrap();
        }
        let skipped = usize::try_from(lossy.skipped).unwrap();
        assert!((1..count).contains(&skipped));
        let mut front = vec![0; (count - skipped) * 100];
        reader.read_exact(&mut front).unwrap();
        let expected: String = (0..count - skipped).map(line).collect();
        assert!(front == expected.as_bytes());
        // Longer than what a pipe takes at once.
        let long = format!("{}\n", "x".repeat(10_000));
        lossy.write_all(long.as_bytes()).unwrap();
        drop(lossy);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let notice = format!("{skipped} lines are left out here: nobody read them\n");
        assert_eq!(rest, notice + &long);
    }

    #[test]
    fn without_a_reader_everything_is_left_out() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let mut lossy = Lossy::new(File::from(writer));
        for _ in 0..3 {
            lossy.write_all(b"line\n").unwrap();
        }
        assert_eq!(lossy.skipped, 3);
    }
}
