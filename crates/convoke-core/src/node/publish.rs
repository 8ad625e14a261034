//! What a node publishes: numbered, counted, and put behind what waits for its link.

use bytes::Bytes;

use super::{NodeState, Phase};
use crate::frame::{EVENT_HEAD_BYTES, EventHead, EventOrigin, HEADERS, NAMED, ORIGIN, write_event, write_headers};
use crate::limits::{NODE_BULK_BYTES_MAX, TOPICS_PER_LINK_MAX};
use crate::name::Name;
use crate::payload::{Encoding, Headers};
use crate::refusal::{Code, Refusal};

/// What is to be published on a name.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The name; checked when it is published on for the first time.
    pub name: &'a str,
    /// How the payload is to be read.
    pub encoding: Encoding,
    /// The payload.
    pub payload: &'a [u8],
    /// The pairs beside it.
    pub headers: &'a Headers,
}

/// A publication that waits for a link.
pub(super) struct Kept {
    name: String,
    encoding: Encoding,
    headers: Headers,
    payload: Bytes,
}

impl Kept {
    fn len(&self) -> usize {
        self.name.len()
            + self.payload.len()
            + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + 64
    }
}

impl NodeState {
    /// Takes an event and tells its place among this node's events, or zero for one that is kept until there is a link.
    /// It is written by the next [`transmit`](NodeState::transmit).
    ///
    /// # Errors
    ///
    /// In every case nothing was published. [`Code::Offline`] without a link, unless such events are kept;
    /// [`Code::Backpressure`] when too much waits already; [`Code::BadName`]; [`Code::Forbidden`] for a name of the hub's
    /// own; [`Code::TooLarge`] for a payload longer than the hub takes, or headers longer than 16 KiB.
    #[inline]
    pub fn publish(&mut self, what: Publication<'_>) -> Result<u64, Refusal> {
        if !self.is_joined() {
            return self.keep(what);
        }
        let full = self.lanes.bulk.bytes() > NODE_BULK_BYTES_MAX;
        if full {
            return Err(self.backpressure(what.name));
        }
        self.put(what, None)
    }

    /// Takes an event of another hub, as its link, saying where it was first. Without a link it is refused.
    ///
    /// # Errors
    ///
    /// As [`publish`](NodeState::publish).
    pub fn pass_on(&mut self, what: Publication<'_>, origin: EventOrigin) -> Result<u64, Refusal> {
        if !self.is_joined() {
            return Err(self.offline(&format!("publish on `{}`", what.name)));
        }
        if self.is_full() {
            return Err(self.backpressure(what.name));
        }
        self.put(what, Some(origin))
    }

    #[inline]
    fn put(&mut self, what: Publication<'_>, origin: Option<EventOrigin>) -> Result<u64, Refusal> {
        let headers = self.encode_headers(&what)?;
        let payload_bytes_max = self.welcome.payload_bytes_max as usize;
        if what.payload.len() + headers.len() > payload_bytes_max {
            return Err(too_large(what.name, what.payload.len() + headers.len(), payload_bytes_max));
        }
        let mut checked = None;
        let number = match self.numbers.get(what.name) {
            Some(number) => *number,
            None => self.new_name(checked.insert(check(what.name)?)),
        };
        self.seq += 1;
        let mut head = EventHead {
            len: 0,
            encoding: what.encoding,
            flags: if headers.is_empty() { 0 } else { HEADERS },
            topic: number,
            publisher: self.welcome.publisher,
            seq: self.seq,
        };
        let mut name = None;
        if number == 0 {
            head.flags |= NAMED;
            // As it was checked: it may have been given in its URL form.
            name = Some(checked.as_ref().map_or(what.name, Name::as_str));
        }
        if let Some(origin) = origin {
            head.flags |= ORIGIN;
            let before = [&origin.encode(), &headers[..]].concat();
            self.lanes.bulk.append(|out| write_event(out, head, name, &before, what.payload));
            return Ok(self.seq);
        }
        self.lanes.bulk.append(|out| write_event(out, head, name, &headers, what.payload));
        Ok(self.seq)
    }

    fn encode_headers(&self, what: &Publication<'_>) -> Result<Vec<u8>, Refusal> {
        if what.headers.is_empty() {
            return Ok(Vec::new());
        }
        write_headers(what.headers).ok_or_else(|| {
            let text = format!("publish on `{}`: the headers are longer than 16 KiB", what.name);
            Refusal::new(Code::TooLarge, text)
        })
    }

    /// Notes a name that was not published on since the link was made, at least as it is given now. It goes by name until
    /// the hub tells its number.
    #[cold]
    fn new_name(&mut self, name: &Name) -> u32 {
        if let Some(number) = self.numbers.get(name.as_str()) {
            return *number;
        }
        if self.numbers.len() < TOPICS_PER_LINK_MAX {
            self.numbers.insert(name.as_str().to_owned(), 0);
        }
        0
    }

    #[cold]
    fn backpressure(&self, name: &str) -> Refusal {
        let text = format!("publish on `{name}`: {NODE_BULK_BYTES_MAX} bytes wait for the link already");
        Refusal::new(Code::Backpressure, text)
    }

    /// What becomes of an event without a link.
    #[cold]
    fn keep(&mut self, what: Publication<'_>) -> Result<u64, Refusal> {
        let name = check(what.name)?;
        if self.config.offline_bytes_max == 0 || matches!(self.phase, Phase::Ended) {
            return Err(self.offline(&format!("publish on `{name}`")));
        }
        self.encode_headers(&what)?;
        let kept = Kept {
            name: name.as_str().to_owned(),
            encoding: what.encoding,
            headers: what.headers.clone(),
            payload: Bytes::copy_from_slice(what.payload),
        };
        if self.offline_bytes + kept.len() > self.config.offline_bytes_max {
            let text = format!(
                "publish on `{name}`: `{}` is offline, and the {} bytes that may wait for a link are used up",
                self.config.name, self.config.offline_bytes_max
            );
            return Err(Refusal::new(Code::Backpressure, text));
        }
        self.offline_bytes += kept.len();
        self.offline.push_back(kept);
        Ok(0)
    }

    /// Publishes what was kept, in its order. What the hub of this link does not take is told like any refused event.
    pub(super) fn publish_kept(&mut self) {
        self.offline_bytes = 0;
        for kept in std::mem::take(&mut self.offline) {
            let Kept { name, encoding, headers, payload } = &kept;
            let what = Publication { name, encoding: *encoding, payload, headers };
            if let Err(refusal) = self.put(what, None) {
                self.refused.push((0, refusal));
            }
        }
    }

    /// Forgets what was kept for a link, as none will come; tells how many events that were.
    pub fn forget_kept(&mut self) -> u64 {
        self.offline_bytes = 0;
        std::mem::take(&mut self.offline).len() as u64
    }

    /// How many of its events the hub is not known to have received.
    pub fn unsettled(&self) -> u64 {
        self.seq - self.received
    }

    /// Whether [`publish`](NodeState::publish) would be refused for what waits already.
    pub fn is_full(&self) -> bool {
        self.lanes.bulk.bytes() > NODE_BULK_BYTES_MAX
    }

    /// Bytes of events that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.lanes.bulk.bytes()
    }
}

fn check(name: &str) -> Result<Name, Refusal> {
    let name = Name::parse(name).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
    if name.is_reserved() {
        let text = format!("publish on `{name}`: names that begin with `$` are the hub's own");
        return Err(Refusal::new(Code::Forbidden, text));
    }
    Ok(name)
}

fn too_large(name: &str, len: usize, max: usize) -> Refusal {
    debug_assert!(max < u32::MAX as usize + EVENT_HEAD_BYTES);
    let text = format!("publish on `{name}`: the payload has {len} bytes, and this hub takes at most {max}");
    Refusal::new(Code::TooLarge, text)
}
