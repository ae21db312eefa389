//! Every form of every command, every split of it, and whatever bytes there are.

use super::*;
use crate::retrieve::NextKey;
use crate::{AdminReject, Cachedump};
use proptest::prelude::*;

mod meta;

const LIMITS: Limits = Limits { item_size_max: 1 << 20, cas: true };

/// The request at the front, and that it takes all of the line.
fn whole(line: &str) -> Request<'_> {
    match parse(line.as_bytes(), LIMITS) {
        Parsed::Request { request, consumed } => {
            assert_eq!(consumed, line.len(), "{line:?}");
            request
        }
        other => panic!("{line:?} gave {other:?}"),
    }
}

/// The refusal of the front: its answer, what it consumes, whether it closes.
fn refused(line: &[u8]) -> (Option<Reject>, usize, Then) {
    match parse(line, LIMITS) {
        Parsed::Refused { reply, consumed, then } => (reply, consumed, then),
        other => panic!("{:?} gave {other:?}", line.escape_ascii().to_string()),
    }
}

fn stored(verb: StoreVerb, flags: u32, exptime: i32, noreply: bool) -> Request<'static> {
    Request::Store { verb, key: b"k", flags, exptime, value: b"xy", noreply }
}

#[test]
fn storage_commands() {
    let cases = [
        ("set k 0 0 2\r\nxy\r\n", stored(StoreVerb::Set, 0, 0, false)),
        ("set k 0 0 2\nxy\r\n", stored(StoreVerb::Set, 0, 0, false)),
        ("set k 0 0 2 noreply\r\nxy\r\n", stored(StoreVerb::Set, 0, 0, true)),
        ("set k 0 0 2 junk\r\nxy\r\n", stored(StoreVerb::Set, 0, 0, false)),
        ("set k 0 0 2 noreply junk\r\nxy\r\n", stored(StoreVerb::Set, 0, 0, false)),
        ("add  k  +7 -1  2 \r\nxy\r\n", stored(StoreVerb::Add, 7, -1, false)),
        ("replace k 4294967295 +9 2\r\nxy\r\n", stored(StoreVerb::Replace, u32::MAX, 9, false)),
        ("append k 4294967296 0 2\r\nxy\r\n", stored(StoreVerb::Append, 0, 0, false)),
        ("prepend k 0 2147483647 2\r\nxy\r\n", stored(StoreVerb::Prepend, 0, i32::MAX, false)),
        ("set k 0 4294967295 2\r\nxy\r\n", stored(StoreVerb::Set, 0, -1, false)),
        (
            "cas k 0 0 2 18446744073709551615\r\nxy\r\n",
            stored(StoreVerb::Cas(u64::MAX), 0, 0, false),
        ),
        ("cas k 0 0 2 9 noreply\r\nxy\r\n", stored(StoreVerb::Cas(9), 0, 0, true)),
    ];
    for (line, expected) in cases {
        assert_eq!(whole(line), expected, "{line:?}");
    }
}

#[test]
fn other_commands() {
    let longest = "k".repeat(KEY_LEN_MAX);
    let long_delete = format!("delete {longest}\r\n");
    let incr = |delta, noreply| Request::Arithmetic {
        verb: ArithmeticVerb::Incr,
        key: &b"k"[..],
        delta,
        noreply,
    };
    let cases: &[(&str, Request<'_>)] = &[
        ("delete k\r\n", Request::Delete { key: b"k", noreply: false }),
        ("delete k 5\n", Request::Delete { key: b"k", noreply: false }),
        ("delete k 0 noreply\r\n", Request::Delete { key: b"k", noreply: true }),
        ("delete k noreply\r\n", Request::Delete { key: b"k", noreply: true }),
        ("delete noreply\r\n", Request::Delete { key: b"noreply", noreply: true }),
        (&long_delete, Request::Delete { key: longest.as_bytes(), noreply: false }),
        ("incr k 18446744073709551615\r\n", incr(u64::MAX, false)),
        ("incr k 1 noreply\r\n", incr(1, true)),
        (
            "decr k 0\r\n",
            Request::Arithmetic { verb: ArithmeticVerb::Decr, key: b"k", delta: 0, noreply: false },
        ),
        ("touch k -1\r\n", Request::Touch { key: b"k", exptime: -1, noreply: false }),
        ("touch k 1 noreply\r\n", Request::Touch { key: b"k", exptime: 1, noreply: true }),
        ("flush_all\r\n", Request::FlushAll { delay: Some(0), noreply: false }),
        ("flush_all noreply\r\n", Request::FlushAll { delay: Some(0), noreply: true }),
        ("flush_all -3 noreply\r\n", Request::FlushAll { delay: Some(-3), noreply: true }),
        ("flush_all 5 6\r\n", Request::FlushAll { delay: Some(5), noreply: false }),
        ("flush_all x\r\n", Request::FlushAll { delay: None, noreply: false }),
        ("version foo\r\n", Request::Version),
        ("verbosity 4294967295\r\n", Request::Verbosity { level: u32::MAX, noreply: false }),
        ("verbosity 1 noreply\r\n", Request::Verbosity { level: 1, noreply: true }),
        ("quit\n", Request::Quit),
        ("shutdown\r\n", Request::Shutdown(Some(ShutdownMode::Now))),
        ("shutdown graceful\r\n", Request::Shutdown(Some(ShutdownMode::Graceful))),
        ("shutdown now\r\n", Request::Shutdown(None)),
    ];
    for (line, expected) in cases {
        assert_eq!(whole(line), *expected, "{line:?}");
    }
}

#[test]
fn stats_topics_may_be_cut_short() {
    let cases = [
        ("", StatsTopic::General),
        (" ", StatsTopic::General),
        (" r", StatsTopic::Reset),
        (" reset junk", StatsTopic::Reset),
        (" s", StatsTopic::Settings),
        (" d", StatsTopic::Detail(None)),
        (" detail on", StatsTopic::Detail(Some(DetailMode::On))),
        (" det off", StatsTopic::Detail(Some(DetailMode::Off))),
        (" detail dump", StatsTopic::Detail(Some(DetailMode::Dump))),
        (" detail o", StatsTopic::Detail(None)),
        (" c 1 0", StatsTopic::Cachedump(Ok(Cachedump { class: 1, limit: 0 }))),
        (" cachedump 63 7 x", StatsTopic::Cachedump(Ok(Cachedump { class: 63, limit: 7 }))),
        (" c 64 0", StatsTopic::Cachedump(Err(Reject::Admin(AdminReject::IllegalSlabId)))),
        (" c 1", StatsTopic::Cachedump(Err(Reject::Admin(AdminReject::CachedumpWords)))),
        (" c 1 x", StatsTopic::Cachedump(Err(Reject::BadLine))),
        (" co", StatsTopic::Conns),
        (" items", StatsTopic::Items),
        (" item", StatsTopic::Unknown),
        (" slabs", StatsTopic::Slabs),
        (" slab", StatsTopic::Unknown),
        (" sizes", StatsTopic::Sizes),
        (" store", StatsTopic::Store),
        (" resets", StatsTopic::Unknown),
    ];
    for (rest, expected) in cases {
        assert_eq!(whole(&format!("stats{rest}\r\n")), Request::Stats(expected), "{rest:?}");
    }
}

#[test]
fn refusals_of_a_line() {
    let bad_line = Some(Reject::BadLine);
    let unknown = Some(Reject::UnknownCommand);
    let long_key = format!("delete {}\r\n", "k".repeat(KEY_LEN_MAX + 1));
    let cases = [
        ("\n", bad_line),
        ("\r\n", bad_line),
        ("mn\n", bad_line),
        ("abc\n", unknown),
        (" get k\r\n", unknown),
        ("    \r\n", unknown),
        ("GET k\r\n", unknown),
        ("getx k\r\n", unknown),
        ("nonsense\r\n", unknown),
        ("nonsense noreply\r\n", None),
        ("noreply\r\n", unknown),
        ("delete\r\n", bad_line),
        ("delete k x\r\n", bad_line),
        ("delete k 5 6\r\n", bad_line),
        ("delete a b c d e\r\n", bad_line),
        ("delete k x noreply\r\n", None),
        (&long_key, bad_line),
        ("incr k\r\n", bad_line),
        ("incr k -1\r\n", Some(Reject::InvalidDelta)),
        ("incr k 18446744073709551616\r\n", Some(Reject::InvalidDelta)),
        ("decr k noreply\r\n", None),
        ("touch k\r\n", bad_line),
        ("touch k 1x\r\n", Some(Reject::InvalidExptime)),
        ("touch k 2147483648\r\n", Some(Reject::InvalidExptime)),
        ("verbosity\r\n", bad_line),
        ("verbosity x\r\n", bad_line),
        ("gat\r\n", bad_line),
        ("gat 10\r\n", bad_line),
        ("gat x k\r\n", Some(Reject::InvalidExptime)),
    ];
    for (line, expected) in cases {
        assert_eq!(refused(line.as_bytes()), (expected, line.len(), Then::Continue), "{line:?}");
    }
    assert_eq!(refused(b"GET / HTTP/1.1\r\n"), (None, 16, Then::Close));
    assert_eq!(refused(b"HTTP/1.1\r\n"), (None, 10, Then::Close));
}

#[test]
fn refusals_of_a_store_skip_its_block() {
    let line = |key: &str, rest: &str| format!("set {key} {rest}\r\n");
    let long_key = "k".repeat(KEY_LEN_MAX + 1);
    for (head, reply) in [
        (line(&long_key, "0 0 5"), Some(Reject::BadLine)),
        (line("k", "-1 0 5"), Some(Reject::BadLine)),
        (line("k", "x 0 5"), Some(Reject::BadLine)),
        (line("k", "0 x 5"), Some(Reject::BadLine)),
        (line("k", "0 4294967296 5"), Some(Reject::BadLine)),
        (line("k", "0 -2147483649 5"), Some(Reject::BadLine)),
        (line(&long_key, "0 0 5 noreply"), None),
        ("cas k 0 0 5\r\n".to_owned(), Some(Reject::BadLine)),
        ("cas k 0 0 5 x\r\n".to_owned(), Some(Reject::BadLine)),
        ("cas k 0 0 5 noreply\r\n".to_owned(), None),
    ] {
        let expected = (reply, head.len() + 7, Then::Continue);
        assert_eq!(refused(head.as_bytes()), expected, "{head:?} before its block");
        assert_eq!(refused(format!("{head}hello\r\n").as_bytes()), expected);
    }
}

#[test]
fn a_store_of_unknown_length_closes() {
    for rest in [
        "",
        " k",
        " k 0 0",
        " k 0 0 x",
        " k 0 0 -1",
        " k 0 0 +1",
        " k 0 0 2147483646",
        " k 0 0 9223372036854775808",
        " k 0 0 99999999999999999999",
        " k 0 0 noreply",
    ] {
        let line = format!("set{rest}\r\n");
        assert_eq!(
            refused(line.as_bytes()),
            (Some(Reject::BadLine), line.len(), Then::Close),
            "{line:?}"
        );
    }
}

#[test]
fn the_block_must_end_where_its_length_said() {
    let bad = |noreply, consumed| {
        let request = Request::StoreBadBlock { key: &b"k"[..], noreply };
        Parsed::Request { request, consumed }
    };
    assert_eq!(parse(b"set k 0 0 2\r\nxyz\r\n", LIMITS), bad(false, 17));
    assert_eq!(parse(b"set k 0 0 2\r\nxy\n\n", LIMITS), bad(false, 17));
    assert_eq!(parse(b"set k 0 0 2 noreply\r\nxyz\r\n", LIMITS), bad(true, 25));
}

#[test]
fn the_item_size_limit_has_two_sides() {
    let at = |value_len: usize, flags| {
        let head = format!("set k {flags} 0 {value_len}\r\n");
        parse(head.leak().as_bytes(), LIMITS)
    };
    assert!(matches!(at(1_048_516, 0), Parsed::NeedBlock(_)));
    assert!(matches!(at(1_048_512, 1), Parsed::NeedBlock(_)));
    for (value_len, flags, head_len) in [(1_048_517, 0, 19), (1_048_513, 1, 19)] {
        let request =
            Request::StoreTooLarge { verb: StoreVerb::Set, key: &b"k"[..], noreply: false };
        let consumed = head_len + value_len + 2;
        assert_eq!(at(value_len, flags), Parsed::Request { request, consumed });
    }
    let no_cas = Limits { cas: false, ..LIMITS };
    assert!(matches!(parse(b"set k 0 0 1048524\r\n", no_cas), Parsed::NeedBlock(_)));
    assert!(matches!(parse(b"set k 0 0 1048525\r\n", no_cas), Parsed::Request { .. }));
}

#[test]
fn a_line_without_end_is_bounded_unless_it_is_a_get() {
    let line =
        |head: &str, len: usize| format!("{head}{}", "x ".repeat(len)).into_bytes()[..len].to_vec();
    for head in ["gat 0 ", "set ", "delete ", "GET ", "xgets "] {
        assert_eq!(parse(&line(head, 2048), LIMITS), Parsed::NeedMore { len_min: 2049 });
        assert_eq!(refused(&line(head, 2049)), (None, 2049, Then::Close));
        // The same line with its end is as good as any.
        let whole = [&line(head, 5000)[..], b"\r\n"].concat();
        assert!(!matches!(
            parse(&whole, LIMITS),
            Parsed::Refused { reply: None, .. } | Parsed::NeedMore { .. }
        ));
    }
    for (spaces, then) in [(1, Then::SkipLine), (100, Then::SkipLine), (101, Then::Close)] {
        let line = line(&format!("{}get ", " ".repeat(spaces)), 2049);
        let reply = (then == Then::SkipLine).then_some(Reject::UnknownCommand);
        assert_eq!(refused(&line), (reply, 2049, then), "{spaces} spaces");
    }
    for (head, consumed) in [("get ", 3), ("gets ", 4)] {
        assert_eq!(parse(&line(head, 2048), LIMITS), Parsed::NeedMore { len_min: 2049 });
        assert!(matches!(
            parse(&line(head, 2049), LIMITS),
            Parsed::Request { request: Request::Retrieve(_), consumed: at } if at == consumed
        ));
    }
}

#[test]
fn gat_leaves_its_keys() {
    let line = b"gats  -5  a b\r\n";
    let Parsed::Request { request: Request::Retrieve(mut retrieve), consumed } =
        parse(line, LIMITS)
    else {
        panic!("no retrieve");
    };
    assert_eq!((retrieve.verb(), retrieve.touch()), (RetrieveVerb::Gats, Some(-5)));
    assert_eq!(
        retrieve.next_key(&line[consumed..]),
        NextKey::Key { key: b"a", is_last: false, consumed: 4 }
    );
}

/// Words that make lines of every kind likely.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "get",
            "gets",
            "gat",
            "gats",
            "set",
            "add",
            "cas",
            "append",
            "delete",
            "incr",
            "decr",
            "touch",
            "flush_all",
            "version",
            "verbosity",
            "stats",
            "quit",
            "shutdown",
            "noreply",
            "k",
            "0",
            "1",
            "-1",
            "+1",
            "2",
            "5",
            "99999999999999999999",
            "2147483647",
            "",
            "HTTP/1.1",
            "detail",
            "on",
            "reset",
            "graceful",
            "mg",
            "ms",
            "md",
            "ma",
            "me",
            "mn",
            "v",
            "b",
            "Zm9v",
            "O1",
            "T30",
            "MA",
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,8}",
        Just("k".repeat(250)),
        Just("k".repeat(251)),
    ]
}

/// A line without its end that is plain, or nearly so.
fn nearly_plain() -> impl Strategy<Value = String> {
    let select = proptest::sample::select::<&str>;
    let key = || "[!-~]{0,252}|[ -~]{0,3}|\\PC{0,9}";
    let number = || prop_oneof![Just(0), 0..10_u64, any::<u64>()];
    let set = (
        (key(), number(), number(), number()),
        select(vec![" ", "  ", "\t", " +", " -"]),
        select(vec!["", " noreply", " ", " x", " noreply noreply"]),
    )
        .prop_map(|((key, flags, exptime, len), seam, tail)| {
            format!("set {key} {flags}{seam}{exptime} {len}{tail}")
        });
    let flag = (
        proptest::char::range('A', 'z'),
        select(vec!["", "", "", "", "0", "0", "7", "+7", "-7", "4294967296", "x", " "]),
    )
        .prop_map(|(letter, token)| format!(" {letter}{token}"));
    let short =
        prop_oneof![Just(" v".to_owned()), "[A-Zk-t]0?".prop_map(|flag| format!(" {flag}"))];
    let flags = prop_oneof![
        proptest::collection::vec(flag, 0..4),
        proptest::collection::vec(short, 0..24),
    ]
    .prop_map(|flags| flags.concat())
    .boxed();
    let meta_set = (key(), number(), flags.clone());
    prop_oneof![
        set,
        (select(vec!["get ", "get", "get  ", "gets "]), key(), select(vec!["", " ", " k", "\t"]))
            .prop_map(|(verb, key, tail)| format!("{verb}{key}{tail}")),
        (key(), flags).prop_map(|(key, flags)| format!("mg {key}{flags}")),
        meta_set.prop_map(|(key, len, flags)| format!("ms {key} {len}{flags}")),
    ]
}

/// A line of such words with a block that may follow.
fn line() -> impl Strategy<Value = Vec<u8>> {
    (
        proptest::collection::vec(word(), 0..8),
        "(\r)?\n",
        proptest::collection::vec(any::<u8>(), 0..8),
    )
        .prop_map(|(words, end, block)| {
            [words.join(" ").as_bytes(), end.as_bytes(), &block, b"\r\n"].concat()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Plain lines are read in a way of their own.
    #[test]
    fn plain_or_not_makes_no_difference(
        line in nearly_plain(),
        end in proptest::sample::select(vec!["\r\n", "\n", "\r\r\n", ""]),
        block in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')], 0..14),
    ) {
        let input = [line.as_bytes(), end.as_bytes(), &block].concat();
        // A get, with the key that is all of its line.
        let with_key = |parsed| match parsed {
            Parsed::Request { request: Request::Retrieve(retrieve), consumed } => {
                match { retrieve }.next_key(&input[consumed..]) {
                    NextKey::Key { key, is_last: true, consumed: key_len } => {
                        Parsed::Get { retrieve, key, consumed: consumed + key_len }
                    }
                    _ => parsed,
                }
            }
            _ => parsed,
        };
        let parsed = parse(&input, LIMITS);
        prop_assert_eq!(with_key(parsed), with_key(parse_any(&input, LIMITS)));
        if let Parsed::Request { request: Request::Meta { flags, .. } | Request::MetaSet { flags, .. }, .. } = parsed {
            prop_assert_eq!(flags.terms(), flags.terms_of_any());
        }
    }

    /// Whatever the bytes: no panic, and progress or a wait for more than there is.
    #[test]
    fn arbitrary_bytes_make_progress(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        match parse(&input, LIMITS) {
            Parsed::Request { consumed, .. }
            | Parsed::Get { consumed, .. }
            | Parsed::Refused { consumed, .. } => prop_assert!(consumed > 0),
            Parsed::NeedMore { len_min } => prop_assert!(len_min > input.len()),
            Parsed::NeedBlock(line) => prop_assert!(line.request_len() > input.len()),
            Parsed::NeedMetaBlock(line) => prop_assert!(line.request_len() > input.len()),
        }
    }

    /// A request cut anywhere asks for more, says the same length each time that it can know it, and
    /// is never refused for being cut.
    #[test]
    fn a_cut_request_asks_for_more(input in line()) {
        let consumed = match parse(&input, LIMITS) {
            Parsed::Request { request: Request::Retrieve(_), .. } => memchr(b'\n', &input).expect("a line") + 1,
            // Known from the head alone: there is nothing to wait for behind it.
            Parsed::Request {
                request: Request::StoreTooLarge { .. } | Request::MetaSetTooLarge { .. }, ..
            }
            | Parsed::NeedMore { .. }
            | Parsed::NeedBlock(_)
            | Parsed::NeedMetaBlock(_) => return Ok(()),
            Parsed::Refused { consumed, .. } => {
                consumed.min(memchr(b'\n', &input).expect("a line") + 1)
            }
            Parsed::Request { consumed, .. } | Parsed::Get { consumed, .. } => consumed,
        };
        for cut in 0..consumed {
            match parse(&input[..cut], LIMITS) {
                Parsed::NeedMore { len_min } => prop_assert!(cut < len_min && len_min <= consumed),
                Parsed::NeedBlock(line) => {
                    prop_assert_eq!(line.request_len(), consumed);
                    prop_assert!(line.line_len <= cut);
                }
                Parsed::NeedMetaBlock(line) => {
                    prop_assert_eq!(line.request_len(), consumed);
                    prop_assert!(line.line_len <= cut);
                }
                other => prop_assert!(false, "cut at {}: {:?}", cut, other),
            }
        }
    }

    /// What comes after a request does not change it.
    #[test]
    fn what_follows_does_not_matter(input in line(), more in proptest::collection::vec(any::<u8>(), 0..40)) {
        let alone = parse(&input, LIMITS);
        if let Parsed::Request { consumed, .. } | Parsed::Refused { consumed, .. } = alone
            && consumed <= input.len()
        {
            let followed = [&input[..], &more[..]].concat();
            prop_assert_eq!(format!("{alone:?}"), format!("{:?}", parse(&followed, LIMITS)));
        }
    }
}
