//! The frame that announces what a link lost: exact counts, in the place where the events are missing.

use super::{Frame, FrameError, Reader, put_short, put_u32};
use crate::limits::FRAGMENT_BYTES_MAX;

/// How many events of which topics were lost. Read by [`Lagged::numbered`] and [`Lagged::named`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged<'a> {
    pub(super) numbered: &'a [u8],
    pub(super) named: &'a [u8],
}

impl<'a> Lagged<'a> {
    /// Topics by number, with how many of their events were lost.
    pub fn numbered(self) -> impl Iterator<Item = (u32, u64)> + 'a {
        self.numbered.chunks_exact(12).map(|pair| {
            let (number, count) = pair.split_at(4);
            (
                u32::from_le_bytes(number.try_into().expect("4 bytes")),
                u64::from_le_bytes(count.try_into().expect("8 bytes")),
            )
        })
    }

    /// Topics by name (those without a number), with how many of their events were lost. The names are not validated.
    pub fn named(self) -> impl Iterator<Item = (&'a [u8], u64)> {
        let mut rest = Reader::new(self.named, 0);
        std::iter::from_fn(move || Some((rest.short_bytes("").ok()?, rest.u64("").ok()?)))
    }

    pub(super) fn read(mut fields: Reader<'a>) -> Result<Lagged<'a>, FrameError> {
        let count = fields.u32("how many topics have numbers")? as usize;
        let numbered = fields.bytes(count.saturating_mul(12), "a number and a count for each topic")?;
        let mut check = fields.clone();
        while !check.is_empty() {
            check.short_bytes("a name")?;
            check.u64("a count")?;
        }
        Ok(Lagged { numbered, named: fields.rest() })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        put_u32(out, u32::try_from(self.numbered.len() / 12).expect("a frame is shorter than 4 GiB"));
        out.extend_from_slice(self.numbered);
        out.extend_from_slice(self.named);
    }
}

/// Writes Lagged frames for these losses, as many as it takes, each no longer than a frame may be.
pub(crate) fn write_lagged<'n>(
    out: &mut Vec<u8>,
    numbered: impl Iterator<Item = (u32, u64)>,
    named: impl Iterator<Item = (&'n str, u64)>,
) {
    let (mut numbers, mut names) = (Vec::new(), Vec::new());
    let full = |numbers: &Vec<u8>, names: &Vec<u8>| numbers.len() + names.len() > FRAGMENT_BYTES_MAX - 1024;
    let flush = |numbers: &mut Vec<u8>, names: &mut Vec<u8>, out: &mut Vec<u8>| {
        if !(numbers.is_empty() && names.is_empty()) {
            Frame::Lagged(Lagged { numbered: numbers, named: names }).encode(out);
            numbers.clear();
            names.clear();
        }
    };
    for (number, count) in numbered {
        put_u32(&mut numbers, number);
        numbers.extend_from_slice(&count.to_le_bytes());
        if full(&numbers, &names) {
            flush(&mut numbers, &mut names, out);
        }
    }
    for (name, count) in named {
        put_short(&mut names, name.as_bytes());
        names.extend_from_slice(&count.to_le_bytes());
        if full(&numbers, &names) {
            flush(&mut numbers, &mut names, out);
        }
    }
    flush(&mut numbers, &mut names, out);
}
