//! The meta commands: their flags, their keys, their mistakes.

use super::*;
use crate::meta::{MetaMode, MetaTerms};

/// The flags of a request, and its key as it is on the line.
fn flags(line: &str) -> (&[u8], MetaFlags<'_>) {
    match whole(line) {
        Request::Meta { key, flags, .. } | Request::MetaSet { key, flags, .. } => (key, flags),
        other => panic!("{line:?} gave {other:?}"),
    }
}

fn terms(line: &str) -> MetaTerms {
    flags(line).1.terms()
}

/// The refusal of a line, all of which it consumes.
fn reject(line: &str) -> Reject {
    let (reply, consumed, then) = refused(line.as_bytes());
    assert_eq!((consumed, then), (line.len(), Then::Continue), "{line:?}");
    reply.expect("meta errors are never silent")
}

#[test]
fn verbs_keys_and_flags() {
    for (line, expected) in [
        ("mg k\r\n", MetaVerb::Get),
        ("mg k\n", MetaVerb::Get),
        ("md k\r\n", MetaVerb::Delete),
        ("ma k\r\n", MetaVerb::Arithmetic),
        ("me k\r\n", MetaVerb::Debug),
    ] {
        let Request::Meta { verb, key, flags } = whole(line) else { panic!("{line:?}") };
        assert_eq!((verb, key), (expected, &b"k"[..]), "{line:?}");
        assert_eq!(flags.iter().count(), 0);
    }
    for line in ["mn\r\n", "mn \r\n", "mn foo\n", "mn  \n"] {
        assert_eq!(whole(line), Request::MetaNoop, "{line:?}");
    }
    let (key, flags) = flags("mg  a\tb   v  k O123 T-30   \r\n");
    assert_eq!(key, b"a\tb");
    let shown: Vec<_> = flags.iter().map(|flag| (flag.letter, flag.text)).collect();
    let expected: [(u8, &[u8]); 4] = [(b'v', b"v"), (b'k', b"k"), (b'O', b"O123"), (b'T', b"T-30")];
    assert_eq!(shown, expected);
    assert!(flags.has(b'O') && flags.has(b'T') && !flags.has(b'q'));
    assert_eq!(flags.terms().exptime, Some(-30));
    assert_eq!(flags.reread(flags.text()), flags);
}

/// Flags that are letters with one space before each are read in a way of their own.
#[test]
fn plain_or_not_makes_no_difference() {
    for letters in ["v", "k v", "v k f s t c h l u q x I P L", "q"] {
        let plain = flags(&format!("mg k {letters}\r\n").leak()[..]).1;
        let other = flags(&format!("mg k  {letters} O1\r\n").leak()[..]).1;
        for letter in b"vkfstchluqxIPLTNRFCEJDMb" {
            assert_eq!(plain.has(*letter), other.has(*letter), "{letters:?}");
        }
        assert_eq!(plain.iter().count() + 1, other.iter().count());
        assert!(!plain.has_terms());
    }
    assert_eq!(reject("mg k v k v\r\n"), Reject::DuplicateFlag);
    assert_eq!(reject("mg k v @\r\n"), Reject::BadLine);
    assert_eq!(reject("md k q q\r\n"), Reject::DuplicateFlag);
}

#[test]
fn numbers_among_the_flags() {
    assert_eq!(terms("mg k\r\n"), MetaTerms::default());
    assert_eq!(MetaTerms::default().delta, 1);
    let all = terms("mg k T30 N-1 R2147483647 F7 C0 E18446744073709551615 J5 D9\r\n");
    assert_eq!(all.exptime, Some(30));
    assert_eq!(all.vivify, Some(-1));
    assert_eq!(all.recache, Some(i32::MAX));
    assert_eq!((all.client_flags, all.compare, all.cas_unique), (7, Some(0), Some(u64::MAX)));
    assert_eq!((all.initial, all.delta), (5, 9));
    assert_eq!(terms("ms k 2 F4294967295\r\nxy\r\n").client_flags, u32::MAX);
    // A flag with a token that it has no use for is one all the same.
    assert!(flags("mg k vX kZ qqq\r\n").1.has(b'q'));
}

#[test]
fn modes() {
    for (mode, expected) in [
        ("", MetaMode::Set),
        (" MS", MetaMode::Set),
        (" ME", MetaMode::Add),
        (" MA", MetaMode::Append),
        (" MAppend", MetaMode::Append),
        (" MP", MetaMode::Prepend),
        (" MR", MetaMode::Replace),
    ] {
        assert_eq!(terms(&format!("ms k 2{mode}\r\nxy\r\n")).mode(), expected, "{mode:?}");
    }
    for mode in [" M", " Ms", " Ma", " Mz", " MI"] {
        assert_eq!(reject(&format!("ms k 2{mode}\r\nxy\r\n")), Reject::InvalidSetMode, "{mode:?}");
    }
    for (mode, expected) in [
        ("", ArithmeticVerb::Incr),
        (" MI", ArithmeticVerb::Incr),
        (" MIncr", ArithmeticVerb::Incr),
        (" M+", ArithmeticVerb::Incr),
        (" MD", ArithmeticVerb::Decr),
        (" M-", ArithmeticVerb::Decr),
    ] {
        assert_eq!(terms(&format!("ma k{mode}\r\n")).direction(), expected, "{mode:?}");
    }
    for mode in [" M", " Mincr", " MS"] {
        assert_eq!(reject(&format!("ma k{mode}\r\n")), Reject::InvalidCountMode, "{mode:?}");
    }
    // Others do not look at it.
    assert!(flags("mg k M\r\n").1.has(b'M') && flags("md k Mz\r\n").1.has(b'M'));
}

#[test]
fn keys() {
    let longest = "k".repeat(KEY_LEN_MAX);
    assert_eq!(flags(&format!("mg {longest} v\r\n")).0.len(), KEY_LEN_MAX);
    for line in [
        "mg\r\n".to_owned(),
        "mg \r\n".to_owned(),
        "me\r\n".to_owned(),
        format!("mg {longest}k v\r\n"),
        format!("me {longest}k\r\n"),
        format!("ms {longest}k 2\r\nxy\r\n"),
    ] {
        assert_eq!(reject(&line), Reject::BadLine, "{line:?}");
    }
    let decoded = |line: &str| {
        let (word, flags) = flags(line);
        flags.key(word, &mut [0; crate::DECODED_LEN_MAX]).to_vec()
    };
    assert_eq!(decoded("mg Zm9v b\r\n"), b"foo");
    assert_eq!(decoded("mg Zm9v\r\n"), b"Zm9v");
    assert_eq!(decoded("ms Zm9v 2 b\r\nxy\r\n"), b"foo");
    assert_eq!(decoded("me Zm9v b\r\n"), b"foo");
    assert_eq!(decoded("me Zm9v b b z 1 Tx\r\n"), b"foo", "me takes whatever looks like flags");
    assert_eq!(reject("me Zm9v b !\r\n"), Reject::BadLine);
    assert_eq!(decoded(&format!("mg {} b\r\n", "A".repeat(248))), [0; 186]);
    assert_eq!(reject("mg Zm9 b\r\n"), Reject::UndecodableKey);
    assert_eq!(reject("ms Zm9 2 b\r\nxy\r\n"), Reject::UndecodableKey);
    assert_eq!(reject("md Zm9 b\r\n"), Reject::UndecodableKey);
    assert_eq!(reject("ma Zm9 b\r\n"), Reject::InvalidOrDuplicateFlag);
    assert_eq!(reject(&format!("ma {longest}k\r\n")), Reject::InvalidOrDuplicateFlag);
    assert_eq!(reject("me Zm9 b\r\n"), Reject::BadLine);
    assert_eq!(reject(&format!("mg {} b\r\n", "A".repeat(252))), Reject::BadLine);
}

#[test]
fn mistakes_among_the_flags() {
    let opaque = |len: usize| format!("v O{}", "o".repeat(len));
    for (rest, expected) in [
        ("v v", Reject::DuplicateFlag),
        ("O1 O2", Reject::DuplicateFlag),
        ("\x7f", Reject::BadLine),
        ("\u{80}", Reject::BadLine),
        ("1", Reject::InvalidFlag),
        ("z", Reject::InvalidFlag),
        ("S2", Reject::InvalidFlag),
        ("!", Reject::BadLine),
        ("@", Reject::BadLine),
        ("[", Reject::InvalidFlag),
        ("`", Reject::InvalidFlag),
        ("{", Reject::BadLine),
        ("F+1", Reject::BadLine),
        ("F4294967296", Reject::BadLine),
        ("Fx", Reject::BadLine),
        ("Tx", Reject::BadToken),
        ("T", Reject::BadToken),
        ("T2147483648", Reject::BadToken),
        ("N1x", Reject::BadToken),
        ("R+1", Reject::BadToken),
        ("C-1", Reject::BadToken),
        ("E18446744073709551616", Reject::BadToken),
        ("Jx", Reject::InvalidInitial),
        ("Dx", Reject::InvalidMetaDelta),
        // The last one says what, save that F says nothing, and behind what is no flag nothing is read.
        ("Jx Dx", Reject::InvalidMetaDelta),
        ("Dx Tx", Reject::BadToken),
        ("Tx Fx", Reject::BadToken),
        ("Fx Jx", Reject::InvalidInitial),
        ("Tx z Dx", Reject::InvalidFlag),
        // What does not even look like a flag comes first, wherever it stands.
        ("Tx ! Dx", Reject::BadLine),
        ("v v !", Reject::BadLine),
        ("1 Tx !", Reject::BadLine),
        (&opaque(32), Reject::OpaqueTooLong),
    ] {
        assert_eq!(reject(&format!("mg k {rest}\r\n")), expected, "{rest:?}");
        assert_eq!(reject(&format!("ms k 2 {rest}\r\nxy\r\n")), expected, "{rest:?}");
        assert_eq!(reject(&format!("md k {rest}\r\n")), expected, "{rest:?}");
        let looks_like_flags = |c: char| c.is_ascii_digit() || ('A'..='z').contains(&c);
        let expected = match expected {
            Reject::OpaqueTooLong => expected,
            _ if !rest.split(' ').all(|flag| flag.starts_with(looks_like_flags)) => Reject::BadLine,
            _ => Reject::InvalidOrDuplicateFlag,
        };
        assert_eq!(reject(&format!("ma k {rest}\r\n")), expected, "{rest:?}");
    }
    assert_eq!(refused(b"mg k \x80\r\n").0, Some(Reject::BadLine));
    assert_eq!(flags(&format!("mg k {}\r\n", opaque(31))).1.iter().count(), 2);
}

#[test]
fn words_have_a_limit_with_two_sides() {
    let letters = "b k s t c f v h u q x I l P L T1 N1 R1 F1";
    let most: Vec<&str> = letters.split(' ').take(18).collect();
    let line = |verb: &str, rest: &[&str]| format!("{verb} Zm9v {}\r\n", rest.join(" "));
    for (verb, expected) in [
        ("mg", Reject::TooManyFlags),
        ("md", Reject::TooManyFlags),
        ("ma", Reject::InvalidOrDuplicateFlag),
    ] {
        assert_eq!(flags(&line(verb, &most)).1.iter().count(), 18);
        let more = [&most[..], &["z"]].concat();
        assert_eq!(reject(&line(verb, &more)), expected, "before what else is wrong");
        let more = [&most[..], &["C1"]].concat();
        assert_eq!(reject(&line(verb, &more)), expected);
    }
    let set = |rest: &[&str]| format!("ms Zm9v 2 {}\r\nxy\r\n", rest.join(" "));
    assert_eq!(flags(&set(&most[..17])).1.iter().count(), 17);
    assert_eq!(reject(&set(&most)), Reject::TooManyFlags);
    assert!(!flags(&format!("me k {}\r\n", "x ".repeat(40))).1.has(b'b'));
}

#[test]
fn a_set_of_unknown_length_closes() {
    for rest in ["", " k", " k x", " k -1", " k +1", " k 2147483646", " k k 2"] {
        let line = format!("ms{rest}\r\n");
        assert_eq!(
            refused(line.as_bytes()),
            (Some(Reject::BadLine), line.len(), Then::Close),
            "{line:?}"
        );
    }
}

#[test]
fn a_set_and_its_block() {
    let request = whole("ms k 2 T0 q\r\nxy\r\n");
    assert!(matches!(request, Request::MetaSet { key: b"k", value: b"xy", .. }), "{request:?}");
    assert!(matches!(whole("ms k 0\r\n\r\n"), Request::MetaSet { value: b"", .. }));
    // Never silent, whatever the flags say.
    let bad_block = Request::MetaSetBadBlock;
    assert_eq!(
        parse(b"ms k 2 q\r\nxyz\n", LIMITS),
        Parsed::Request { request: bad_block, consumed: 14 }
    );
    let Parsed::NeedMetaBlock(line) = parse(b"ms Zm9v 2 b\r\nx", LIMITS) else {
        panic!("it is cut")
    };
    assert_eq!((line.key, line.line_len, line.value_len), (&b"Zm9v"[..], 13, 2));
    assert!(line.flags.has(b'b'));
    // A mistake is known from the line, and the block is skipped.
    assert_eq!(refused(b"ms k 5 z\r\n"), (Some(Reject::InvalidFlag), 17, Then::Continue));
}

#[test]
fn the_size_limit_is_that_of_the_decoded_key() {
    let too_large = |line: &str| match parse(line.to_owned().leak().as_bytes(), LIMITS) {
        Parsed::NeedMetaBlock(_) => false,
        Parsed::Request { request: Request::MetaSetTooLarge { .. }, consumed } => {
            let value_len: usize = line.split(' ').nth(2).unwrap().trim().parse().unwrap();
            assert_eq!(consumed, line.len() + value_len + 2);
            true
        }
        other => panic!("{line:?} gave {other:?}"),
    };
    assert!(!too_large("ms k 1048516\r\n"));
    assert!(too_large("ms k 1048517\r\n"));
    assert!(!too_large("ms k 1048512 F1\r\n"));
    assert!(too_large("ms k 1048513 F1\r\n"));
    assert!(!too_large("ms Zg== 1048516 b\r\n"));
    assert!(too_large("ms Zg== 1048517 b\r\n"));
}
