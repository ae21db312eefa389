//! What leaves a store and comes into it in pieces: loans and uploads.

use super::pair::{Pair, key_of};
use super::*;

impl Pair {
    /// Receives bytes, some at a time; false where there is no memory.
    pub(super) fn receive(&self, upload: &mut Upload, key: Key<'_>, bytes: &[u8]) -> bool {
        for bytes in bytes.chunks(5000) {
            if !self.store.grow_upload(upload, key, bytes.len(), self.now) {
                return false;
            }
            let mut rest = bytes;
            for piece in upload.room() {
                let (part, behind) = rest.split_at(rest.len().min(piece.len()));
                piece[..part.len()].copy_from_slice(part);
                rest = behind;
            }
            upload.advance(bytes.len());
        }
        true
    }

    /// A storage command, of which the value comes in pieces where it may.
    pub(super) fn store(&self, write: &Write<'_>) -> Stored {
        let in_pieces = self.version.is_multiple_of(2);
        let begun = in_pieces.then(|| self.store.begin_upload(write, write.value.len(), self.now));
        let Some(mut upload) = begun.flatten() else {
            return self.store.store(write, self.now);
        };
        let (front, rest) = write.value.split_at(upload.left_len());
        let write = Write { value: rest, ..*write };
        if self.receive(&mut upload, write.key, front) {
            self.store.finish_upload(upload, &write, self.now)
        } else {
            drop(upload);
            self.store.refuse(&write, self.now)
        }
    }

    pub(super) fn uploading_len(&self) -> u64 {
        self.store.pool.charge(self.store.pool.uploading_count())
    }

    pub(super) fn borrow(&mut self, number: u16) -> Result<(), TestCaseError> {
        self.look(number)?;
        let key = key_of(number);
        let read = self.store.get(self.key(&key), self.now, |item| {
            let (value, loan) = (item.value.to_vec(), item.value.lend(1)?);
            let mut copied = Vec::new();
            item.value.copy_rest_to(&mut copied);
            Some((loan, value, copied))
        });
        if let Ok(Some((loan, mut value, copied))) = read {
            prop_assert_eq!(&value[loan.len()..], &copied);
            value.truncate(loan.len());
            self.loans.push((loan, value));
        }
        prop_assert!(self.lent_len() <= self.config.limit_bytes / 8);
        self.settle(0..=0, 0)
    }

    /// What was lent is as it was.
    pub(super) fn end_loan(&mut self, index: usize) -> Result<(), TestCaseError> {
        let (loan, value) = self.loans.swap_remove(index);
        prop_assert!(loan.parts().collect::<Vec<_>>().concat() == value);
        Ok(())
    }

    /// All readers have sent what they read.
    pub(super) fn end_loans(&mut self) -> Result<(), TestCaseError> {
        while !self.loans.is_empty() {
            self.end_loan(0)?;
        }
        self.uploads.clear();
        prop_assert_eq!(self.store.pool.lent_count() + self.store.pool.uploading_count(), 0);
        Ok(())
    }

    pub(super) fn lent_len(&self) -> u64 {
        self.store.pool.charge(self.store.pool.lent_count())
    }
}
