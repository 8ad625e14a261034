//! Several changes of values that happen together or not at all.

use convoke_core::frame::Expect;
use convoke_core::{Payload, Rev};
use serde::Serialize;

use super::Node;
use super::values::{SetOptions, Wanted};
use crate::error::Error;

/// Changes of values that happen together or not at all, under one revision: 1 to 256 of them, 1 MiB of payloads at most
/// (unless the hub is configured otherwise), and no key twice. Nothing is sent before [`commit`](Batch::commit).
#[derive(Clone, Debug)]
#[must_use = "nothing happens before it is committed"]
pub struct Batch {
    node: Node,
    wanted: Vec<Wanted>,
}

impl Batch {
    /// Sets a value, as MessagePack with named fields.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`], [`Error::BadPayload`]; so do those below.
    pub fn set<T: Serialize + ?Sized>(self, name: impl AsRef<str>, value: &T) -> Result<Batch, Error> {
        self.set_with(name, value, SetOptions::default())
    }

    /// As [`set`](Batch::set), with options.
    ///
    /// # Errors
    ///
    /// As [`set`](Batch::set).
    pub fn set_with<T: Serialize + ?Sized>(
        self,
        name: impl AsRef<str>,
        value: &T,
        options: SetOptions,
    ) -> Result<Batch, Error> {
        self.set_payload(name, Payload::encode(value)?, options)
    }

    /// As [`set_with`](Batch::set_with), with a payload in any encoding.
    ///
    /// # Errors
    ///
    /// As [`set`](Batch::set).
    pub fn set_payload(self, name: impl AsRef<str>, payload: Payload, options: SetOptions) -> Result<Batch, Error> {
        let wanted = Wanted::set(name.as_ref(), payload, options)?;
        Ok(self.and(wanted))
    }

    /// Sets every key that exists and matches.
    ///
    /// # Errors
    ///
    /// As [`set`](Batch::set).
    pub fn set_every<T: Serialize + ?Sized>(self, pattern: impl AsRef<str>, value: &T) -> Result<Batch, Error> {
        let wanted = Wanted::every(pattern.as_ref(), Some(Payload::encode(value)?))?;
        Ok(self.and(wanted))
    }

    /// Deletes a value, if there is one.
    ///
    /// # Errors
    ///
    /// As [`set`](Batch::set).
    pub fn delete(self, name: impl AsRef<str>) -> Result<Batch, Error> {
        self.delete_with(name, Expect::Anything)
    }

    /// Deletes a value, if what is expected is so; otherwise nothing of the batch happens.
    ///
    /// # Errors
    ///
    /// As [`set`](Batch::set).
    pub fn delete_with(self, name: impl AsRef<str>, expect: Expect) -> Result<Batch, Error> {
        let wanted = Wanted::delete(name.as_ref(), expect)?;
        Ok(self.and(wanted))
    }

    /// Deletes every key that matches.
    ///
    /// # Errors
    ///
    /// As [`set`](Batch::set).
    pub fn delete_every(self, pattern: impl AsRef<str>) -> Result<Batch, Error> {
        let wanted = Wanted::every(pattern.as_ref(), None)?;
        Ok(self.and(wanted))
    }

    fn and(mut self, wanted: Wanted) -> Batch {
        self.wanted.push(wanted);
        self
    }

    /// Asks for all of it, and tells the revision when it is kept; the default one if it changed nothing.
    ///
    /// # Errors
    ///
    /// As [`Node::set`], which also says when it waits and what dropping the future means; [`Error::Conflict`] if
    /// something is not as one of the changes expects; [`Error::Refused`] with no change, with too many, or with two of
    /// the same key. Unless it is [`Error::Unanswered`], nothing of it was written.
    pub async fn commit(self) -> Result<Rev, Error> {
        Ok(self.node.write(&self.wanted).await?.rev)
    }
}

impl Node {
    /// Begins several changes of values that happen together or not at all.
    pub fn batch(&self) -> Batch {
        Batch { node: self.clone(), wanted: Vec::new() }
    }
}
