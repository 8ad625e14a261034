//! How two programs prove to each other that they know the same token, without sending it.
//!
//! Both hash what was said so far (the prefaces, the Hello and the hub's nonce) and answer with an HMAC-SHA-256 of it
//! under a key derived from the token. The hub proves itself first, so a node never proves anything to whoever happens to
//! listen. Since the Hello is part of what is proved, nobody in between can change the name that joins.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What is kept of a token, and all that either side needs to prove it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// The key of a token. Costs two SHA-256 blocks: tokens are random, so nothing slower is needed against guessing.
    pub fn derive(token: &[u8]) -> TokenKey {
        TokenKey(mac(token, b"convoke 1 token", &[]))
    }

    /// A key from its bytes, as [`TokenKey::to_bytes`] gave them.
    pub const fn from_bytes(bytes: [u8; 32]) -> TokenKey {
        TokenKey(bytes)
    }

    /// The bytes, to be kept like the token itself: who has them can join.
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    pub(crate) fn hub(&self, transcript: &Transcript) -> [u8; 32] {
        mac(&self.0, b"convoke 1 hub", &transcript.0)
    }

    pub(crate) fn node(&self, transcript: &Transcript) -> [u8; 32] {
        mac(&self.0, b"convoke 1 node", &transcript.0)
    }

    /// The secret by which this incarnation is known when it comes back.
    pub(crate) fn resume(&self, transcript: &Transcript) -> TokenKey {
        TokenKey(mac(&self.0, b"convoke 1 resume", &transcript.0))
    }

    /// That who comes back knows this secret.
    pub(crate) fn resumed(&self, transcript: &Transcript) -> [u8; 32] {
        mac(&self.0, b"convoke 1 resumed", &transcript.0)
    }

    /// The key where the transport has already told who the other side is.
    pub(crate) const TRUSTED: TokenKey = TokenKey([0; 32]);
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(secret)")
    }
}

/// The hash of what both sides have seen.
pub(crate) struct Transcript([u8; 32]);

impl Transcript {
    pub(crate) fn new(node_preface: &[u8], hub_preface: &[u8], hello: &[u8], hub_nonce: &[u8; 32]) -> Transcript {
        let mut hash = Sha256::new();
        for part in [node_preface, hub_preface, hello, hub_nonce] {
            hash.update(part);
        }
        Transcript(hash.finalize().into())
    }
}

/// Compares in constant time.
pub(crate) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

fn mac(key: &[u8], label: &[u8], rest: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(label);
    mac.update(rest);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_and_node_prove_different_things_under_one_token() {
        let key = TokenKey::derive(b"token");
        let transcript = Transcript::new(b"a", b"b", b"c", &[7; 32]);
        assert_ne!(key.hub(&transcript), key.node(&transcript));
        assert_ne!(key.hub(&transcript), TokenKey::derive(b"tokem").hub(&transcript));
        assert_ne!(key.hub(&transcript), key.hub(&Transcript::new(b"a", b"b", b"d", &[7; 32])));
    }

    #[test]
    fn the_key_is_the_hmac_of_rfc_2104() {
        // HMAC-SHA-256("key", "The quick brown fox jumps over the lazy dog"), a widely published vector.
        let expected = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        let got = mac(b"key", b"The quick brown fox ", b"jumps over the lazy dog");
        assert_eq!(got.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), expected);
    }

    #[test]
    fn a_key_is_never_printed() {
        assert_eq!(format!("{:?}", TokenKey::derive(b"secret")), "TokenKey(secret)");
    }
}
