//! Frames of the binary protocol at random, on the keys of the text commands: all opcodes, quiet ones and unknown ones,
//! with good parts and wrong ones, and headers that lie.

use super::{key, one_of, value};
use crate::differential::frame::{self, Frame, Lie, Unique};
use proptest::prelude::*;
use proptest::sample::select;

type Part = Vec<u8>;

/// One request of the binary protocol.
pub(super) fn frame() -> impl Strategy<Value = Frame> {
    let unused = prop_oneof![9 => Just([0; 3]), 1 => any::<[u8; 3]>()];
    let lie = prop_oneof![60 => Just(None), 1 => lie().prop_map(Some)];
    (form(), unique(), unused, lie).prop_map(
        |((opcode, extras, key, value), unique, unused, lie)| {
            let frame = Frame::new(opcode, &extras, &key, &value);
            Frame { unique, unused, lie, ..frame }.settled()
        },
    )
}

/// An opcode, extras, a key and a value.
type Form = (u8, Part, Part, Part);

fn form() -> impl Strategy<Value = Form> {
    let good = good_form().boxed();
    // With a part that it should not have, or that should be another.
    let wrong =
        (good.clone(), 0..3, part()).prop_map(|((opcode, extras, key, value), which, part)| {
            match which {
                0 => (opcode, part, key, value),
                1 => (opcode, extras, part, value),
                _ => (opcode, extras, key, part),
            }
        });
    // What is not offered, and what nobody knows.
    let other = select(&[0x1b, 0x20, 0x21, 0x22, 0x25, 0x30, 0x3c, 0x77, 0xff][..]);
    let other = (other, part(), prop_oneof![part().boxed(), key().boxed()], part());
    prop_oneof![40 => good, 1 => wrong, 1 => other]
}

fn good_form() -> impl Strategy<Value = Form> {
    let opcode = |opcodes: &'static [u8]| select(opcodes);
    let none = || Just(Part::new());
    let get = (opcode(frame::GETS), none(), key(), none());
    let gat = (opcode(frame::GATS), exptime(), key(), none());
    let touch = (Just(frame::TOUCH), exptime(), key(), none());
    let set = (Just(frame::STORES[0]), terms(), key(), body());
    let store = (opcode(frame::STORES), terms(), key(), body());
    let append = (opcode(frame::APPENDS), none(), key(), body());
    let prepend = (opcode(frame::PREPENDS), none(), key(), body());
    let delete = (opcode(frame::DELETES), none(), key(), none());
    let count = (opcode(frame::COUNTS), count(), key(), none());
    let delay = prop_oneof![none().boxed(), exptime().boxed()];
    let flush = (opcode(&[frame::FLUSH, frame::FLUSHQ]), delay, none(), none());
    let noop = (opcode(&[frame::NOOP, frame::VERSION]), none(), none(), none());
    let stat = (Just(frame::STAT), none(), topic(), none());
    let quit = (opcode(frame::QUITS), none(), none(), none());
    prop_oneof![
        120 => set,
        120 => store,
        40 => append,
        40 => prepend,
        200 => get,
        60 => gat,
        40 => touch,
        60 => delete,
        120 => count,
        6 => flush,
        20 => noop,
        6 => stat,
        3 => quit,
    ]
}

/// Some bytes, mostly of a length that extras have.
fn part() -> impl Strategy<Value = Part> {
    let len = prop_oneof![3 => Just(0), 3 => select(&[3, 4, 8, 20][..]), 1 => 1..30_usize];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

/// Values of the text commands, and a frame that is to be read as nothing else.
fn body() -> impl Strategy<Value = Part> {
    let frame = Frame::new(frame::DELETES[0], b"", b"a", b"").bytes(0, 0);
    prop_oneof![20 => value(), 1 => Just(frame)]
}

fn unique() -> impl Strategy<Value = Unique> {
    prop_oneof![
        14 => Just(Unique::Number(0)),
        4 => Just(Unique::Seen),
        1 => select(&[1, 2, 1 << 32, 1 << 63, u64::MAX][..]).prop_map(Unique::Number),
    ]
}

fn lie() -> impl Strategy<Value = Lie> {
    let len =
        || prop_oneof![0..30_u16, select(&[250, 251, 255, 256, 5000, 32767, 32768, 65535][..])];
    let over =
        select(&[(1 << 30) + 1, i32::MAX as u32 - 1, i32::MAX as u32, 1 << 31, u32::MAX][..]);
    prop_oneof![
        2 => select(&[0x00, 0x67, 0x7f, 0x81, 0xff][..]).prop_map(Lie::Magic),
        4 => len().prop_map(Lie::KeyLen),
        4 => prop_oneof![0..30_u8, any::<u8>()].prop_map(Lie::ExtrasLen),
        2 => (0..30_u32).prop_map(Lie::BodyLen),
        1 => over.prop_map(Lie::BodyLen),
    ]
}

fn numbers(numbers: &'static [u32]) -> impl Strategy<Value = Part> {
    select(numbers).prop_map(|number| number.to_be_bytes().to_vec())
}

fn exptime() -> impl Strategy<Value = Part> {
    prop_oneof![
        24 => numbers(&[0]),
        16 => numbers(&[100, 3600, 2_592_000, 2_592_001]),
        4 => numbers(&[1_700_000_000, (1 << 31) - 1, 1 << 31, u32::MAX - 1, u32::MAX]),
        1 => numbers(&[30]),
    ]
}

fn flags() -> impl Strategy<Value = Part> {
    prop_oneof![
        3 => numbers(&[0]),
        2 => numbers(&[1, 5, 65535, 65536, (1 << 31) - 1, 1 << 31, u32::MAX]),
        1 => any::<u32>().prop_map(|flags| flags.to_be_bytes().to_vec()),
    ]
}

fn terms() -> impl Strategy<Value = Part> {
    (flags(), exptime()).prop_map(|(flags, exptime)| [flags, exptime].concat())
}

/// By how much, what an item begins with, and its exptime.
fn count() -> impl Strategy<Value = Part> {
    const NUMBERS: &[u64] = &[
        0,
        1,
        2,
        9,
        10,
        90,
        1000,
        (1 << 32) - 1,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
    ];
    // All ones make no item.
    let exptime = prop_oneof![exptime().boxed(), numbers(&[u32::MAX]).boxed()];
    (select(NUMBERS), select(NUMBERS), exptime).prop_map(|(delta, initial, exptime)| {
        [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &exptime].concat()
    })
}

fn topic() -> impl Strategy<Value = Part> {
    one_of(&[
        "reset",
        "resetx",
        "detail on",
        "detail off",
        "detail offx",
        "detail",
        "detail x",
        "detail dump",
        "sizes",
        "bogus",
        "",
        "settings",
        "a",
    ])
}
