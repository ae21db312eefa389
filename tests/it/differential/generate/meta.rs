//! Meta commands at random, on the keys of the classic ones: all flags, with good tokens and bad ones, twice, unknown,
//! too many.

use super::{
    Form, Mangle, any_word, block, delta, exptime, flags, key, line_of, mangle, number, one_of,
};
use crate::differential::unit::{Bytes, UNIQUE_OF};
use proptest::collection::vec;
use proptest::prelude::*;

type Word = Vec<u8>;

/// One request of the meta protocol.
pub(super) fn meta_request() -> impl Strategy<Value = Bytes> {
    let mangles = prop_oneof![9 => Just(Vec::new()), 1 => vec(mangle(), 1..3)];
    (form(), mangles)
        .prop_map(|(form, mangles): (Form, Vec<Mangle>)| line_of(form, &mangles, "\r\n"))
}

fn form() -> impl Strategy<Value = Form> {
    let line = |words| Form { words, block: None };
    let get = (key_and_flags(get_flag().boxed()), Just("mg")).prop_map(words);
    let delete = (key_and_flags(delete_flag().boxed()), Just("md")).prop_map(words);
    let count = (key_and_flags(count_flag().boxed()), Just("ma")).prop_map(words);
    let debug = (key_and_flags(any_flag().boxed()), Just("me")).prop_map(words);
    let set = (key_and_flags(set_flag().boxed()), Just("ms"), block()).prop_map(
        |(named, verb, (len, block))| {
            let mut words = words((named, verb));
            words.insert(2, len);
            Form { words, block: Some(block) }
        },
    );
    let end = vec(any_word(), 0..3).prop_map(|words| [vec![b"mn".to_vec()], words].concat());
    prop_oneof![
        100 => get.prop_map(line),
        100 => set,
        40 => delete.prop_map(line),
        80 => count.prop_map(line),
        10 => debug.prop_map(line),
        6 => end.prop_map(line),
    ]
}

fn words(((key, flags), verb): ((Word, Vec<Word>), &str)) -> Vec<Word> {
    [vec![verb.as_bytes().to_vec(), key], flags].concat()
}

/// A key, now and then in base64, and flags of which none is there twice, as a rule.
fn key_and_flags(flag: BoxedStrategy<Word>) -> impl Strategy<Value = (Word, Vec<Word>)> {
    let flags = prop_oneof![30 => vec(flag.clone(), 0..7), 1 => vec(flag, 7..22)];
    let encoded = (one_of(&["YQ==", "Yg==", "bg==", "Zm9v", "Zm9", "====", "_-9v"]), Just(true));
    let named = prop_oneof![9 => (key(), Just(false)), 1 => encoded];
    (named, flags, 0..20_u8, any::<u8>()).prop_map(|((key, is_encoded), flags, twice, at)| {
        let mut kept: Vec<Word> = Vec::new();
        for flag in flags {
            if twice == 0 || kept.iter().all(|other| other.first() != flag.first()) {
                kept.push(flag);
            }
        }
        if is_encoded {
            kept.retain(|flag| flag != b"b");
            kept.insert(usize::from(at) % (kept.len() + 1), b"b".to_vec());
        }
        (key, kept)
    })
}

/// A letter before a token.
fn with_token(letter: u8, token: impl Strategy<Value = Word>) -> impl Strategy<Value = Word> {
    token.prop_map(move |token| [vec![letter], token].concat())
}

/// The flags that every verb takes.
fn any_flag() -> impl Strategy<Value = Word> {
    prop_oneof![
        20 => one_of(&["k", "c", "q", "t", "v", "O1", "O", "s", "f"]),
        4 => one_of(&["O1234567890123456789012345678901", "O12345678901234567890123456789012", "Oa\tb", "Ok", "Ot5"]),
        6 => one_of(&["h", "l", "u", "I", "P", "L", "P1", "L2x", "vx", "k9", "cc", "b"]),
        2 => one_of(&["x", "E1", "z", "A", "0", "9", "!", "-", "S", "\x7f", "\u{e9}", "noreply"]),
        1 => prop_oneof![Just(b'T'), Just(b'N'), Just(b'R'), Just(b'D'), Just(b'J'), Just(b'F'), Just(b'M')]
            .prop_map(|letter| vec![letter]),
    ]
}

fn get_flag() -> impl Strategy<Value = Word> {
    prop_oneof![
        20 => any_flag(),
        6 => one_of(&["h", "v", "k", "c"]),
        2 => with_token(b'T', exptime()),
        2 => with_token(b'N', exptime()),
        3 => with_token(b'R', recache()),
        1 => compare(),
    ]
}

fn set_flag() -> impl Strategy<Value = Word> {
    prop_oneof![
        12 => one_of(&["k", "c", "q", "O2", "b", "I", "P", "h", "v", "t", "u"]),
        2 => any_flag(),
        4 => with_token(b'T', exptime()),
        4 => with_token(b'F', flags()),
        5 => one_of(&["MS", "ME", "MA", "MP", "MR", "MEager", "M", "Me", "MI"]),
        4 => compare(),
        1 => with_token(b'N', exptime()),
    ]
}

fn delete_flag() -> impl Strategy<Value = Word> {
    prop_oneof![
        6 => any_flag(),
        4 => Just(b"I".to_vec()),
        2 => with_token(b'T', exptime()),
        3 => compare(),
    ]
}

fn count_flag() -> impl Strategy<Value = Word> {
    prop_oneof![
        12 => any_flag(),
        4 => with_token(b'D', delta()),
        3 => with_token(b'J', number()),
        4 => with_token(b'N', exptime()),
        2 => with_token(b'T', exptime()),
        6 => one_of(&["MI", "MD", "M+", "M-", "MD", "MIncr", "Mincr", "MS", "M"]),
        2 => compare(),
    ]
}

/// The CAS unique that an item had when it was last seen, and what none has.
fn compare() -> impl Strategy<Value = Word> {
    prop_oneof![
        5 => key().prop_map(|key| [vec![b'C', UNIQUE_OF], key].concat()),
        3 => one_of(&["C0", "C1", "C18446744073709551615", "C18446744073709551616", "C", "C-1", "C+1", "Cx", "C1x"]),
    ]
}

/// Never within the seconds that a session may take of an exptime.
fn recache() -> impl Strategy<Value = Word> {
    one_of(&["0", "30", "200", "4000", "-1", "-100", "x", "1x", "+30", "", "99999999999"])
}
