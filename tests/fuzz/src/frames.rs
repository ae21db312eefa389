//! Requests and responses of the binary protocol, as a naive reader sees them: where they end, whose they are, and which of
//! them may be silent.

const HEADER_LEN: usize = 24;
const STAT: u8 = 0x10;

/// A request that does nothing.
pub const NOOP: [u8; HEADER_LEN] = noop(0x80);
/// Its response.
pub const NOOP_DONE: [u8; HEADER_LEN] = noop(0x81);

const fn noop(magic: u8) -> [u8; HEADER_LEN] {
    let mut frame = [0; HEADER_LEN];
    (frame[0], frame[1]) = (magic, 0x0a);
    // An opaque that no input is likely to have.
    (frame[12], frame[13], frame[14], frame[15]) = (0xfe, 0xed, 0xbe, 0xef);
    frame
}

/// What a header says.
struct Header {
    magic: u8,
    opcode: u8,
    key_len: u16,
    /// Of the header and the body, in bytes.
    len: usize,
    opaque: [u8; 4],
}

impl Header {
    fn read(frame: &[u8]) -> Option<Self> {
        let header = frame.first_chunk::<HEADER_LEN>()?;
        let [magic, opcode, key_high, key_low, _, _, _, _, len @ ..] = header;
        let [a, b, c, d, opaque @ ..] = len;
        Some(Self {
            magic: *magic,
            opcode: *opcode,
            key_len: u16::from_be_bytes([*key_high, *key_low]),
            len: HEADER_LEN + u32::from_be_bytes([*a, *b, *c, *d]) as usize,
            opaque: *opaque.first_chunk()?,
        })
    }
}

/// How long the request at the front is, which may be more than there is; `None` where its header has not come whole.
pub fn request_len(input: &[u8]) -> Option<usize> {
    Header::read(input).map(|header| header.len)
}

/// Panics unless that is what a request is answered: one response, or none where it may be silent, or where that closed.
pub fn check_answer(request: &[u8], answer: &[u8], is_closed: bool) {
    let shown = || format!("{} is answered {}", request.escape_ascii(), answer.escape_ascii());
    let asked = Header::read(request).expect("it was read before");
    if answer.is_empty() {
        let is_quiet = matches!(asked.opcode, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24);
        assert!(is_quiet || is_closed, "{}", shown());
        return;
    }
    let mut rest = answer;
    loop {
        let header = Header::read(rest).unwrap_or_else(|| panic!("{}", shown()));
        let is_its =
            (header.magic, header.opcode, header.opaque) == (0x81, asked.opcode, asked.opaque);
        assert!(is_its, "{}", shown());
        rest = rest.get(header.len..).unwrap_or_else(|| panic!("{}", shown()));
        // A list ends with what is about nothing.
        if asked.opcode != STAT || header.key_len == 0 {
            break;
        }
    }
    assert!(rest.is_empty(), "{}", shown());
}

/// Responses one by one, less what is counted.
pub fn normal(replies: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = replies;
    let mut responses = Vec::new();
    while let Some(header) = Header::read(rest) {
        let (response, behind) = rest.split_at(header.len.min(rest.len()));
        rest = behind;
        responses.push(if header.opcode == STAT && header.key_len > 0 {
            // The length of a number is one of its own.
            let key = response.iter().skip(HEADER_LEN).take(header.key_len.into());
            response.iter().take(4).chain(key).copied().collect()
        } else {
            response.to_vec()
        });
    }
    responses.push(rest.to_vec());
    responses
}
