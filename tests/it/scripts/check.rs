//! The runner itself: it must see what is wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use super::parse::{self, Mode, Piece};
use super::run::{Venue, play};

/// A server that knows `version` and answers `ERROR` to all else, in as many packets as there are lines.
fn parrot() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the address just bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut writer = &stream;
                for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                    let reply: &[u8] = match line.as_str() {
                        "version" => b"VERSION 0\r\n",
                        "quit" => return,
                        "stats" => b"STAT pid 1\r\nSTAT time 2\r\nEND\r\n",
                        _ => b"ERROR\r\n",
                    };
                    if writer.write_all(reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn the_runner_sees_what_is_wrong() {
    let address = parrot();
    let outcome = |steps: &str, mode| {
        let cases =
            parse::cases("inline", &format!("== a case\n{steps}")).expect("a well-formed script");
        let mut venue =
            Venue { address, version: "0", patience: Duration::from_millis(300), server: None };
        play(&cases[0].larder, mode, &mut venue)
    };
    let right = [
        r"> a\r\n|< ERROR\r\n|> b\r\n|< ERROR\r\n",
        r"> a\r\n{b\r\n*3}|< {ERROR\r\n*4}|alive",
        r"> a\r\n|< ERROR\r\n|> quit\r\n|closed",
        r"> a\r\n|B> b\r\nquit\r\n|B< ERROR\r\n|B closed|< ERROR\r\n",
        r"> stats\r\n|< STAT pid {pid}\r\nSTAT time {time!=pid}\r\nEND\r\n",
        r"> stats\r\nx\r\n|<~ STAT pid *\r\n|<~ STAT t* 2\r\n|< ERROR\r\n",
    ];
    let wrong = [
        (4, r"> a\r\n|< ERROR\r\n|> b\r\n|< ERROR\n"),
        (2, r"> a\r\n|< OK\r\n"),
        (3, r"> a\r\n|< ERROR\r\n|< ERROR\r\n"),
        (3, r"> a\r\nb\r\n|< ERROR\r\n|alive"),
        (2, r"> a\r\nb\r\n|< ERROR\r\n"),
        (3, r"> a\r\n|< ERROR\r\n|closed"),
        (2, r"> a\r\n|closed"),
        (2, r"> quit\r\n|< ERROR\r\n"),
        (2, r"> quit\r\n|alive"),
        (2, r"> stats\r\n|< STAT pid {pid}\r\nSTAT time {pid}\r\nEND\r\n"),
        (3, r"> stats\r\n|<~ STAT time *\r\n|<~ STAT pid *\r\n"),
        (2, r"> stats\r\n|<~ STAT pid 2\r\n"),
        (2, r"> a\r\n|exits"),
    ];
    let check = |mode| {
        for script in right {
            let outcome = outcome(&script.replace('|', "\n"), mode);
            assert!(outcome.is_ok(), "{mode:?} {script}: {outcome:?}");
        }
        for (step, script) in wrong {
            match outcome(&script.replace('|', "\n"), mode) {
                // The name of the case is line 1.
                Err(failure) => {
                    assert_eq!(failure.line_number, step + 1, "{mode:?} {script}: {failure:?}");
                }
                Ok(()) => panic!("{mode:?} {script}: went through"),
            }
        }
    };
    // What never comes takes the whole patience, so the modes wait side by side.
    thread::scope(|scope| {
        for mode in Mode::ALL {
            scope.spawn(move || check(mode));
        }
    });
}

#[test]
fn a_malformed_script_is_refused() {
    let wrong = [
        "> version\\r\\n\n",
        "== no steps\n",
        "== no such step\n>version\\r\\n\n",
        "== no such escape\n> \\q\n",
        "== an open brace\n> {a*3\n",
        "== no reason\n> x\\r\\n\n< ERROR\\r\\n\n1.6.18: nothing\n",
        "== no reason\nmodes: step\n> x\\r\\n\n< ERROR\\r\\n\n",
        "== nothing to replace\n# why: none\n1.6.18: nothing\n> x\\r\\n\n",
        "== no such mode\n# why: none\nmodes: slow\n> x\\r\\n\n",
    ];
    for script in wrong {
        assert!(parse::cases("inline", script).is_err(), "{script}");
    }
    let expanded =
        parse::pieces(r"\x00\r{a%i{b*2}*2}{now-1}{new!=old}*").expect("a well-formed text");
    let expected = [
        Piece::Bytes(b"\0\ra1bba2bb".to_vec()),
        Piece::Now(-1),
        Piece::Number { name: "new".to_owned(), unlike: Some("old".to_owned()) },
        Piece::Bytes(b"*".to_vec()),
    ];
    assert_eq!(expanded, expected);
}
