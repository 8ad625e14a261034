//! Who may do what: one function, asked for every verb and at every delivery, whatever the transport.

use crate::name::Name;

/// Who is on the other end of a link, as it was proved when the link joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The name of the token, or of the user that the transport vouches for.
    pub name: Name,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To publish events on a name.
    Publish,
    /// To receive the events of a name.
    Subscribe,
    /// To offer a service of a name.
    Serve,
    /// To call a service of a name.
    Call,
    /// To read the value of a name, once or as it changes.
    Get,
    /// To change the value of a name.
    Set,
}

/// Whether `principal` may do `verb` on `name`. Today every principal is an admin: what is refused is what only the hub
/// itself may do.
pub fn allow(_principal: &Principal, verb: Verb, name: &str) -> bool {
    match verb {
        Verb::Publish | Verb::Set | Verb::Serve => !name.starts_with('$'),
        Verb::Subscribe | Verb::Get | Verb::Call => true,
    }
}
