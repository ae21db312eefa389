//! Every error line that a client's mistake can earn.

use crate::admin::AdminReject;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// No such command.
    UnknownCommand,
    /// Words missing, surplus or of the wrong form; key over 250 bytes; line under 4 bytes.
    BadLine,
    /// The data block does not end where its length said.
    BadDataChunk,
    /// `touch`, `gat` or `flush_all` with an exptime that is no number.
    InvalidExptime,
    /// `incr` or `decr` with a delta that is no number.
    InvalidDelta,
    /// `incr` or `decr` of a value that is no number.
    NonNumeric,
    /// The item would pass the size limit.
    TooLarge,
    /// No room, and none to be made.
    OutOfMemory,
    /// As [`Reject::OutOfMemory`], in the words of `incr` and `decr`.
    OutOfMemoryArithmetic,
    /// No memory for a request that has not come whole.
    OutOfMemoryReading,
    /// `flush_all` is switched off.
    FlushNotAllowed,
    /// `shutdown` is not switched on.
    ShutdownNotEnabled,
    /// `shutdown` with a word that is no mode.
    InvalidShutdownMode,
    /// `stats detail` with a word that is no mode.
    DetailUsage,
    /// `stats detail` is switched off.
    DetailNotAllowed,
    /// An operator's mistake.
    Admin(AdminReject),
    /// Over the connection limit.
    TooManyConnections,
    /// A meta command of more than 20 words.
    TooManyFlags,
    /// A meta flag that stands there twice.
    DuplicateFlag,
    /// No such meta flag.
    InvalidFlag,
    /// The answer of `ma` to every mistake among its flags.
    InvalidOrDuplicateFlag,
    /// A number behind a meta flag that is none.
    BadToken,
    /// A key that was to be base64, and is not.
    UndecodableKey,
    /// An opaque of more than 31 bytes.
    OpaqueTooLong,
    /// `ms` with a mode that is none.
    InvalidSetMode,
    /// `ma` with a mode that is none.
    InvalidCountMode,
    /// The initial number of `ma` is none.
    InvalidInitial,
    /// The delta of `ma` is no number.
    InvalidMetaDelta,
}

impl Reject {
    /// The reply line, with its line end.
    pub fn line(self) -> &'static [u8] {
        match self {
            Self::UnknownCommand => b"ERROR\r\n",
            Self::BadLine => b"CLIENT_ERROR bad command line format\r\n",
            Self::BadDataChunk => b"CLIENT_ERROR bad data chunk\r\n",
            Self::InvalidExptime => b"CLIENT_ERROR invalid exptime argument\r\n",
            Self::InvalidDelta => b"CLIENT_ERROR invalid numeric delta argument\r\n",
            Self::NonNumeric => b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            Self::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
            Self::OutOfMemory => b"SERVER_ERROR out of memory storing object\r\n",
            Self::OutOfMemoryArithmetic => b"SERVER_ERROR out of memory\r\n",
            Self::OutOfMemoryReading => b"SERVER_ERROR out of memory reading request\r\n",
            Self::FlushNotAllowed => b"CLIENT_ERROR flush_all not allowed\r\n",
            // The colon is memcached's.
            Self::ShutdownNotEnabled => b"SERVER_ERROR: shutdown not enabled\r\n",
            Self::InvalidShutdownMode => b"CLIENT_ERROR invalid shutdown mode\r\n",
            Self::DetailUsage => b"CLIENT_ERROR usage: stats detail on|off|dump\r\n",
            Self::DetailNotAllowed => b"CLIENT_ERROR stats detail not allowed\r\n",
            Self::Admin(reject) => reject.line(),
            Self::TooManyConnections => b"ERROR Too many open connections\r\n",
            Self::TooManyFlags => b"CLIENT_ERROR options flags are too long\r\n",
            Self::DuplicateFlag => b"CLIENT_ERROR duplicate flag\r\n",
            Self::InvalidFlag => b"CLIENT_ERROR invalid flag\r\n",
            Self::InvalidOrDuplicateFlag => b"CLIENT_ERROR invalid or duplicate flag\r\n",
            Self::BadToken => b"CLIENT_ERROR bad token in command line format\r\n",
            Self::UndecodableKey => b"CLIENT_ERROR error decoding key\r\n",
            Self::OpaqueTooLong => b"CLIENT_ERROR opaque token too long\r\n",
            Self::InvalidSetMode => b"CLIENT_ERROR invalid mode for ms M token\r\n",
            Self::InvalidCountMode => b"CLIENT_ERROR invalid mode for ma M token\r\n",
            Self::InvalidInitial => b"CLIENT_ERROR invalid numeric initial value\r\n",
            Self::InvalidMetaDelta => b"CLIENT_ERROR invalid numeric delta value\r\n",
        }
    }
}
