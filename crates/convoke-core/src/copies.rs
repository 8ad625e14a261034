//! Copies of few bytes, many in one piece of memory: a node takes in a million small payloads a second, a hub notes as many
//! rows, and to ask for memory for each, and give it back, costs more than the copying.

use std::mem;

use bytes::{Bytes, BytesMut};

/// How much memory is asked for at a time, in bytes. Who keeps one copy keeps at most so much.
const PIECE_BYTES: usize = 2 << 10;

/// Bytes longer than this get memory of their own, in bytes: they would leave much of a piece unused.
const SHARED_BYTES_MAX: usize = 256;

/// Makes them.
#[derive(Default)]
pub(crate) struct Copies {
    /// What is left of the last piece.
    piece: BytesMut,
    /// Where is put together what is written.
    written: Vec<u8>,
}

impl Copies {
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > SHARED_BYTES_MAX {
            return Bytes::copy_from_slice(bytes);
        }
        if self.piece.capacity() < bytes.len() {
            self.piece = BytesMut::with_capacity(PIECE_BYTES);
        }
        self.piece.extend_from_slice(bytes);
        self.piece.split().freeze()
    }

    /// What is written now, into a vector that is empty.
    pub(crate) fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let mut written = mem::take(&mut self.written);
        write(&mut written);
        if written.len() > SHARED_BYTES_MAX {
            return written.into_boxed_slice().into();
        }
        let copy = self.copy(&written);
        written.clear();
        self.written = written;
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_what_was_copied_and_share_memory_where_they_are_small() {
        let mut copies = Copies::default();
        let texts: Vec<Vec<u8>> = (0..3000).map(|n: usize| vec![n as u8; n % 300]).collect();
        let copied: Vec<Bytes> = texts.iter().map(|text| copies.copy(text)).collect();
        assert!(copied.iter().zip(&texts).all(|(copy, text)| copy == text));
        let (one, other) = (copies.copy(b"one"), copies.copy(b"other"));
        assert_eq!(other.as_ptr() as usize - one.as_ptr() as usize, one.len());
    }

    #[test]
    fn what_is_written_has_nothing_of_what_was_written_before() {
        let mut copies = Copies::default();
        let texts: Vec<Vec<u8>> = (0..600).map(|n: usize| vec![n as u8; n * 7 % 300]).collect();
        for text in &texts {
            let written = copies.written(|out| out.extend_from_slice(text));
            assert!(written == *text);
        }
    }
}
