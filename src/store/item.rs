//! An item as bytes in a segment.
//!
//! ```text
//! marks 1 | key length 1 | value length 2 | last access 3 | cas unique 8 | flags 4 | deadline 6 | body 4 | key | value
//! ```
//! The cas unique is there unless the store keeps none; flags, deadline and body where the marks say so. A body is the
//! number of the front of a large value, which is kept elsewhere; the rest of it is the value here. Nothing is
//! aligned: an item may begin at any byte.
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths are bounded, and last access is kept modulo 2^24 seconds"
)]

use super::exptime::Deadline;

/// What the first byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    const FLAGS: u8 = 1;
    const DEADLINE: u8 = 1 << 1;
    const BODY: u8 = 1 << 2;
    const FETCHED: u8 = 1 << 3;
    const STALE: u8 = 1 << 4;
    const WON: u8 = 1 << 5;
    const BASE64: u8 = 1 << 6;
    /// What says how an item is laid out.
    const FIELDS: u8 = Self::FLAGS | Self::DEADLINE | Self::BODY;

    /// For an item of these flags and this deadline.
    pub(super) fn of(flags: u32, deadline: Deadline, body: bool) -> Self {
        let mark = |is: bool, mark: u8| if is { mark } else { 0 };
        Self(
            mark(flags != 0, Self::FLAGS)
                | mark(deadline != Deadline::NEVER, Self::DEADLINE)
                | mark(body, Self::BODY),
        )
    }

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    /// Whether two items have the same fields.
    fn same_fields(self, other: Self) -> bool {
        (self.0 ^ other.0) & Self::FIELDS == 0
    }
}

/// What an item is marked with beside what says how it is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tags(u8);

impl Tags {
    /// It has none.
    pub(super) const NONE: Self = Self(0);
    /// The value is out of date.
    pub(super) const STALE: Self = Self(Marks::STALE);
    /// A client was told to refill it.
    pub(super) const WON: Self = Self(Marks::WON);
    /// Its key came as base64.
    pub(super) const BASE64: Self = Self(Marks::BASE64);

    /// Whether it has one of these.
    pub(super) fn has(self, tags: Self) -> bool {
        self.0 & tags.0 != 0
    }

    /// Those that are among others, too.
    pub(super) fn and(self, tags: Self) -> Self {
        Self(self.0 & tags.0)
    }

    /// Those that are not among others.
    pub(super) fn without(self, tags: Self) -> Self {
        Self(self.0 & !tags.0)
    }

    /// All of both.
    pub(super) fn with(self, tags: Self) -> Self {
        Self(self.0 | tags.0)
    }

    /// These, or none.
    pub(super) fn when(self, is: bool) -> Self {
        if is { self } else { Self::NONE }
    }
}

/// Bytes before the cas unique.
const HEAD_LEN: usize = 7;
const CAS_LEN: usize = 8;
const FLAGS_LEN: usize = 4;
const DEADLINE_LEN: usize = 6;
/// The deadline that stands for never, where there is a field for it.
const NEVER_MS: u64 = (1 << 48) - 1;
const BODY_LEN: usize = 4;
const KEY_LEN_MAX: usize = 250;
/// Bytes of the optional fields, by the marks that say which there are.
const OPTIONAL_LEN: [usize; 8] = {
    let mut lens = [0; 8];
    let mut marks = 0;
    while marks < lens.len() {
        lens[marks] =
            (marks & 1) * FLAGS_LEN + (marks >> 1 & 1) * DEADLINE_LEN + (marks >> 2) * BODY_LEN;
        marks += 1;
    }
    lens
};
/// The longest head and key.
pub(super) const FRONT_LEN_MAX: usize =
    HEAD_LEN + CAS_LEN + FLAGS_LEN + DEADLINE_LEN + BODY_LEN + KEY_LEN_MAX;
/// Last access is kept in seconds, modulo 2^24 (194 days).
const ACCESS_MASK: u32 = (1 << 24) - 1;

/// How the items of a store are laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    pub(super) cas: bool,
}

/// Where the parts of one item are, counted from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    marks: Marks,
    key_at: usize,
    value_at: usize,
    len: usize,
}

/// What is written as an item.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewItem<'a> {
    pub(super) key: &'a [u8],
    /// Of a large value: what its body does not hold.
    pub(super) value: &'a [u8],
    pub(super) body: Option<u32>,
    pub(super) flags: u32,
    pub(super) deadline: Deadline,
    pub(super) cas_unique: u64,
    pub(super) tags: Tags,
    pub(super) now_ms: u64,
}

impl NewItem<'_> {
    fn marks(&self) -> Marks {
        Marks(Marks::of(self.flags, self.deadline, self.body.is_some()).0 | self.tags.0)
    }
}

impl Format {
    /// The layout of an item of such marks and lengths.
    #[inline]
    pub(super) fn layout(self, marks: Marks, key_len: usize, value_len: usize) -> Layout {
        let cas_len = if self.cas { CAS_LEN } else { 0 };
        let key_at = HEAD_LEN + cas_len + OPTIONAL_LEN[usize::from(marks.0 & 7)];
        let value_at = key_at + key_len;
        Layout { marks, key_at, value_at, len: value_at + value_len }
    }

    /// The layout of the item at the front of `bytes`.
    #[inline]
    pub(super) fn parse(self, bytes: &[u8]) -> Layout {
        let [marks, key_len, low, high, ..] = *head(bytes);
        let value_len = u16::from_le_bytes([low, high]);
        self.layout(Marks(marks), usize::from(key_len), usize::from(value_len))
    }

    /// The layout that a new item will have.
    pub(super) fn layout_of(self, new: &NewItem<'_>) -> Layout {
        self.layout(new.marks(), new.key.len(), new.value.len())
    }

    /// Whether a new item has the layout of an old one, so that it may be written over it.
    pub(super) fn fits_over(self, old: Layout, new: &NewItem<'_>) -> bool {
        let layout = self.layout_of(new);
        old.marks.same_fields(layout.marks)
            && (old.key_at, old.value_at, old.len) == (layout.key_at, layout.value_at, layout.len)
    }

    /// Writes all of an item but its value to the front of `bytes`.
    pub(super) fn write_head(self, bytes: &mut [u8], layout: Layout, new: &NewItem<'_>) {
        bytes[0] = new.marks().0;
        bytes[1] = u8::try_from(new.key.len()).expect("keys have 250 bytes at most");
        set_value_len(bytes, new.value.len());
        self.set_cas_unique(bytes, new.cas_unique);
        set_accessed(bytes, new.now_ms);
        let mut at = layout.key_at();
        if let Some(body) = new.body {
            at -= BODY_LEN;
            bytes[at..at + BODY_LEN].copy_from_slice(&body.to_le_bytes());
        }
        if layout.marks.has(Marks::DEADLINE) {
            at -= DEADLINE_LEN;
            put_deadline(&mut bytes[at..], new.deadline);
        }
        if layout.marks.has(Marks::FLAGS) {
            at -= FLAGS_LEN;
            bytes[at..at + FLAGS_LEN].copy_from_slice(&new.flags.to_le_bytes());
        }
        bytes[layout.key_at()..layout.front_len()].copy_from_slice(new.key);
    }

    /// The cas unique of the item at the front; 0 where the store keeps none.
    pub(super) fn cas_unique(self, bytes: &[u8]) -> u64 {
        if !self.cas {
            return 0;
        }
        let field = bytes[HEAD_LEN..HEAD_LEN + CAS_LEN].try_into();
        u64::from_le_bytes(field.expect("eight bytes"))
    }

    pub(super) fn set_cas_unique(self, bytes: &mut [u8], cas_unique: u64) {
        if self.cas {
            bytes[HEAD_LEN..HEAD_LEN + CAS_LEN].copy_from_slice(&cas_unique.to_le_bytes());
        }
    }
}

impl Layout {
    /// Of the whole item.
    pub(super) fn len(self) -> usize {
        self.len
    }

    fn key_at(self) -> usize {
        self.key_at
    }

    pub(super) fn key(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.key_at()..self.front_len()]
    }

    /// Bytes before the value: head and key, which are never apart.
    pub(super) fn front_len(self) -> usize {
        self.value_at
    }

    /// Whether all of the value stands behind the key.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        !self.marks.has(Marks::BODY)
    }

    /// Where the deadline ends.
    fn deadline_end(self) -> usize {
        self.key_at() - if self.marks.has(Marks::BODY) { BODY_LEN } else { 0 }
    }

    /// Where the flags end.
    fn flags_end(self) -> usize {
        self.deadline_end() - if self.marks.has(Marks::DEADLINE) { DEADLINE_LEN } else { 0 }
    }

    /// The number of the body of its value, where it has one.
    pub(super) fn body(self, bytes: &[u8]) -> Option<u32> {
        self.marks.has(Marks::BODY).then(|| {
            let number = bytes[self.key_at() - BODY_LEN..self.key_at()].try_into();
            u32::from_le_bytes(number.expect("four bytes"))
        })
    }

    #[inline]
    pub(super) fn flags(self, bytes: &[u8]) -> u32 {
        if !self.marks.has(Marks::FLAGS) {
            return 0;
        }
        let end = self.flags_end();
        u32::from_le_bytes(bytes[end - FLAGS_LEN..end].try_into().expect("four bytes"))
    }

    #[inline]
    pub(super) fn deadline(self, bytes: &[u8]) -> Deadline {
        if !self.marks.has(Marks::DEADLINE) {
            return Deadline::NEVER;
        }
        let mut field = [0; 8];
        let end = self.deadline_end();
        field[..DEADLINE_LEN].copy_from_slice(&bytes[end - DEADLINE_LEN..end]);
        match u64::from_le_bytes(field) {
            NEVER_MS => Deadline::NEVER,
            ms => Deadline::at_ms(ms),
        }
    }

    /// Whether the item has a field for a deadline, or needs none.
    pub(super) fn may_have(self, deadline: Deadline) -> bool {
        self.marks.has(Marks::DEADLINE) || deadline == Deadline::NEVER
    }

    /// Gives the item another deadline; false where it has no field for it.
    pub(super) fn set_deadline(self, bytes: &mut [u8], deadline: Deadline) -> bool {
        if self.marks.has(Marks::DEADLINE) {
            put_deadline(&mut bytes[self.deadline_end() - DEADLINE_LEN..], deadline);
        }
        self.may_have(deadline)
    }

    /// Whether the item was read since it was stored.
    pub(super) fn is_fetched(self) -> bool {
        self.marks.has(Marks::FETCHED)
    }

    /// What it is marked with.
    pub(super) fn tags(self) -> Tags {
        Tags(self.marks.0 & !Marks::FIELDS)
    }
}

/// Marks the item at the front anew.
pub(super) fn set_tags(bytes: &mut [u8], tags: Tags) {
    bytes[0] = bytes[0] & Marks::FIELDS | tags.0;
}

/// Makes the value of the item at the front longer or shorter.
pub(super) fn set_value_len(bytes: &mut [u8], value_len: usize) {
    let value_len = u16::try_from(value_len).expect("what a body does not hold is shorter");
    bytes[2..4].copy_from_slice(&value_len.to_le_bytes());
}

/// Marks the item at the front as read, and when.
#[inline]
pub(super) fn set_fetched(bytes: &mut [u8], now_ms: u64) {
    if bytes[0] & Marks::FETCHED == 0 {
        bytes[0] |= Marks::FETCHED;
    }
    set_accessed(bytes, now_ms);
}

/// Notes the time of a read or write of the item at the front. What is read by many at once stays unwritten.
#[inline]
pub(super) fn set_accessed(bytes: &mut [u8], now_ms: u64) {
    let seconds = (now_ms / 1000) as u32 & ACCESS_MASK;
    if accessed(bytes) != seconds {
        bytes[4..7].copy_from_slice(&seconds.to_le_bytes()[..3]);
    }
}

/// When that was, in seconds modulo 2^24.
#[inline]
fn accessed(bytes: &[u8]) -> u32 {
    let [_, _, _, before @ .., low, middle, high] = *head(bytes);
    // With the byte before it, it is a word.
    u32::from_le_bytes([before[0], low, middle, high]) >> 8
}

/// What is before the cas unique, of which each item has all.
#[inline]
fn head(bytes: &[u8]) -> &[u8; HEAD_LEN] {
    bytes.first_chunk().expect("an item has a head")
}

/// Seconds since the item at the front was read or written.
pub(super) fn idle_s(bytes: &[u8], now_ms: u64) -> u64 {
    u64::from(((now_ms / 1000) as u32).wrapping_sub(accessed(bytes)) & ACCESS_MASK)
}

fn put_deadline(field: &mut [u8], deadline: Deadline) {
    let ms = deadline.ms().min(NEVER_MS);
    field[..DEADLINE_LEN].copy_from_slice(&ms.to_le_bytes()[..DEADLINE_LEN]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(format: Format, bytes: &mut [u8], new: &NewItem<'_>) {
        let layout = format.layout_of(new);
        format.write_head(bytes, layout, new);
        bytes[layout.front_len()..layout.len()].copy_from_slice(new.value);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What is written is read again, whichever fields there are.
        #[test]
        fn an_item_is_read_as_it_was_written(
            cas in any::<bool>(),
            key in proptest::collection::vec(any::<u8>(), 1..=250),
            value in proptest::collection::vec(any::<u8>(), 0..600),
            flags in prop_oneof![Just(0), any::<u32>()],
            body: Option<u32>,
            deadline in prop_oneof![Just(Deadline::NEVER), (0..1_u64 << 47).prop_map(Deadline::at_ms)],
            cas_unique in any::<u64>(),
            tags in any::<u8>(),
            seconds in 0..1_u64 << 24,
        ) {
            let format = Format { cas };
            let tags = Tags(tags & (Marks::STALE | Marks::WON | Marks::BASE64));
            let now_ms = seconds * 1000;
            let new = NewItem {
                key: &key, value: &value, body, flags, deadline, cas_unique, tags, now_ms,
            };
            let len = format.layout_of(&new).len();
            let mut bytes = vec![0xaa; len + 3];
            write(format, &mut bytes, &new);
            prop_assert_eq!(&bytes[len..], &[0xaa; 3], "it ends where it should");
            let layout = format.parse(&bytes);
            prop_assert_eq!(layout, format.layout_of(&new));
            prop_assert!(format.fits_over(layout, &new));
            prop_assert_eq!(layout.key(&bytes), &key[..]);
            prop_assert_eq!(&bytes[layout.front_len()..layout.len()], &value[..]);
            prop_assert_eq!((layout.flags(&bytes), layout.deadline(&bytes)), (flags, deadline));
            prop_assert_eq!(format.cas_unique(&bytes), if cas { cas_unique } else { 0 });
            prop_assert_eq!(layout.body(&bytes), body);
            prop_assert_eq!(idle_s(&bytes, now_ms + 5000), 5);
            prop_assert!(!layout.is_fetched());
            prop_assert_eq!(layout.tags(), tags);
            set_fetched(&mut bytes, now_ms);
            prop_assert!(format.parse(&bytes).is_fetched());
            prop_assert!(format.fits_over(format.parse(&bytes), &new), "being read changes no field");
            prop_assert_eq!(format.parse(&bytes).tags(), tags.with(Tags(Marks::FETCHED)));
            set_tags(&mut bytes, Tags::WON);
            prop_assert_eq!(format.parse(&bytes).tags(), Tags::WON);
            prop_assert!(format.fits_over(format.parse(&bytes), &new), "nor is being marked");
        }
    }

    #[test]
    fn a_deadline_changes_in_place_where_it_has_a_field() {
        let format = Format { cas: true };
        let soon = Deadline::at_ms(5);
        let mut new = NewItem {
            key: b"k",
            value: b"v",
            body: None,
            flags: 7,
            deadline: soon,
            cas_unique: 1,
            tags: Tags::NONE,
            now_ms: 0,
        };
        let mut bytes = [0; 64];
        write(format, &mut bytes, &new);
        let layout = format.parse(&bytes);
        assert!(layout.set_deadline(&mut bytes, Deadline::NEVER));
        assert_eq!((layout.deadline(&bytes), layout.flags(&bytes)), (Deadline::NEVER, 7));
        new.deadline = Deadline::NEVER;
        write(format, &mut bytes, &new);
        let layout = format.parse(&bytes);
        assert!(layout.set_deadline(&mut bytes, Deadline::NEVER));
        assert!(!layout.set_deadline(&mut bytes, soon), "there is no field for it");
    }
}
