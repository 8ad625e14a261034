//! The frame that announces what a link lost: exact counts, in the place where the events are missing.

use super::{Frame, FrameError, Reader, put_short, put_u32};
use crate::limits::FRAGMENT_BYTES_MAX;

/// How many events of which topics were lost. Read by [`Lagged::numbered`], [`Lagged::groups`] and [`Lagged::named`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged<'a> {
    pub(super) numbered: &'a [u8],
    pub(super) groups: &'a [u8],
    pub(super) named: &'a [u8],
}

impl<'a> Lagged<'a> {
    /// Topics by number, with how many of their events were lost.
    pub fn numbered(self) -> impl Iterator<Item = (u32, u64)> + 'a {
        counts(self.numbered)
    }

    /// Subscriptions that are members of a group, with how many events were lost that were for them alone.
    pub fn groups(self) -> impl Iterator<Item = (u32, u64)> + 'a {
        counts(self.groups)
    }

    /// Topics by name (those without a number), with how many of their events were lost. The names are not validated.
    pub fn named(self) -> impl Iterator<Item = (&'a [u8], u64)> {
        let mut rest = Reader::new(self.named, 0);
        std::iter::from_fn(move || Some((rest.short_bytes("").ok()?, rest.u64("").ok()?)))
    }

    pub(super) fn read(mut fields: Reader<'a>) -> Result<Lagged<'a>, FrameError> {
        let count = fields.u32("how many topics have numbers")? as usize;
        let numbered = fields.bytes(count.saturating_mul(12), "a number and a count for each topic")?;
        let count = fields.u32("how many subscriptions of groups there are")? as usize;
        let groups = fields.bytes(count.saturating_mul(12), "a number and a count for each subscription")?;
        let mut check = fields.clone();
        while !check.is_empty() {
            check.short_bytes("a name")?;
            check.u64("a count")?;
        }
        Ok(Lagged { numbered, groups, named: fields.rest() })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        for pairs in [self.numbered, self.groups] {
            put_u32(out, u32::try_from(pairs.len() / 12).expect("a frame is shorter than 4 GiB"));
            out.extend_from_slice(pairs);
        }
        out.extend_from_slice(self.named);
    }
}

/// Pairs of a number and a count.
fn counts(pairs: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    pairs.chunks_exact(12).map(|pair| {
        let (number, count) = pair.split_at(4);
        (
            u32::from_le_bytes(number.try_into().expect("4 bytes")),
            u64::from_le_bytes(count.try_into().expect("8 bytes")),
        )
    })
}

/// Writes Lagged frames for these losses, as many as it takes, each no longer than a frame may be.
pub(crate) fn write_lagged<'n>(
    out: &mut Vec<u8>,
    numbered: impl Iterator<Item = (u32, u64)>,
    groups: impl Iterator<Item = (u32, u64)>,
    named: impl Iterator<Item = (&'n str, u64)>,
) {
    let mut frame = Pieces::default();
    let pair = |pairs: &mut Vec<u8>, number: u32, count: u64| {
        put_u32(pairs, number);
        pairs.extend_from_slice(&count.to_le_bytes());
    };
    for (number, count) in numbered {
        pair(&mut frame.numbered, number, count);
        frame.flush_when_full(out);
    }
    for (number, count) in groups {
        pair(&mut frame.groups, number, count);
        frame.flush_when_full(out);
    }
    for (name, count) in named {
        put_short(&mut frame.named, name.as_bytes());
        frame.named.extend_from_slice(&count.to_le_bytes());
        frame.flush_when_full(out);
    }
    frame.flush(out);
}

/// The fields of the Lagged that grows.
#[derive(Default)]
struct Pieces {
    numbered: Vec<u8>,
    groups: Vec<u8>,
    named: Vec<u8>,
}

impl Pieces {
    fn len(&self) -> usize {
        self.numbered.len() + self.groups.len() + self.named.len()
    }

    fn flush_when_full(&mut self, out: &mut Vec<u8>) {
        if self.len() > FRAGMENT_BYTES_MAX - 1024 {
            self.flush(out);
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if self.len() > 0 {
            let Pieces { numbered, groups, named } = std::mem::take(self);
            Frame::Lagged(Lagged { numbered: &numbered, groups: &groups, named: &named }).encode(out);
        }
    }
}
