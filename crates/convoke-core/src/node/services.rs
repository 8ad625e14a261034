//! The node's side of services: what it offers, the calls it handles, and the calls it makes.
//!
//! `caller` holds the calls that it has made, until their ends; `provider` those that it was given, and what became of
//! them, so that none is handled twice.

mod caller;
mod provider;

use std::collections::BTreeMap;

pub use caller::{CallEnd, CallRequest, Selector};
pub use provider::{Incoming, IncomingCall};

use super::{NodeState, Phase, RequestId};
use crate::frame::Frame;
use crate::limits::{LINK_CONTROL_BYTES_MAX, SERVICES_PER_LINK_MAX};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// A service that this node offers.
struct Registration {
    service: Name,
    idempotent: bool,
    /// The hub has taken it at least once.
    begun: bool,
    /// The hub was asked on this link.
    asked: bool,
}

/// Everything about services.
#[derive(Default)]
pub(super) struct Services {
    registrations: BTreeMap<u32, Registration>,
    caller: caller::Caller,
    provider: provider::Provider,
}

impl Services {
    pub(super) fn has_registration(&self, id: u32) -> bool {
        self.registrations.contains_key(&id)
    }

    /// Nothing is offered.
    pub(super) fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }

    /// Not later than the first deadline of a call.
    pub(super) fn due(&self) -> Option<Time> {
        self.caller.due()
    }
}

impl NodeState {
    /// Whether it offers any service.
    pub fn is_provider(&self) -> bool {
        !self.services.is_empty()
    }

    /// Offers a service from now on, over reconnections too, until [`unserve`](NodeState::unserve). Its number is also
    /// that of the request, which is answered when the hub has taken it. Without a link it waits for one. `idempotent` says
    /// that a call may be given to another provider when it is not known whether this one has handled it.
    ///
    /// # Errors
    ///
    /// The node has ended; [`Code::Limit`] when it offers all that it may; [`Code::Backpressure`] when the link has yet to
    /// take what was asked before.
    pub fn serve(&mut self, service: Name, idempotent: bool) -> Result<RequestId, Refusal> {
        if let Phase::Ended = self.phase {
            return Err(self.offline(&format!("service `{service}`")));
        }
        if self.services.registrations.len() >= SERVICES_PER_LINK_MAX {
            let text = format!("service `{service}`: `{}` offers {SERVICES_PER_LINK_MAX} already", self.config.name);
            return Err(Refusal::new(Code::Limit, text));
        }
        if self.lanes.control.len() > LINK_CONTROL_BYTES_MAX {
            let text = format!("service `{service}`: too much waits for the link already");
            return Err(Refusal::new(Code::Backpressure, text));
        }
        let id = self.next_id();
        let registration = Registration { service, idempotent, begun: false, asked: false };
        self.services.registrations.insert(id, registration);
        if self.is_joined() {
            self.ask_registration(id);
        }
        self.attend();
        Ok(id)
    }

    /// Withdraws a registration. Calls that were given to it go on, and are answered.
    pub fn unserve(&mut self, id: RequestId) {
        let Some(registration) = self.services.registrations.remove(&id) else { return };
        self.unattend();
        if self.is_joined() && registration.asked {
            Frame::Unsubscribe { id }.encode(&mut self.lanes.control);
        }
    }

    fn ask_registration(&mut self, id: u32) {
        if let Some(registration) = self.services.registrations.get_mut(&id) {
            registration.asked = true;
            let Registration { service, idempotent, .. } = registration;
            let serve = Frame::Serve { id, idempotent: *idempotent, service: service.as_str().as_bytes() };
            serve.encode(&mut self.lanes.control);
        }
    }

    /// The hub has answered a Serve.
    pub(super) fn registered(&mut self, id: u32, result: Result<u64, Refusal>) {
        let Some(registration) = self.services.registrations.get_mut(&id) else { return };
        match result {
            Ok(_) if registration.begun => {}
            Ok(_) => {
                registration.begun = true;
                self.answers.push((id, Ok(0)));
            }
            Err(why) => {
                let begun = registration.begun;
                self.services.registrations.remove(&id);
                self.unattend();
                if begun {
                    self.services.provider.incoming.push(Incoming::Ended { registration: id, why });
                } else {
                    self.answers.push((id, Err(why)));
                }
            }
        }
    }

    /// The node has joined: what it offers and what it waits for comes back.
    pub(super) fn resume_services(&mut self, same_hub: bool, resumed: bool) {
        let ids: Vec<u32> = self.services.registrations.keys().copied().collect();
        for id in ids {
            self.ask_registration(id);
        }
        if !same_hub {
            self.services.provider.forget_numbers();
        }
        self.resume_calls(resumed);
    }

    /// The link is gone.
    pub(super) fn pause_services(&mut self) {
        for registration in self.services.registrations.values_mut() {
            registration.asked = false;
        }
        self.services.caller.link_lost();
    }

    /// The node has ended.
    pub(super) fn end_services(&mut self, why: &Refusal) {
        for (id, registration) in std::mem::take(&mut self.services.registrations) {
            if registration.begun {
                self.services.provider.incoming.push(Incoming::Ended { registration: id, why: why.clone() });
            } else {
                self.answers.push((id, Err(why.clone())));
            }
        }
        self.end_calls(why);
    }
}
