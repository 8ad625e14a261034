//! Copies of small payloads, many in one piece of memory: a node takes in a million of them a second, and to ask for
//! memory for each, and give it back, costs more than the copying.

use bytes::{Bytes, BytesMut};

/// How much memory is asked for at a time, in bytes. A program that keeps one small payload keeps at most so much.
const PIECE_BYTES: usize = 2 << 10;

/// Payloads longer than this get memory of their own, in bytes: they would leave much of a piece unused.
const SHARED_BYTES_MAX: usize = 256;

/// What is left of the last piece.
#[derive(Default)]
pub(super) struct Copies(BytesMut);

impl Copies {
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > SHARED_BYTES_MAX {
            return Bytes::copy_from_slice(bytes);
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(PIECE_BYTES);
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
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
}
