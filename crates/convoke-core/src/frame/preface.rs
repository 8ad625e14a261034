//! The first eight bytes of a link, in each direction: that it is one, and the versions that its side speaks.

use super::FrameError;

/// The first eight bytes of a link: four that no text, TLS, MQTT or HTTP begins with, then the lowest and the highest
/// version of the protocol that the sender speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// The lowest version spoken.
    pub lowest: u16,
    /// The highest version spoken.
    pub highest: u16,
}

impl Preface {
    /// Length in bytes.
    pub const BYTES: usize = 8;
    /// What every preface begins with.
    pub const MAGIC: [u8; 4] = [0xcf, b'c', b'n', b'v'];
    /// The versions this implementation speaks.
    pub const OURS: Preface = Preface { lowest: 1, highest: 1 };

    /// The preface as it is sent.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let [m0, m1, m2, m3] = Self::MAGIC;
        let ([l0, l1], [h0, h1]) = (self.lowest.to_le_bytes(), self.highest.to_le_bytes());
        [m0, m1, m2, m3, l0, l1, h0, h1]
    }

    /// Reads a preface; `None` while fewer than eight bytes are there and all so far fit.
    ///
    /// # Errors
    ///
    /// What else the first bytes look like, where that is known (TLS, HTTP, MQTT, SSH).
    pub fn decode(input: &[u8]) -> Result<Option<Preface>, FrameError> {
        let given = &input[..input.len().min(4)];
        if !Self::MAGIC.starts_with(given) {
            return Err(FrameError { offset: 0, expected: guess(input) });
        }
        let Some(&[_, _, _, _, l0, l1, h0, h1]) = input.get(..Self::BYTES) else { return Ok(None) };
        let (lowest, highest) = (u16::from_le_bytes([l0, l1]), u16::from_le_bytes([h0, h1]));
        Ok(Some(Preface { lowest, highest }))
    }

    /// The highest version both speak.
    pub fn agree(self, other: Preface) -> Option<u16> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest) && highest > 0).then_some(highest)
    }
}

/// What a link that does not begin with the preface might be instead.
fn guess(input: &[u8]) -> &'static str {
    match input.first() {
        Some(0x16) => "the preface of a Convoke link (this looks like TLS, which this address does not speak)",
        Some(0x10) => "the preface of a Convoke link (this looks like MQTT, which this address does not speak)",
        Some(b'A'..=b'Z') if !input.starts_with(b"SSH") => {
            "the preface of a Convoke link (this looks like HTTP or text, which this address does not speak)"
        }
        _ => "the preface of a Convoke link",
    }
}
