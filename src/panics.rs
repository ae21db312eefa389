//! Panics: caught where one client's work ends, and one line in the log each.
//!
//! Knows nothing of connections.

use crate::sentence::one_line;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Whether a panic on this thread is caught by [`catch`], whose caller says so.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
    /// Where the last of them happened.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// What a panic said, and where it happened, as far as that is known: one line.
#[derive(Debug)]
pub struct Panic {
    message: String,
    place: Option<String>,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.place.as_ref().map_or(Ok(()), |place| write!(f, ", at {place}"))
    }
}

/// Has the log say in one line what the standard library says in several on stderr. Whoever asks for backtraces
/// (`RUST_BACKTRACE`) gets both.
pub fn log_panics() {
    let is_asked = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    let default = is_asked.then(std::panic::take_hook);
    std::panic::set_hook(Box::new(move |info| {
        if let Some(default) = &default {
            default(info);
        }
        let place = info.location().map(ToString::to_string);
        // A second one, while the first one is on its way, ends the process.
        let before = PLACE.take();
        if IS_CAUGHT.get() && before.is_none() {
            PLACE.set(place);
        } else {
            tracing::error!("panicked: {}", Panic { message: message(info.payload()), place });
        }
    }));
}

/// Calls, and returns what it panicked with. What it was changing is left as it was then; whoever uses that later must
/// not rely on more.
pub fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Panic> {
    let before = IS_CAUGHT.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    IS_CAUGHT.set(before);
    outcome.map_err(|payload| Panic { message: message(&*payload), place: PLACE.take() })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    one_line(
        text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("for no reason"),
    )
}

/// Panics over the key, or whatever else, that a test names in the environment of its server. Not in a release.
///
/// # Panics
/// When it is that key.
#[cfg(debug_assertions)]
pub fn when_asked(key: &[u8]) {
    use std::os::unix::ffi::OsStrExt;
    static ASKED: std::sync::LazyLock<Option<std::ffi::OsString>> =
        std::sync::LazyLock::new(|| std::env::var_os("LARDER_TEST_PANIC_KEY"));
    let is_it = ASKED.as_ref().is_some_and(|asked| asked.as_bytes() == key);
    assert!(!is_it, "as a test asked,\nin two lines");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_what_it_said() {
        assert_eq!(catch(|| 5).expect("no panic"), 5);
        let number = 5;
        for (panic, said) in [
            (catch(|| panic!("plain")), "plain"),
            (catch(|| panic!("{number}\nlines")), "5\\nlines"),
            (catch(|| std::panic::panic_any(number)), "for no reason"),
        ] {
            let panic: Result<(), _> = panic;
            assert_eq!(panic.expect_err("a panic").to_string(), said);
        }
        assert!(!IS_CAUGHT.get());
        assert!(catch(|| IS_CAUGHT.get()).expect("no panic"));
    }
}
