//! Makes the file of a store as small as it can be.

use super::StoreFolder;
use crate::error::Error;
use crate::store::whole;

impl StoreFolder {
    /// Makes the file of the store as small as it can be, and says how much it took on the disk before and takes now, in
    /// bytes. A hub gives back most of what it does not need by itself, when it starts. What is kept is moved in steps, each
    /// wholly or not at all: interrupted, even by a power cut, nothing is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Code::StorageFailed`](crate::Code::StorageFailed) if the file is damaged;
    /// [`Error::Configuration`] for one of another version of the program; [`Error::Io`], also on a disk that is too full: the
    /// file may be longer for a moment.
    pub fn compact(&self) -> Result<(u64, u64), Error> {
        let identity = self.identity()?;
        let _lock = self.alone()?;
        whole::compact(&self.path, identity)
    }
}
