//! Frames as tables, cut anywhere, and of any bytes.
#![expect(clippy::cast_possible_truncation, reason = "lengths are made up")]

use super::*;
use crate::ArithmeticVerb;
use proptest::prelude::*;

const LIMITS: Limits = Limits { item_size_max: 1 << 20, cas: true };
const OPAQUE: [u8; 4] = *b"opaq";

/// Every opcode that memcached has, and the lengths of extras that it may have.
const OPCODES: [(u8, &[usize]); 38] = [
    (0x00, &[0]),
    (0x01, &[8]),
    (0x02, &[8]),
    (0x03, &[8]),
    (0x04, &[0]),
    (0x05, &[20]),
    (0x06, &[20]),
    (0x07, &[0]),
    (0x08, &[0, 4]),
    (0x09, &[0]),
    (0x0a, &[0]),
    (0x0b, &[0]),
    (0x0c, &[0]),
    (0x0d, &[0]),
    (0x0e, &[0]),
    (0x0f, &[0]),
    (0x10, &[0]),
    (0x11, &[8]),
    (0x12, &[8]),
    (0x13, &[8]),
    (0x14, &[0]),
    (0x15, &[20]),
    (0x16, &[20]),
    (0x17, &[0]),
    (0x18, &[0, 4]),
    (0x19, &[0]),
    (0x1a, &[0]),
    (0x1c, &[4]),
    (0x1d, &[4]),
    (0x1e, &[4]),
    (0x20, &[0]),
    (0x21, &[0]),
    (0x22, &[0]),
    (0x23, &[4]),
    (0x24, &[4]),
    // Named in memcached's header file, and unknown all the same.
    (0x1b, &[]),
    (0x30, &[]),
    (0x3c, &[]),
];

const NO_KEY: [u8; 8] = [0x07, 0x08, 0x0a, 0x0b, 0x17, 0x18, 0x20, 0x10];
const WITH_VALUE: [u8; 12] =
    [0x01, 0x02, 0x03, 0x0e, 0x0f, 0x11, 0x12, 0x13, 0x19, 0x1a, 0x21, 0x22];

fn header(opcode: u8, key_len: u16, extras_len: u8, body_len: u32, cas_unique: u64) -> Vec<u8> {
    let mut header = vec![REQUEST_MAGIC, opcode];
    header.extend(key_len.to_be_bytes());
    header.extend([extras_len, 0, 0, 0]);
    header.extend(body_len.to_be_bytes());
    header.extend(OPAQUE);
    header.extend(cas_unique.to_be_bytes());
    header
}

fn frame(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], cas_unique: u64) -> Vec<u8> {
    let body = [extras, key, value].concat();
    let (key_len, extras_len) = (key.len() as u16, extras.len() as u8);
    [header(opcode, key_len, extras_len, body.len() as u32, cas_unique), body].concat()
}

fn action(frame: &[u8]) -> Action<'_> {
    match parse(frame, LIMITS) {
        Parsed::Request { request, consumed } => {
            assert_eq!((request.origin.opcode, request.origin.opaque), (frame[1], OPAQUE));
            assert_eq!(consumed, frame.len());
            request.action
        }
        other => panic!("{other:?}"),
    }
}

/// Opcode, extras, key, value, CAS unique, and what that is.
type Row<'a> = (u8, &'a [u8], &'a [u8], &'a [u8], u64, Action<'a>);

#[test]
fn requests_say_what_is_to_be_done() {
    let exptime = &7_u32.to_be_bytes()[..];
    let set = [&0xdead_beef_u32.to_be_bytes()[..], exptime].concat();
    let count = [&3_u64.to_be_bytes()[..], &u64::MAX.to_be_bytes(), exptime].concat();
    let lone_count = [&count[..16], &[0xff; 4]].concat();
    let key = &b"k"[..];
    let update = |verb| Update { verb, key, flags: 0xdead_beef, exptime: 7, expected: None };
    let join = |verb, expected| Update { verb, key, flags: 0, exptime: 0, expected };
    let table: [Row<'_>; 19] = [
        (0x00, b"", key, b"", 9, Action::Get { key, with_key: false, exptime: None }),
        (0x0c, b"", key, b"", 0, Action::Get { key, with_key: true, exptime: None }),
        (0x1d, exptime, key, b"", 0, Action::Get { key, with_key: false, exptime: Some(7) }),
        (0x23, exptime, key, b"", 0, Action::Get { key, with_key: true, exptime: Some(7) }),
        (0x1c, exptime, key, b"", 0, Action::Touch { key, exptime: 7 }),
        (0x01, &set, key, b"v", 0, Action::Store { update: update(StoreVerb::Set), value: b"v" }),
        (0x02, &set, key, b"", 0, Action::Store { update: update(StoreVerb::Add), value: b"" }),
        (
            0x03,
            &set,
            key,
            b"v",
            5,
            Action::Store { update: update(StoreVerb::Cas(5)), value: b"v" },
        ),
        (
            0x0e,
            b"",
            key,
            b"v",
            0,
            Action::Store { update: join(StoreVerb::Append, None), value: b"v" },
        ),
        (
            0x0f,
            b"",
            key,
            b"v",
            5,
            Action::Store { update: join(StoreVerb::Prepend, Some(5)), value: b"v" },
        ),
        (0x04, b"", key, b"", 5, Action::Delete { key, expected: Some(5) }),
        (
            0x05,
            &count,
            key,
            b"",
            0,
            Action::Arithmetic {
                verb: ArithmeticVerb::Incr,
                key,
                delta: 3,
                initial: Some((u64::MAX, 7)),
                expected: None,
            },
        ),
        (
            0x06,
            &lone_count,
            key,
            b"",
            5,
            Action::Arithmetic {
                verb: ArithmeticVerb::Decr,
                key,
                delta: 3,
                initial: None,
                expected: Some(5),
            },
        ),
        (0x08, b"", b"", b"", 0, Action::Flush { delay: 0 }),
        (0x08, exptime, b"", b"", 0, Action::Flush { delay: 7 }),
        (0x10, b"", b"items", b"", 0, Action::Stat(StatsTopic::Items)),
        (0x0a, b"", b"", b"", 0, Action::Noop),
        (0x0b, b"", b"", b"", 0, Action::Version),
        (0x07, b"", b"", b"", 0, Action::Quit),
    ];
    for (opcode, extras, key, value, cas_unique, expected) in table {
        assert_eq!(action(&frame(opcode, extras, key, value, cas_unique)), expected, "{opcode:#x}");
    }
}

#[test]
fn quiet_opcodes_are_those_of_memcached() {
    let quiet: Vec<u8> = (0..=0xff)
        .filter(|opcode| Opcode::of(*opcode).is_some_and(|(_, is_quiet)| is_quiet))
        .collect();
    let expected =
        [0x09, 0x0d, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1e, 0x24];
    assert_eq!(quiet, expected);
    for (loud, quiet) in [
        (0x00, 0x09),
        (0x0c, 0x0d),
        (0x01, 0x11),
        (0x08, 0x18),
        (0x0e, 0x19),
        (0x0f, 0x1a),
        (0x1d, 0x1e),
        (0x23, 0x24),
    ] {
        let of = |opcode| Opcode::of(opcode).expect("a known one").0;
        assert_eq!(of(loud), of(quiet));
    }
    let known = (0..=0xff).filter(|opcode| Opcode::of(*opcode).is_some()).count();
    assert_eq!(known, OPCODES.iter().filter(|(_, extras)| !extras.is_empty()).count());
}

#[test]
fn statistics_have_topics() {
    for (topic, expected) in [
        (&b""[..], StatsTopic::General),
        (b"reset", StatsTopic::Reset),
        (b"settings", StatsTopic::Settings),
        (b"items", StatsTopic::Items),
        (b"itemsx", StatsTopic::Unknown),
        (b"item", StatsTopic::Unknown),
        (b"slabs", StatsTopic::Slabs),
        (b"sizes", StatsTopic::Sizes),
        (b"conns", StatsTopic::Conns),
        (b"store", StatsTopic::Store),
        (b"detail on", StatsTopic::Detail(Some(DetailMode::On))),
        (b"detail off", StatsTopic::Detail(Some(DetailMode::Off))),
        (b"detail dump", StatsTopic::Detail(Some(DetailMode::Dump))),
        (b"detail", StatsTopic::Detail(None)),
        (b"detail x", StatsTopic::Detail(None)),
        (b"\xff\0", StatsTopic::Unknown),
    ] {
        assert_eq!(action(&frame(0x10, b"", topic, b"", 0)), Action::Stat(expected));
    }
}

/// What a header leads to, whatever comes behind it: a request or what is still needed for one, or a refusal.
fn verdict(header: &[u8]) -> Option<(Status, bool)> {
    match parse(header, LIMITS) {
        Parsed::Refused { status, .. } => Some((status, false)),
        Parsed::Fatal { status, .. } => Some((status, true)),
        Parsed::Request { .. } | Parsed::NeedMore { .. } | Parsed::NeedValue { .. } => None,
        Parsed::Garbage => panic!("it is a request"),
    }
}

/// CVE-2011-4971, CVE-2016-8704 to 8706, CVE-2017-9951, CVE-2020-10931: lengths that contradict each other, for every
/// opcode there is and every length of extras.
#[test]
fn lengths_are_what_the_opcode_says_or_refused() {
    for opcode in 0..=0xff_u8 {
        let lens =
            OPCODES.iter().find(|(known, _)| *known == opcode).map_or(&[][..], |(_, lens)| lens);
        for extras_len in 0..=0xff_u8 {
            for key_len in [0, 1, 250, 251, 0xffff_u16] {
                let parts_len = u32::from(extras_len) + u32::from(key_len);
                for body_len in [
                    0,
                    parts_len.saturating_sub(1),
                    parts_len,
                    parts_len + 1,
                    1 << 30,
                    (1 << 30) + 1,
                    i32::MAX as u32,
                    1 << 31,
                    u32::MAX,
                ] {
                    let header = header(opcode, key_len, extras_len, body_len, 0);
                    let got = verdict(&header);
                    let is_key = (key_len > 0 || NO_KEY.contains(&opcode))
                        && (key_len == 0 || !NO_KEY.contains(&opcode) || opcode == 0x10);
                    let expected = if parts_len > body_len {
                        Some((Status::UnknownCommand, true))
                    } else if key_len > 250 || body_len > 1 << 30 {
                        Some((Status::InvalidArguments, true))
                    } else if lens.is_empty() {
                        Some((Status::UnknownCommand, false))
                    } else if !lens.contains(&extras_len.into())
                        || !is_key
                        || (body_len > parts_len && !WITH_VALUE.contains(&opcode))
                    {
                        Some((Status::InvalidArguments, true))
                    } else if opcode == 0x20 {
                        Some((Status::UnknownCommand, false))
                    } else {
                        None
                    };
                    assert_eq!(got, expected, "{opcode:#x} {extras_len} {key_len} {body_len}");
                }
            }
        }
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_comes() {
    let item_len = |value_len: u64| LIMITS.item_size(1, 0, value_len);
    let max = u64::from(LIMITS.item_size_max);
    let fits = max - item_len(0);
    // With a unique, a set is not any less one.
    for (opcode, extras, cas_unique, is) in [
        (0x01, &[0; 8][..], 0, StoreVerb::Set),
        (0x11, &[0; 8], 5, StoreVerb::Set),
        (0x13, &[0; 8], 5, StoreVerb::Replace),
        (0x0e, b"", 5, StoreVerb::Append),
    ] {
        for (value_len, is_too_large) in [(fits, false), (fits + 1, true), ((1 << 30) - 9, true)] {
            let body_len = extras.len() + 1 + value_len as usize;
            let header = header(opcode, 1, extras.len() as u8, body_len as u32, cas_unique);
            let input = [&header, extras, b"k"].concat();
            let too_large = matches!(
                parse(&input, LIMITS),
                Parsed::Request { request: Request { action: Action::StoreTooLarge { verb, .. }, .. }, consumed }
                    if verb == is && consumed == HEADER_LEN + body_len
            );
            assert_eq!(too_large, is_too_large, "{value_len}");
            assert!(
                matches!(parse(&input[..input.len() - 1], LIMITS), Parsed::NeedMore { len_min } if len_min == input.len())
            );
        }
    }
}

#[test]
fn every_cut_asks_for_more() {
    for (opcode, lens) in OPCODES {
        for extras_len in lens {
            let key = if NO_KEY.contains(&opcode) { &b""[..] } else { b"key" };
            let has_value = WITH_VALUE.contains(&opcode) && opcode < 0x20;
            let value = if has_value { &b"value"[..] } else { b"" };
            let frame = frame(opcode, &vec![1; *extras_len], key, value, 0);
            let behind = [&frame[..], b"\x80more"].concat();
            let whole = parse(&behind, LIMITS);
            assert!(
                matches!(whole, Parsed::Request { consumed, .. } | Parsed::Refused { consumed, .. } if consumed == frame.len()),
                "{whole:?}"
            );
            for len in 1..frame.len() {
                match parse(&frame[..len], LIMITS) {
                    Parsed::NeedMore { len_min } => {
                        assert!((len + 1..=frame.len()).contains(&len_min));
                    }
                    Parsed::NeedValue { head_len, value_len, .. } => {
                        assert_eq!(head_len + value_len, frame.len());
                        assert!(len >= head_len);
                    }
                    // Nobody waits for the body of what is not known.
                    Parsed::Refused { consumed, .. } => {
                        assert!((0x20..=0x22).contains(&opcode) && len >= HEADER_LEN);
                        assert_eq!(consumed, frame.len());
                    }
                    other => panic!("{opcode:#x} cut at {len}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn what_does_not_begin_as_a_request_is_garbage() {
    for first in (0..=0xff).filter(|first| *first != REQUEST_MAGIC) {
        assert_eq!(parse(&[first], LIMITS), Parsed::Garbage);
    }
}

#[test]
fn responses_are_as_long_as_they_say() {
    use response::*;
    let origin = Origin { opcode: 0x0c, opaque: OPAQUE, is_quiet: false };
    let mut all = Vec::new();
    let mut check = |write: &dyn Fn(&mut Vec<u8>), rest_len: usize, head: [u8; 8]| {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(out[..8], head);
        assert_eq!(out[12..16], OPAQUE);
        let body_len = u32::from_be_bytes(out[8..12].try_into().expect("four bytes"));
        assert_eq!(body_len as usize, out.len() - HEADER_LEN + rest_len);
        all.extend(out);
    };
    check(&|out| write_done(out, origin, 7), 0, [0x81, 0x0c, 0, 0, 0, 0, 0, 0]);
    check(&|out| write_miss(out, origin, b"key"), 0, [0x81, 0x0c, 0, 3, 0, 0, 0, 1]);
    check(&|out| write_hit(out, origin, b"key", 5, 100, 7), 100, [0x81, 0x0c, 0, 3, 4, 0, 0, 0]);
    check(&|out| write_number(out, origin, 1, 7), 0, [0x81, 0x0c, 0, 0, 0, 0, 0, 0]);
    check(&|out| write_version(out, origin, "1.2"), 0, [0x81, 0x0c, 0, 0, 0, 0, 0, 0]);
    check(&|out| write_stat(out, origin, "ab", b"c"), 0, [0x81, 0x0c, 0, 2, 0, 0, 0, 0]);
    check(
        &|out| write_status(out, origin, Status::OutOfMemory),
        0,
        [0x81, 0x0c, 0, 0, 0, 0, 0, 0x82],
    );
    assert_eq!(all[16..24], 7_u64.to_be_bytes());
    assert!(all.ends_with(b"Out of memory allocating item"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_make_progress(
        opcode in any::<u8>(),
        extras_len in prop_oneof![Just(0_u8), Just(4), Just(8), Just(20), any::<u8>()],
        key_len in prop_oneof![0..5_u16, any::<u16>()],
        body_len in prop_oneof![0..60_u32, any::<u32>()],
        body in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let input = [header(opcode, key_len, extras_len, body_len, 0), body].concat();
        match parse(&input, LIMITS) {
            Parsed::Request { consumed, .. } | Parsed::Refused { consumed, .. } => {
                prop_assert_eq!(consumed, HEADER_LEN + body_len as usize);
            }
            Parsed::NeedMore { len_min } => prop_assert!(len_min > input.len()),
            Parsed::NeedValue { head_len, value_len, .. } => {
                prop_assert!(head_len <= input.len() && head_len + value_len > input.len());
            }
            Parsed::Fatal { .. } => {}
            Parsed::Garbage => prop_assert!(false, "it begins as a request"),
        }
    }
}
