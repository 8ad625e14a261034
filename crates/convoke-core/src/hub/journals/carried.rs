//! What links of other hubs append to journals: who may, and in whose name.

use super::super::{HubState, LinkId};
use crate::frame::{Append, Appended, Brought, Carried};
use crate::journal::Origin;
use crate::kept::HERE;
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::rights::{Verb, allow};

/// What is to be allowed on the journal.
pub(super) fn verb_of(appended: &Appended<'_>) -> Verb {
    match appended {
        Appended::Commands { .. } => Verb::Execute,
        Appended::Carried(Carried { brought: Brought::Commands { .. } | Brought::Nothing, .. }) => Verb::Execute,
        Appended::Snapshot(_) | Appended::Compact(_) => Verb::Snapshot,
        Appended::Undo(_) | Appended::Redo(_) | Appended::Carried(_) => Verb::Undo,
    }
}

impl HubState {
    /// Of an entry of another hub: checks that this is a link of one and that it may speak for the author, who is given too;
    /// and says of what was here first that it was.
    pub(super) fn take_carried<'a>(
        &mut self,
        id: LinkId,
        journal: &Name,
        append: Append<'a>,
    ) -> Result<(Append<'a>, Option<Name>), Refusal> {
        let Appended::Carried(mut carried) = append.appended else { return Ok((append, None)) };
        self.check_uplink(id)?;
        let this = self.identity.hub;
        let here = |origin: &mut Origin| {
            if origin.hub == this {
                origin.hub = HERE;
            }
        };
        if carried.carrier == this || carried.carrier == HERE {
            let text = format!("append to `{journal}`: the uplink leads to this hub itself, or to none");
            return Err(Refusal::new(Code::BadRequest, text));
        }
        let author = match &mut carried.brought {
            Brought::Nothing => None,
            Brought::Commands { origin, author, .. } => {
                here(origin);
                Some(*author)
            }
            Brought::Back { origin, author, target, .. } => {
                here(origin);
                here(target);
                Some(*author)
            }
        };
        let author = author.map(Name::from_bytes).transpose();
        let author = author.map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        if let (Some(author), Some(joined)) = (&author, self.links.joined(id))
            && *author != joined.author
            && *author != joined.principal.name
            && !allow(&joined.principal, Verb::Author, author.as_str())
        {
            let what = format!("append to `{journal}` in the name of `{author}`");
            return Err(joined.principal.forbidden(&what, Verb::Author, author.as_str()));
        }
        Ok((Append { appended: Appended::Carried(carried), ..append }, author))
    }
}
