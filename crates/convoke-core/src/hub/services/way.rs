//! The way of a call: to a provider, and of its end back to the caller.

use super::calls::{self, Kept, NONE, Selected, State};
use super::choose::Missing;
use super::{HubState, LinkId, NO_PARTY, Offer, Party, Services};
use crate::bug::{Bug, planted};
use crate::frame::{Call, Content, End, Frame, Handle, Incarnation, Reply, Select};
use crate::hub::Dropped;
use crate::hub::links::Joined;
use crate::limits::{
    CALL_REFUSALS_MAX, CALL_TIME_DEFAULT, CALL_TIME_MAX, CALLS_KEPT_BYTES_MAX, CALLS_PER_CALLER_MAX,
    CALLS_WAITING_PER_NAME_MAX, LINK_CALLS_BYTES_MAX, LINK_REPLIES_BYTES_MAX, PROVIDER_AWAY_TIME_MAX,
    REPLIES_KEPT_BYTES_MAX,
};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::rights::{Verb, allow};
use crate::time::Time;

/// What who is refused for too many open calls is told to wait, in milliseconds: most calls end sooner.
const BUSY_MS: u32 = 50;

impl HubState {
    /// A node calls. Whatever becomes of it is told by a Reply.
    pub(in crate::hub) fn call(&mut self, id: LinkId, call: Call<'_>) -> Result<(), Refusal> {
        let Some(caller) = self.party(id) else { return Ok(()) };
        let party = &mut self.services.parties[caller];
        if call.again {
            if self.called_again(caller, &call) {
                return Ok(());
            }
        } else {
            if call.number <= party.last {
                return Err(Refusal::new(Code::BadFrame, "bad frame: numbers of calls grow"));
            }
            if !party.kept.is_empty() {
                // What it did not ask for again by now, it does not want.
                party.kept.clear();
                party.kept_bytes = 0;
            }
        }
        let party = &mut self.services.parties[caller];
        party.last = party.last.max(call.number);
        if let Err(refusal) = self.begin(id, caller, &call) {
            self.answer(caller, call.number, End::Refused { code: refusal.code, text: &refusal.text });
        }
        Ok(())
    }

    fn begin(&mut self, id: LinkId, caller: u32, call: &Call<'_>) -> Result<(), Refusal> {
        if call.service == super::backup::SERVICE.as_bytes() {
            return self.want_backup(id, call);
        }
        let max = self.config.payload_bytes_max;
        if call.content.bytes.len() > max {
            let why = format!("it has {} bytes, and this hub takes at most {max}", call.content.bytes.len());
            return Err(refusal(Code::TooLarge, call.service, &why));
        }
        if self.services.parties[caller].numbers.len() >= CALLS_PER_CALLER_MAX {
            let node = &self.services.parties[caller].node;
            let why = format!(
                "`{node}` has {CALLS_PER_CALLER_MAX} open calls, which is all it may have; try again in {BUSY_MS} ms"
            );
            return Err(refusal(Code::Busy, call.service, &why));
        }
        let service = match self.services.find(call.service) {
            Some(service) => {
                let HubState { links, services, .. } = self;
                check_call(links.joined(id), services.all[service].name.as_str())?;
                service
            }
            None => {
                let name =
                    Name::from_bytes(call.service).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
                // Whether somebody offers it is told to those who may call it.
                check_call(self.links.joined(id), name.as_str())?;
                if !call.wait {
                    return Err(missing(&name, call.select, Missing::Provider));
                }
                self.services.find_or_insert(&name)
            }
        };
        match self.choose(service, call.select, &[]) {
            Ok(offer) => {
                let place = self.insert(caller, call);
                self.give(place, offer, call.content);
                Ok(())
            }
            Err(why) if call.wait && why.can_be_waited_for() => {
                let place = self.insert(caller, call);
                self.wait(place, service, call.content);
                Ok(())
            }
            Err(why) => Err(missing(&self.services.all[service].name, self.meant(call.select), why)),
        }
    }

    /// A new open call, which is in no list yet.
    fn insert(&mut self, caller: u32, call: &Call<'_>) -> u32 {
        let left = match call.left_ms {
            0 => CALL_TIME_DEFAULT,
            millis => std::time::Duration::from_millis(millis.into()).min(CALL_TIME_MAX),
        };
        let due = self.now + left;
        let services = &mut self.services;
        let party = &mut services.parties[caller];
        let place = services.calls.insert(caller, party.incarnation, call.number, due);
        party.numbers.insert(call.number, place);
        let open = &mut services.calls[place];
        (open.wait, open.select) = (call.wait, Selected::new(call.select));
        services.due_by(due);
        place
    }

    /// Gives a call that is in no list to a provider.
    pub(super) fn give(&mut self, place: u32, offer: u32, content: Content<'_>) {
        let now = self.now;
        let Services { calls, offers, parties, kept_bytes, .. } = &mut self.services;
        let id = calls.id(place);
        let call = &mut calls[place];
        let Some(link) = parties[offers[offer].party].link else { unreachable!("who is listed has a link") };
        let Some(state) = self.links.get_mut(link) else { unreachable!("who is listed has a link") };
        let caller = &parties[call.caller];
        let handle = Handle {
            id,
            registration: offers[offer].number,
            left_ms: call.due.left_ms(now),
            incarnation: call.incarnation,
            number: call.number,
            caller: caller.node.as_str().as_bytes(),
            author: caller.author.as_str().as_bytes(),
            content,
        };
        Frame::Handle(handle).encode(&mut state.lanes.calls);
        state.lanes.calls_appended += 1;
        call.order = state.lanes.calls_appended;
        (call.state, call.place, call.provider) = (State::Given, offer, offers[offer].party);
        let offer = &mut offers[offer];
        offer.open += 1;
        if !offer.idempotent {
            *kept_bytes -= call.kept.take().map_or(0, |kept| kept.len());
        } else if call.kept.is_none() {
            keep(&mut call.kept, kept_bytes, content);
        }
        calls.push(&mut parties[offer.party].handling, place);
        self.touch(link);
    }

    /// Lets a call that is in no list wait for a provider.
    pub(super) fn wait(&mut self, place: u32, service: u32, content: Content<'_>) {
        let Services { calls, all, kept_bytes, .. } = &mut self.services;
        let call = &mut calls[place];
        (call.state, call.place) = (State::Waiting, service);
        let why = if all[service].waiting.len() >= CALLS_WAITING_PER_NAME_MAX {
            Some(format!(
                "{CALLS_WAITING_PER_NAME_MAX} calls wait for a provider, which is all that can; try again later"
            ))
        } else if call.kept.is_none() && !keep(&mut call.kept, kept_bytes, content) {
            Some(format!("no more than {CALLS_KEPT_BYTES_MAX} bytes of calls can wait for providers"))
        } else {
            None
        };
        calls.push(&mut all[service].waiting, place);
        if let Some(why) = why {
            let refused = refusal(Code::Busy, all[service].name.as_str().as_bytes(), &why);
            self.refuse_call(place, &refused);
        }
    }

    /// Finds a provider for a call that was certainly not handled and is in no list; without one it waits if it is to, or
    /// is refused.
    pub(super) fn give_again(&mut self, place: u32, name: &Name, content: Content<'_>) {
        let wait = self.services.calls[place].wait;
        let simple = Selected::Simple(Default::default());
        let call = &mut self.services.calls[place];
        let select = std::mem::replace(&mut call.select, simple);
        let refused_by = std::mem::take(&mut call.refused_by);
        let service = match self.services.find(name.as_str().as_bytes()) {
            Some(service) => Some(service),
            None if wait => Some(self.services.find_or_insert(name)),
            None => None,
        };
        let chosen = match service {
            Some(service) => self.choose(service, select.select(), &refused_by),
            None => Err(Missing::Provider),
        };
        let call = &mut self.services.calls[place];
        (call.select, call.refused_by) = (select, refused_by);
        match (chosen, service) {
            (Ok(offer), _) => self.give(place, offer, content),
            (Err(why), Some(service)) if wait && why.can_be_waited_for() => self.wait(place, service, content),
            (Err(why), _) => {
                let refused = missing(name, self.selected(place), why);
                self.refuse_call(place, &refused);
            }
        }
    }

    /// How the provider of a call is chosen.
    pub(super) fn selected(&self, place: u32) -> Select<'_> {
        self.meant(self.services.calls[place].select.select())
    }

    /// A service is offered on this link from now on, by this registration: what is sought may be there, and what waits for
    /// a provider waits for this one, if for any.
    pub(super) fn offered(&mut self, id: LinkId, service: u32, offer: u32) {
        let Services { calls, all, parties, offers, .. } = &self.services;
        let (mut waiting, sought) = (calls.of(all[service].waiting), calls.of(all[service].sought));
        if planted(Bug::WaitingIsNoQueue) {
            waiting.reverse();
        }
        if parties[offers[offer].party].offers_of(service).next() == Some(offer) {
            for place in sought {
                self.recall(id, place);
            }
        }
        for place in waiting {
            if !self.fits(offer, self.selected(place)) {
                continue;
            }
            let Some(kept) = self.detach(place) else { unreachable!("a call that waits is kept") };
            if self.has_room(offer) {
                self.give(place, offer, kept.content());
            } else {
                let refused = missing(&self.services.all[service].name, self.selected(place), Missing::Room(1));
                self.refuse_call(place, &refused);
            }
        }
    }

    /// Asks a provider what became of a call.
    pub(super) fn recall(&mut self, id: LinkId, place: u32) {
        let Services { calls, parties, orphans, .. } = &self.services;
        let calls::Call { number, incarnation, caller, .. } = calls[place];
        let caller = match caller {
            NONE => orphans.get(&(incarnation, number, place)),
            caller => Some(&parties[caller].node),
        };
        let Some(caller) = caller.map(|node| node.as_str().as_bytes()) else { return };
        let Some(link) = self.links.get_mut(id).filter(|link| link.lanes.calls.len() <= LINK_CALLS_BYTES_MAX) else {
            return;
        };
        Frame::Recall { id: calls.id(place), incarnation, number, caller }.encode(&mut link.lanes.calls);
        self.touch(id);
    }

    /// A call comes again, since the link was cut that it came on first. False if it certainly did not arrive then.
    fn called_again(&mut self, caller: u32, call: &Call<'_>) -> bool {
        let party = &mut self.services.parties[caller];
        if party.numbers.contains_key(&call.number) {
            return true;
        }
        if let Some(frame) = party.kept.remove(&call.number) {
            party.kept_bytes -= frame.len();
            if let Some(link) = party.link
                && let Some(state) = self.links.get_mut(link)
            {
                state.lanes.calls.extend_from_slice(&frame);
                self.touch(link);
            }
            return true;
        }
        if call.number > party.last && party.former.is_none() {
            return false;
        }
        party.last = party.last.max(call.number);
        if let Err(why) = self.seek(caller, call) {
            self.answer(caller, call.number, End::Uncertain { code: why.code, text: &why.text });
        }
        true
    }

    /// Asks every provider who has this call, and for a while everyone who becomes one.
    fn seek(&mut self, caller: u32, call: &Call<'_>) -> Result<(), Refusal> {
        let name = Name::from_bytes(call.service).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        // What comes again may be anybody's, or of a time when it was allowed.
        let link = self.services.parties[caller].link;
        check_call(link.and_then(|link| self.links.joined(link)), name.as_str())?;
        if self.services.parties[caller].numbers.len() >= CALLS_PER_CALLER_MAX {
            return Err(refusal(
                Code::LinkLost,
                call.service,
                "too many calls come again to find out what became of it",
            ));
        }
        let place = self.insert(caller, call);
        let until = self.now + PROVIDER_AWAY_TIME_MAX;
        let services = &mut self.services;
        let Party { former, node, .. } = &services.parties[caller];
        let incarnation = former.unwrap_or(services.calls[place].incarnation);
        // Who says to be an incarnation that is not known has proved nothing but its name.
        let of_node = |(key, of): (&(Incarnation, u64, u32), &Name)| (of == node).then_some(*key);
        let range = (incarnation, call.number, 0)..=(incarnation, call.number, NONE);
        if let Some(key) = services.orphans.range(range).find_map(of_node) {
            services.orphans.remove(&key);
            let (.., orphan) = key;
            // It had been given up, and its provider has it still, under the number that it knows.
            services.calls[orphan].caller = caller;
            services.calls[orphan].due = services.calls[place].due;
            services.parties[caller].numbers.insert(call.number, orphan);
            services.calls.remove(place);
            return Ok(());
        }
        let service = services.find_or_insert(&name);
        let open = &mut services.calls[place];
        (open.state, open.place, open.sought) = (State::Sought, service, until.min(open.due));
        open.incarnation = incarnation;
        let until = open.sought;
        services.calls.push(&mut services.all[service].sought, place);
        services.due_by(until);
        for at in 0..services.all[service].listed.len() {
            let Services { all, offers, parties, .. } = &self.services;
            let offer = all[service].listed[at];
            let party = &parties[offers[offer].party];
            // Who offers it twice is asked once.
            if party.offers_of(service).next() == Some(offer)
                && let Some(link) = party.link
            {
                self.recall(link, place);
            }
        }
        Ok(())
    }

    /// A provider tells what became of a call.
    pub(in crate::hub) fn reply(&mut self, id: LinkId, reply: Reply<'_>) {
        let provider = self.links.joined(id).map_or(NO_PARTY, |joined| joined.party);
        // An answer for a call that has ended, or was never given to this node, is nobody's.
        let Some(place) = self.services.calls.find(reply.id).filter(|_| provider != NO_PARTY) else {
            return self.counters.count_dropped(Dropped::Strays, 1);
        };
        let call = &self.services.calls[place];
        match (call.state, reply.end) {
            (State::Given, _) if call.provider != provider => self.counters.count_dropped(Dropped::Strays, 1),
            (State::Given, End::Running) => {}
            (State::Given, End::Refused { code: Code::NoProvider, .. }) => self.not_handled(place),
            (State::Given, end) => self.finish(place, end),
            (State::Sought, end) => {
                let Some(offer) = self.services.parties[provider].offers_of(call.place).next() else { return };
                match end {
                    End::Running => self.found(place, offer),
                    End::Refused { code: Code::NoProvider, .. } => {}
                    end => self.finish(place, end),
                }
            }
            (State::Waiting | State::Free, _) => self.counters.count_dropped(Dropped::Strays, 1),
        }
    }

    /// A call that was sought is being handled.
    fn found(&mut self, place: u32, offer: u32) {
        self.detach(place);
        let Services { calls, offers, parties, .. } = &mut self.services;
        let provider = offers[offer].party;
        let call = &mut calls[place];
        (call.state, call.place, call.provider, call.order) = (State::Given, offer, provider, 0);
        offers[offer].open += 1;
        calls.push(&mut parties[provider].handling, place);
    }

    /// The provider that a call was given to has certainly not handled it, and is not given it again.
    fn not_handled(&mut self, place: u32) {
        let Services { calls, offers, .. } = &mut self.services;
        let Offer { name, age, .. } = &offers[calls[place].place];
        let name = name.clone();
        calls[place].refused_by.push(*age);
        match self.detach(place) {
            _ if self.services.calls[place].caller == NONE => self.services.calls.remove(place),
            Some(_) if self.services.calls[place].refused_by.len() >= CALL_REFUSALS_MAX => {
                let refused = missing(&name, self.selected(place), Missing::Willing);
                self.refuse_call(place, &refused);
            }
            Some(kept) => self.give_again(place, &name, kept.content()),
            None => {
                let text = format!("call to `{name}`: it did not reach its provider; call again");
                self.finish(place, End::Refused { code: Code::NoProvider, text: &text });
            }
        }
    }

    /// A caller does not want a call any more.
    pub(in crate::hub) fn cancel(&mut self, id: LinkId, number: u64) {
        let Some(caller) = self.party(id) else { return };
        let party = &mut self.services.parties[caller];
        if let Some(frame) = party.kept.remove(&number) {
            party.kept_bytes -= frame.len();
        }
        if let Some(place) = party.numbers.remove(&number) {
            self.give_up(place);
        }
    }

    /// Nobody waits for the end of this call any more. Its provider is told, and has it until it has answered.
    pub(super) fn give_up(&mut self, place: u32) {
        let services = &mut self.services;
        let call = &mut services.calls[place];
        let caller = std::mem::replace(&mut call.caller, NONE);
        call.due = Time::FAR;
        if call.state != State::Given {
            self.detach(place);
            self.services.calls.remove(place);
            return;
        }
        if let Some(kept) = call.kept.take() {
            services.kept_bytes -= kept.len();
        }
        let provider = call.provider;
        if caller != NONE {
            let node = services.parties[caller].node.clone();
            services.orphans.insert((call.incarnation, call.number, place), node);
        }
        if let Some(link) = services.parties[provider].link
            && let Some(state) = self.links.get_mut(link)
        {
            Frame::Cancel { id: services.calls.id(place) }.encode(&mut state.lanes.calls);
            self.touch(link);
        }
    }

    /// Takes a call out of the list that it is in, with what was kept of it.
    pub(super) fn detach(&mut self, place: u32) -> Option<Box<Kept>> {
        let services = &mut self.services;
        let Services { calls, offers, parties, all, kept_bytes, orphans, .. } = services;
        if calls[place].caller == NONE {
            orphans.remove(&(calls[place].incarnation, calls[place].number, place));
        }
        let kept = calls[place].kept.take();
        *kept_bytes -= kept.as_ref().map_or(0, |kept| kept.len());
        let (state, at, provider) = (calls[place].state, calls[place].place, calls[place].provider);
        match state {
            State::Free => {}
            State::Given => {
                calls.unlink(&mut parties[provider].handling, place);
                let offer = &mut offers[at];
                offer.open -= 1;
                if !offer.listed && offer.open == 0 {
                    offers.remove(at);
                }
            }
            State::Waiting if at == NONE => {}
            State::Waiting => {
                calls.unlink(&mut all[at].waiting, place);
                services.drop_unused(at);
            }
            State::Sought => {
                calls.unlink(&mut all[at].sought, place);
                services.drop_unused(at);
            }
        }
        let call = &mut services.calls[place];
        (call.state, call.place) = (State::Waiting, NONE);
        kept
    }

    /// Ends a call, and tells the caller how.
    pub(super) fn finish(&mut self, place: u32, end: End<'_>) {
        self.detach(place);
        let services = &mut self.services;
        let calls::Call { caller, number, doubtful, .. } = services.calls[place];
        services.calls.remove(place);
        if caller != NONE {
            services.parties[caller].numbers.remove(&number);
            let end = match end {
                End::Refused { code, text } if doubtful => End::Uncertain { code, text },
                end => end,
            };
            self.answer(caller, number, end);
        }
    }

    pub(super) fn refuse_call(&mut self, place: u32, refusal: &Refusal) {
        self.finish(place, End::Refused { code: refusal.code, text: &refusal.text });
    }

    /// Tells a caller how its call has ended; one that is away, when it asks again.
    pub(super) fn answer(&mut self, caller: u32, number: u64, end: End<'_>) {
        let number = if planted(Bug::ReplyOfAnother) { number ^ 1 } else { number };
        if let End::Refused { code, .. } | End::Uncertain { code, .. } = end {
            self.counters.count_call_refused(code);
        }
        let party = &mut self.services.parties[caller];
        let reply = Frame::Reply(Reply { id: number, end });
        let Some((id, link)) = party.link.and_then(|id| Some((id, self.links.get_mut(id)?))) else {
            let mut frame = Vec::new();
            reply.encode(&mut frame);
            if party.kept_bytes + frame.len() <= REPLIES_KEPT_BYTES_MAX {
                party.kept_bytes += frame.len();
                party.kept.insert(number, frame);
            } else {
                self.counters.count_dropped(Dropped::Replies, 1);
            }
            return;
        };
        if link.lanes.calls.len() <= LINK_REPLIES_BYTES_MAX {
            reply.encode(&mut link.lanes.calls);
        } else {
            let text =
                format!("its reply found {} bytes of others waiting for `{}`", link.lanes.calls.len(), party.node);
            let end = End::Uncertain { code: Code::Backpressure, text: &text };
            self.counters.count_dropped(Dropped::Replies, 1);
            self.counters.count_call_refused(Code::Backpressure);
            Frame::Reply(Reply { id: number, end }).encode(&mut link.lanes.calls);
            if link.lanes.calls.len() > LINK_REPLIES_BYTES_MAX + LINK_CALLS_BYTES_MAX && !link.is_closing() {
                let text = "too many answers to calls wait on this link: it does not read";
                self.doomed.push((id, Refusal::new(Code::SlowLink, text)));
            }
        }
        self.touch(id);
    }
}

fn check_call(joined: Option<&mut Joined>, name: &str) -> Result<(), Refusal> {
    match joined {
        Some(joined) if !allow(&joined.principal, Verb::Call, name) && !planted(Bug::CallsNotAsked) => {
            Err(joined.principal.forbidden(&format!("call to `{name}`"), Verb::Call, name))
        }
        _ => Ok(()),
    }
}

/// Keeps what a call is called with, if there is room.
fn keep(place: &mut Option<Box<Kept>>, kept_bytes: &mut usize, content: Content<'_>) -> bool {
    let kept = content.bytes.len() + size_of::<Kept>();
    if *kept_bytes + kept > CALLS_KEPT_BYTES_MAX {
        return false;
    }
    *kept_bytes += kept;
    *place = Some(Kept::new(content));
    true
}

/// The refusal of a call to a service whose name may be anything.
fn refusal(code: Code, service: &[u8], why: &str) -> Refusal {
    let service = String::from_utf8_lossy(&service[..service.len().min(crate::name::NAME_BYTES_MAX)]);
    Refusal::new(code, format!("call to `{}`: {why}", service.escape_debug()))
}

fn missing(name: &Name, select: Select<'_>, why: Missing) -> Refusal {
    match why {
        Missing::Provider => {
            let text = format!("call to `{name}`: nobody offers it; start a provider, or wait for one");
            Refusal::new(Code::NoProvider, text)
        }
        Missing::Fitting(nodes) => {
            let offered = match nodes {
                1 => "1 node offers it, and does not fit".to_owned(),
                _ => format!("{nodes} nodes offer it, and none fits"),
            };
            let select = select.word();
            let text = format!("call to `{name}`: {offered} `{select}`; select otherwise, or wait for one that fits");
            Refusal::new(Code::NoProvider, text)
        }
        Missing::Willing => {
            let text = format!(
                "call to `{name}`: whoever could be chosen has refused it; start another provider, or wait for one"
            );
            Refusal::new(Code::NoProvider, text)
        }
        Missing::Room(count) => {
            let text = match count {
                1 => format!("call to `{name}`: its provider has too much to do; try again in {BUSY_MS} ms"),
                _ => format!("call to `{name}`: its {count} providers have too much to do; try again in {BUSY_MS} ms"),
            };
            Refusal::new(Code::Busy, text)
        }
    }
}
