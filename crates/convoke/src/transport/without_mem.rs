//! Links in memory where no hub can be in this program: there are none.

use std::sync::Arc;

use convoke_core::{Code, Refusal};

use crate::node::NodeShared;

/// What nobody ever has.
pub(crate) enum MemLink {}

/// Tells why there is no link.
pub(crate) fn connect(name: &str, _: &Arc<NodeShared>) -> Result<Arc<MemLink>, Refusal> {
    let text = format!("no hub listens on mem://{name}: this program was built without the feature `hub`");
    Err(Refusal::new(Code::Unreachable, text))
}

pub(crate) fn cut(link: &MemLink) {
    match *link {}
}

pub(crate) fn pump(link: &Arc<MemLink>) {
    match **link {}
}

pub(crate) fn is_idle(link: &MemLink) -> bool {
    match *link {}
}
