//! memcached's options that are not offered, each with the reason or with what to do instead.
//!
//! The grammar does not know them: it asks here about what it does not know.

const TRUST: &str = "whoever can connect can read and change everything, so let in with -l or -s only whom you trust";

/// How an option is spelled, short and long, and why it is not there.
const ABSENT: [(&str, &str, &str); 5] = [
    ("-S", "--enable-sasl", TRUST),
    ("-Y", "--auth-file", TRUST),
    (
        "-Z",
        "--enable-ssl",
        "for encrypted connections put a TLS proxy in front, and listen on the loopback or with -s",
    ),
    ("-e", "--memory-file", "a restart begins empty"),
    ("-N", "--napi-ids", "a connection goes to the thread that has the fewest"),
];

/// The sentence that refuses an option of memcached; `None` for what is none.
pub(super) fn refusal(spelling: &str) -> Option<String> {
    let (short, long, why) =
        ABSENT.iter().find(|(short, long, _)| [*short, *long].contains(&spelling))?;
    Some(format!("{short}/{long} is not offered: {why}"))
}
