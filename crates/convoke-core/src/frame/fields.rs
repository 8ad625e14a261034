//! Reading the fields of a frame, one after the other, without ever reading past its end; and writing them.

use std::fmt;

/// Where and how bytes stopped being a frame. It ends the link they came on, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// Bytes from the start of the frame.
    pub offset: usize,
    /// What should have been there.
    pub expected: &'static str,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {} of a frame", self.expected, self.offset)
    }
}

impl std::error::Error for FrameError {}

/// A cursor over the fields of one frame. Every read says what it expects, for the error.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A cursor over `fields`, which begin `offset` bytes into their frame.
    pub const fn new(fields: &'a [u8], offset: usize) -> Reader<'a> {
        Reader { rest: fields, offset }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    ///
    /// Fewer are there. All the readers below fail the same way.
    pub fn bytes(&mut self, len: usize, expected: &'static str) -> Result<&'a [u8], FrameError> {
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            return Err(FrameError { offset: self.offset, expected });
        };
        self.rest = rest;
        self.offset += len;
        Ok(bytes)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], FrameError> {
        Ok(self.bytes(N, expected)?.try_into().expect("N bytes were taken"))
    }

    /// One byte.
    pub fn u8(&mut self, expected: &'static str) -> Result<u8, FrameError> {
        Ok(self.array::<1>(expected)?[0])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, expected: &'static str) -> Result<u16, FrameError> {
        Ok(u16::from_le_bytes(self.array(expected)?))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, expected: &'static str) -> Result<u32, FrameError> {
        Ok(u32::from_le_bytes(self.array(expected)?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, expected: &'static str) -> Result<u64, FrameError> {
        Ok(u64::from_le_bytes(self.array(expected)?))
    }

    /// A `u16` length and so many bytes.
    pub fn short_bytes(&mut self, expected: &'static str) -> Result<&'a [u8], FrameError> {
        let len = self.u16(expected)?;
        self.bytes(usize::from(len), expected)
    }

    /// A `u16` length and so many bytes of UTF-8.
    pub fn short_text(&mut self, expected: &'static str) -> Result<&'a str, FrameError> {
        let offset = self.offset;
        std::str::from_utf8(self.short_bytes(expected)?).map_err(|_| FrameError { offset, expected })
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = std::mem::take(&mut self.rest);
        self.offset += rest.len();
        rest
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Where the cursor is, in bytes from the start of the frame.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// Bytes after the last field.
    pub fn end(self) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FrameError { offset: self.offset, expected: "the end of the frame" })
        }
    }
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// A `u16` length and the bytes. What is longer than 4 KiB is cut: only sentences can be.
pub(crate) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut len = bytes.len().min(4096);
    while len < bytes.len() && len > 0 && bytes[len] & 0xc0 == 0x80 {
        len -= 1;
    }
    out.extend_from_slice(&(len as u16).to_le_bytes());
    out.extend_from_slice(&bytes[..len]);
}

pub(super) fn put_named(out: &mut Vec<u8>, number: u32, name: &[u8]) {
    put_u32(out, number);
    put_short(out, name);
}
