//! What is to be sent: text, and between it the large values that the store has lent, which are not copied.

use crate::store::Loan;

/// Replies that are gathered.
#[derive(Debug, Default)]
pub struct Replies {
    /// All that is not lent.
    pub text: Vec<u8>,
    /// What is lent, and how much of the text comes before it.
    lent: Vec<(usize, Loan)>,
    /// Bytes of it.
    lent_len: usize,
}

impl Replies {
    /// In bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.text.len() + self.lent_len
    }

    /// Whether all of it is text.
    #[inline]
    pub fn is_text(&self) -> bool {
        self.lent.is_empty()
    }

    /// Appends what is lent.
    pub fn push(&mut self, loan: Loan) {
        self.lent_len += loan.len();
        self.lent.push((self.text.len(), loan));
    }

    /// Forgets everything, and gives back what is lent.
    #[inline]
    pub fn clear(&mut self) {
        self.text.clear();
        if !self.is_text() {
            self.lent.clear();
            self.lent_len = 0;
        }
    }

    /// All of it, in order, in pieces that are not empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.lent.iter().map(|(at, _)| *at));
        let lent = self.lent.iter().map(|(at, loan)| (*at, Some(loan)));
        starts
            .zip(lent.chain([(self.text.len(), None)]))
            .flat_map(|(start, (end, loan))| {
                let parts = loan.into_iter().flat_map(Loan::parts);
                std::iter::once(&self.text[start..end]).chain(parts)
            })
            .filter(|piece| !piece.is_empty())
    }

    /// Takes out what comes behind the first `sent_len` bytes, if it may `hold` the memory that takes beside what is
    /// lent.
    pub fn take_rest<E>(
        &mut self,
        sent_len: usize,
        hold: impl FnOnce(usize) -> Result<(), E>,
    ) -> Result<Unsent, E> {
        // Where all is text, it is easily said what of it is still needed.
        let skipped_len = if self.is_text() { sent_len } else { 0 };
        let rest = &self.text[skipped_len..];
        // A small rest is worth a copy, so that it does not hold all of the buffer.
        let (text, sent_len) = if rest.len() <= self.text.capacity() / 2 {
            hold(rest.len())?;
            (rest.to_vec(), sent_len - skipped_len)
        } else {
            hold(self.text.capacity())?;
            (std::mem::take(&mut self.text), sent_len)
        };
        self.text.clear();
        let lent = std::mem::take(&mut self.lent);
        let lent_len = std::mem::take(&mut self.lent_len);
        Ok(Unsent { replies: Self { text, lent, lent_len }, sent_len })
    }
}

/// Replies that the client has not taken.
#[derive(Debug)]
pub struct Unsent {
    /// All of them.
    pub replies: Replies,
    /// So much it has taken, in bytes.
    pub sent_len: usize,
}
