//! Buffers to read into. What is read is handed on as slices of them; a buffer is used again once nobody holds a slice.
//! Without this each turn of a busy link asks the kernel for fresh pages: half the time of relaying 64 KiB events.

use std::io;

use bytes::BytesMut;

use super::Stream;

/// What one turn reads at most, in bytes, before others have theirs; and the size of a buffer.
const TURN_BYTES: usize = 256 << 10;

/// Buffers kept for use, between turns and while slices of them are under way: two for what is read now and before, two
/// for what is still being written.
const KEPT_MAX: usize = 4;

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There may be more.
    More,
    /// The socket is empty.
    Emptied,
    /// The connection has ended.
    Ended,
}

/// The buffers of one thread or one link.
#[derive(Default)]
pub(crate) struct Buffers {
    spare: Vec<BytesMut>,
}

impl Buffers {
    /// An empty buffer.
    pub(crate) fn take(&mut self) -> BytesMut {
        match self.spare.iter_mut().position(|spare| spare.try_reclaim(TURN_BYTES)) {
            Some(index) => self.spare.swap_remove(index),
            None => BytesMut::with_capacity(TURN_BYTES),
        }
    }

    /// Takes a buffer back; what is left in it is dropped.
    pub(crate) fn give_back(&mut self, mut buffer: BytesMut) {
        if self.spare.len() < KEPT_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Lets go of all buffers but one; for links that have become quiet. A buffer that only small reads use costs the
    /// memory of its first pages.
    pub(crate) fn shrink(&mut self) {
        self.spare.truncate(1);
    }

    /// Reads what is there, up to a turn's share, behind what `input` holds already.
    pub(crate) fn read(&mut self, stream: &Stream, input: &mut BytesMut) -> Turn {
        let mut read = 0;
        while read < TURN_BYTES {
            if input.capacity() - input.len() < TURN_BYTES / 4 && !input.try_reclaim(TURN_BYTES / 2) {
                let mut fresh = self.take();
                fresh.extend_from_slice(input);
                self.give_back(std::mem::replace(input, fresh));
            }
            let room = input.capacity() - input.len();
            match stream.try_read(input) {
                Ok(0) => return Turn::Ended,
                Ok(len) if len < room => return Turn::Emptied,
                Ok(len) => read += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Emptied,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Turn::Ended,
            }
        }
        Turn::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_nobody_holds_a_slice_of_it() {
        let mut buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.extend_from_slice(&[1; 1000]);
        let place = buffer.as_ptr();
        let slice = buffer.split_to(1000).freeze();
        buffers.give_back(buffer);
        let other = buffers.take();
        assert_ne!(other.as_ptr(), place, "a slice of the first is still held");
        drop(slice);
        assert_eq!(buffers.take().as_ptr(), place);
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let mut buffers = Buffers::default();
        for _ in 0..KEPT_MAX * 2 {
            buffers.give_back(BytesMut::with_capacity(TURN_BYTES));
        }
        assert_eq!(buffers.spare.len(), KEPT_MAX);
        buffers.shrink();
        assert_eq!(buffers.spare.len(), 1);
    }
}
