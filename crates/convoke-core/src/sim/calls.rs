//! What programs call and handle at random, and what they must be told about it.
//!
//! Calls of one program reach another in their order, as long as no link is gone that they were on: then some come again,
//! and what was to go to a provider that is lost goes to another, behind what that one was given meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Checker;
use super::truth::{Life, mark, marked};
use super::world::{Asked, Conn, ConnId, Program, Request, Tag, What, World};
use crate::limits::PROVIDER_AWAY_TIME_MAX;
use crate::name::Name;
use crate::node::{CallEnd, CallRequest, Incoming, RequestId, Selector};
use crate::payload::{Encoding, Headers, Payload};
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// Services; few, so that several offer the same. The last may be handled again.
const SERVICES: [&str; 4] = ["s/a", "s/b", "k/a", "again"];

/// Offered once, in the end, by one that never answers.
const LONE: &str = "lone";

/// Registrations of one program.
const REGISTRATIONS_MAX: usize = 3;

/// How much longer than its deadline a call may take that the hub was told of.
const GRACE: Duration = Duration::from_secs(1);

/// How much later than it may a call of a lost provider may end: hubs do not look through all calls all the time.
const LOOK: Duration = Duration::from_millis(10);

/// A call, as its payload tells: who has made it, and which of its calls it is.
type Mark = (Tag, u64);

/// What one program calls and offers, beside its node.
#[derive(Debug, Default)]
pub(super) struct Calls {
    number: u64,
    /// Calls without an end.
    pub(super) made: BTreeMap<u64, Made>,
    registrations: BTreeMap<RequestId, &'static str>,
    handling: BTreeMap<u64, Mark>,
    /// The last call of each caller for each service, and for any.
    last: BTreeMap<(Tag, &'static str), u64>,
    last_of_all: BTreeMap<Tag, u64>,
}

#[derive(Debug)]
pub(super) struct Made {
    mark: Mark,
    at: Time,
    due: Time,
    service: &'static str,
}

/// What is true of all calls.
#[derive(Debug, Default)]
pub(super) struct Handled {
    /// Who has handled a call, and when it began.
    by: BTreeMap<Mark, Vec<(Tag, Time)>>,
    /// What was told certainly not to be handled.
    never: BTreeSet<Mark>,
    /// When each was made, and whether it waits for a provider.
    made: BTreeMap<Mark, (Time, bool)>,
    /// When the hub was last gone.
    hub_gone: Time,
    /// When a link of each program was last cut or gone, as far as either end knows.
    cut: BTreeMap<Tag, Time>,
    /// What each program has ever offered.
    offered: BTreeMap<Tag, BTreeSet<&'static str>>,
    /// When that last happened to anybody who has ever offered this.
    moved: BTreeMap<&'static str, Time>,
    /// Programs that the hub has lost, with their names, and when all their calls must have ended.
    lost: BTreeMap<Tag, (Name, Time)>,
    /// When each program last asked again, as far as the hub has got it, what became of a call; or may have.
    asked: BTreeMap<Tag, Time>,
    /// Until when the hub, or the whole world, last stood still.
    stood_still: Time,
}

impl World {
    /// One random thing with services.
    pub(super) fn calls_step(&mut self, tag: Tag) {
        match self.dice.below(100) {
            0..35 => {
                let service = self.dice.pick(&SERVICES);
                self.serves(tag, service);
            }
            35..40 => {
                let Some(program) = self.programs.get_mut(&tag) else { return };
                if let Some((id, service)) = program.calls.registrations.pop_first() {
                    self.trace.line(self.now, format_args!("program {tag} withdraws `{service}`, {id}"));
                    program.requests.remove(&id);
                    self.with_node(tag, |node, _| node.unserve(id));
                }
            }
            40..45 => {
                let Some(program) = self.programs.get_mut(&tag) else { return };
                if let Some((number, made)) = program.calls.made.pop_first() {
                    self.trace.line(self.now, format_args!("program {tag} cancels call {number}, {:?}", made.mark));
                    self.with_node(tag, |node, _| node.cancel(number));
                }
            }
            _ => {
                for _ in 0..self.dice.pick(&[1, 1, 3, 10]) {
                    let service = self.dice.pick(&SERVICES);
                    self.calls(tag, service);
                }
            }
        }
    }

    fn serves(&mut self, tag: Tag, service: &'static str) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let registrations = &program.calls.registrations;
        if registrations.len() >= REGISTRATIONS_MAX || registrations.values().any(|other| *other == service) {
            return;
        }
        let name = Name::parse(service).expect("a name");
        if let Ok(id) = program.node.serve(name, service == "again") {
            self.trace.line(self.now, format_args!("program {tag} offers `{service}` as {id}"));
            program.calls.registrations.insert(id, service);
            self.handled.offered.entry(tag).or_default().insert(service);
            program.requests.insert(id, Request { what: Asked::Serve, sent: 0, expected: None });
        }
        self.with_node(tag, |_, _| {});
    }

    /// Calls a service, and notes it.
    pub(super) fn calls(&mut self, tag: Tag, called: &'static str) {
        let names: Vec<Name> = self.programs.values().map(|program| program.name.clone()).collect();
        let node = names[self.dice.below(names.len())].to_string();
        let select = match self.dice.below(8) {
            0 => Selector::Node(node),
            1 => Selector::First,
            2 => Selector::Random,
            3 => Selector::LeastBusy,
            4 => Selector::RoundRobin,
            _ => Selector::Default,
        };
        let select = if self.calm { Selector::Default } else { select };
        let wait = self.dice.once_in(3);
        let millis: &[u64] = if wait { &[50, 1000, 5000] } else { &[50, 1000, 5000, 20_000, 600_000] };
        let timeout = Duration::from_millis(if self.calm { 25_000 } else { self.dice.pick(millis) });
        let big = self.capacity_min > 0 && self.dice.once_in(8);
        let size = if big { 100_000 } else { self.dice.pick(&[13, 100, 2000]) }.min(self.config.payload_bytes_max / 4);
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.calls.number += 1;
        let mark = (tag, program.calls.number);
        let payload = Payload { encoding: Encoding::Raw, bytes: marked(tag, mark.1, Life::Lasting, size).into() };
        let service = Name::parse(called).expect("a name");
        let request = CallRequest { service, select, wait, timeout, payload, headers: &Headers::new() };
        let joined = program.node.is_joined();
        match program.node.call(&request, self.now) {
            Ok(number) => {
                let CallRequest { service, select, .. } = request;
                self.trace.line(
                    self.now,
                    format_args!("program {tag} calls `{service}`, {mark:?}, number {number}, {select:?}, wait {wait}, {timeout:?}"),
                );
                self.report.calls += 1;
                let made = Made { mark, at: self.now, due: self.now + timeout, service: called };
                program.calls.made.insert(number, made);
                self.handled.made.insert(mark, (self.now, wait));
            }
            Err(why) => {
                self.handled.never.insert(mark);
                if joined && !matches!(why.code, Code::TooLarge | Code::Backpressure | Code::Busy) {
                    self.fail(Checker::Calls, format!("program {tag} may not call: {why}"));
                }
            }
        }
        self.with_node(tag, |_, _| {});
    }

    /// What a node says about calls, those it has made and those it is to handle.
    pub(super) fn note_calls(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let ended = program.node.ended_calls();
        let incoming = program.node.incoming();
        for next in incoming {
            match next {
                Incoming::Call(call) => {
                    let of = mark(&call.payload.bytes).map(|(tag, number, _)| (tag, number));
                    let service =
                        self.programs.get(&tag).and_then(|program| program.calls.registrations.get(&call.registration));
                    let (Some(of), Some(service)) = (of.filter(|of| !self.hostile.contains(&of.0)), service.copied())
                    else {
                        // A hostile caller may send anything.
                        self.with_node_later(tag, call.id);
                        continue;
                    };
                    self.comes_in(tag, call.id, of, service);
                }
                Incoming::Cancel { id, .. } => {
                    self.trace.line(self.now, format_args!("program {tag}: {id} is not wanted any more"));
                }
                Incoming::Ended { registration, why } => {
                    let Some(program) = self.programs.get_mut(&tag) else { return };
                    program.calls.registrations.remove(&registration);
                    let forbidden = why.code == Code::Forbidden && self.is_ward(tag);
                    let usual = forbidden || matches!(why.code, Code::Left | Code::Fenced);
                    if !self.hostile.contains(&tag) && !usual {
                        self.fail(Checker::Calls, format!("a registration of program {tag} has ended: {why}"));
                    }
                }
            }
        }
        for (number, end) in ended {
            let Some(made) = self.programs.get_mut(&tag).and_then(|program| program.calls.made.remove(&number)) else {
                return self.fail(
                    Checker::Calls,
                    format!("call {number} of program {tag} has ended, and is not open: {end:?}"),
                );
            };
            if !self.hostile.contains(&tag) {
                self.check_call_end(tag, &made, end);
            }
        }
    }

    fn with_node_later(&mut self, tag: Tag, id: u64) {
        let time = if self.calm { self.dice.micros(1, 1000) } else { self.dice.micros(1, 1_500_000) };
        self.at(self.now + time, What::Handled(tag, id));
    }

    fn comes_in(&mut self, tag: Tag, id: u64, of: Mark, service: &'static str) {
        self.trace.line(self.now, format_args!("program {tag} handles {of:?} for `{service}` as {id}"));
        self.report.handled += 1;
        let now = self.now;
        let hostile = self.hostile.contains(&tag);
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.calls.handling.insert(id, of);
        let last_of_all = program.calls.last_of_all.insert(of.0, of.1);
        let last = program.calls.last.insert((of.0, service), of.1);
        let (made, waited) = self.handled.made.get(&of).copied().unwrap_or_default();
        // One that waits for a provider is overtaken by those for other services.
        let last = if waited { last } else { last_of_all };
        let before = self.handled.by.entry(of).or_default();
        // A provider that gets nonsense through its own link is none of ours.
        let again = if service == "again" { before.iter().any(|(by, _)| *by == tag) } else { !before.is_empty() };
        before.push((tag, now));
        if again && !hostile {
            let text = format!("program {tag} got call {of:?} for `{service}`, which was handled before: {before:?}");
            return self.fail(Checker::Calls, text);
        }
        if self.handled.never.contains(&of) && !hostile {
            let text = format!("program {tag} got call {of:?}, which was told not to be done");
            return self.fail(Checker::Calls, text);
        }
        let Handled { hub_gone, cut, moved, .. } = &self.handled;
        let disturbed = [Some(hub_gone), cut.get(&of.0), cut.get(&tag), moved.get(service)].into_iter().flatten().max();
        let undisturbed = disturbed.is_none_or(|disturbed| made > *disturbed);
        if undisturbed && !hostile && service != "again" && last.is_some_and(|last| last > of.1) {
            let text = format!("program {tag} got call {of:?} for `{service}` after {last:?} of the same caller");
            return self.fail(Checker::Calls, text);
        }
        if service == LONE {
            return;
        }
        // Some are never answered, as long as faults happen.
        if self.calm || !self.dice.once_in(12) {
            self.with_node_later(tag, id);
        }
    }

    /// A program has handled a call.
    pub(super) fn handled(&mut self, tag: Tag, id: u64) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        if program.frozen {
            let later = self.dice.micros(1000, 500_000);
            return self.at(self.now + later, What::Handled(tag, id));
        }
        let end = match program.calls.handling.remove(&id) {
            None => CallEnd::Done(Payload::default()),
            Some(of) => {
                let reply = [&of.0.to_le_bytes()[..], &of.1.to_le_bytes(), &tag.to_le_bytes()].concat();
                let payload = Payload { encoding: Encoding::MessagePack, bytes: reply.into() };
                if of.1 % 5 == 0 {
                    CallEnd::Failed { kind: "odd".to_owned(), message: format!("{of:?}"), payload }
                } else {
                    CallEnd::Done(payload)
                }
            }
        };
        self.with_node(tag, |node, now| node.finish(id, &end, now));
    }

    /// In the end every handler comes to its end.
    pub(super) fn handles_all(&mut self) {
        let all: Vec<(Tag, u64)> = self
            .programs
            .iter()
            .flat_map(|(tag, program)| program.calls.handling.keys().map(|id| (*tag, *id)))
            .collect();
        for (tag, id) in all {
            self.handled(tag, id);
        }
    }

    fn check_call_end(&mut self, tag: Tag, made: &Made, end: CallEnd) {
        let Made { mark: of, .. } = made;
        let by = self.handled.by.get(of).cloned().unwrap_or_default();
        self.trace.line(self.now, format_args!("program {tag}: call {of:?} has ended: {}", word(&end)));
        if self.is_late(tag, made) {
            let text = format!("call {of:?} was due at {:?} and ends only now: {}", made.due, word(&end));
            return self.fail(Checker::Calls, text);
        }
        if by.iter().any(|(by, _)| self.hostile.contains(by)) {
            return;
        }
        match end {
            CallEnd::Done(payload) | CallEnd::Failed { payload, .. } => {
                self.report.answered += 1;
                let own = by.iter().any(|(by, _)| {
                    let reply = [&of.0.to_le_bytes()[..], &of.1.to_le_bytes(), &by.to_le_bytes()].concat();
                    payload.bytes == reply && payload.encoding == Encoding::MessagePack
                });
                if !own {
                    let text = format!("call {of:?}, handled by {by:?}, was answered {:?}", payload.bytes);
                    self.fail(Checker::Calls, text);
                }
            }
            CallEnd::Refused(why) => {
                self.report.calls_refused += 1;
                if !by.is_empty() {
                    let text = format!("call {of:?} was told not to be done, and was handled by {by:?}: {why}");
                    return self.fail(Checker::Calls, text);
                }
                self.handled.never.insert(*of);
                let usual = [Code::NoProvider, Code::TimedOut, Code::Busy, Code::Backpressure, Code::TooLarge];
                let forbidden = why.code == Code::Forbidden && self.is_ward(tag);
                self.report.forbidden += u64::from(forbidden);
                // Whoever sends nonsense may have had it, and say anything of it.
                let offers = |tag: &Tag| self.handled.offered.get(tag).is_some_and(|of| of.contains(made.service));
                if !forbidden
                    && !self.hostile.iter().any(offers)
                    && !usual.contains(&why.code)
                    && !matches!(why.code, Code::Left | Code::Fenced | Code::LinkLost)
                {
                    self.fail(Checker::Calls, format!("call {of:?} was refused: {why}"));
                }
            }
            CallEnd::Uncertain(why) => {
                self.report.calls_uncertain += 1;
                if !self.is_ward(tag)
                    && self.calm
                    && made.at > self.calm_since.unwrap_or_default()
                    && made.service != LONE
                {
                    self.fail(Checker::Calls, format!("nothing went wrong, and call {of:?} is uncertain: {why}"));
                }
            }
        }
    }

    /// Until when the hub, or the whole world, last stood still.
    pub(super) fn last_stood_still(&self) -> Time {
        self.handled.stood_still
    }

    /// Whether a call should have ended before now.
    fn is_late(&self, tag: Tag, made: &Made) -> bool {
        let woken = self.programs.get(&tag).map_or(self.now, |program| program.woken_at);
        (made.due + GRACE).max(woken).max(self.jumped_at) + Duration::from_millis(1) < self.now
    }

    /// No call is open for longer than it may be.
    pub(super) fn check_open_calls(&mut self) {
        let late = |tag: Tag, made: &&Made| self.is_late(tag, made);
        let awake = self.programs.iter().filter(|(_, program)| !program.frozen);
        let found = awake.filter_map(|(tag, program)| program.calls.made.values().find(|made| late(*tag, made)));
        let text = { found }.next().map(|made| format!("call {:?} was due at {:?}, and is open", made.mark, made.due));
        if let Some(text) = text {
            self.fail(Checker::Calls, text);
        }
    }

    /// After all that went wrong: whose provider is gone has been told so.
    pub(super) fn check_lost_providers(&mut self) {
        let mut wrong = None;
        for (tag, program) in
            self.programs.iter().filter(|(tag, one)| one.node.is_joined() && !self.hostile.contains(*tag))
        {
            for made in program.calls.made.values() {
                let by = self.handled.by.get(&made.mark).cloned().unwrap_or_default();
                if !by.is_empty() && by.iter().all(|(by, _)| !self.programs.contains_key(by)) {
                    wrong = Some(format!("call {:?} of program {tag} is open, and {by:?} are gone", made.mark));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.fail(Checker::Calls, wrong);
        }
    }

    /// A program that has calls, and answers none, crashes. Whether the hub sees the end of its link or not, its callers are
    /// told soon.
    pub(super) fn loses_a_provider(&mut self) {
        let joined = self.programs.iter().filter(|(_, program)| program.node.is_joined());
        let mut joined: Vec<Tag> = joined.map(|(tag, _)| *tag).collect();
        // One who may.
        joined.sort_by_key(|tag| self.is_ward(*tag));
        let [provider, ref callers @ ..] = joined[..] else { return };
        if callers.is_empty() || self.is_ward(provider) || self.failed.is_some() {
            return;
        }
        if let Some(program) = self.programs.get_mut(&provider) {
            // Whatever else it offers, there is room for this.
            program.calls.registrations.clear();
        }
        self.serves(provider, LONE);
        self.run_for(Duration::from_secs(1));
        for caller in callers {
            self.calls(*caller, LONE);
        }
        self.run_for(Duration::from_secs(1));
        self.dies(provider);
        let silence = self.silence().max(PROVIDER_AWAY_TIME_MAX) + Duration::from_secs(1);
        for _ in 0..silence.as_millis() / 100 {
            self.run_for(Duration::from_millis(100));
            self.check_lost_calls();
        }
        let open = |program: &&Program| program.calls.made.values().any(|made| made.service == LONE);
        let open = self.programs.iter().find(|(_, program)| open(program)).map(|(tag, _)| *tag);
        if let Some(tag) = open {
            let text = format!("program {provider} was lost {silence:?} ago, and a call of program {tag} waits for it");
            self.fail(Checker::Calls, text);
        }
    }

    /// A link of this program is cut or gone: its calls may come again or be lost, and those that it has go to others.
    pub(super) fn calls_are_cut(&mut self, tag: Tag) {
        let Handled { cut, offered, moved, .. } = &mut self.handled;
        cut.insert(tag, self.now);
        for service in offered.get(&tag).into_iter().flatten() {
            moved.insert(service, self.now);
        }
    }

    /// The hub is gone with all that it knew, and asks everybody anew what became of calls.
    pub(super) fn calls_lose_hub(&mut self) {
        self.handled.hub_gone = self.now;
        for (node, conn) in &self.joined {
            if let Some(link) = self.conns.get(conn) {
                self.handled.lost.insert(link.tag, (node.clone(), self.now));
            }
        }
    }

    /// The hub, or the whole world, stood still until now: what was due meanwhile is due later, at most as much later as it
    /// ever was.
    pub(super) fn calls_stood_still(&mut self) {
        self.handled.stood_still = self.now;
    }

    /// The hub has lost the link of a program.
    pub(super) fn provider_lost(&mut self, node: &Name, conn: ConnId, why: &Refusal) {
        let Some(link) = self.conns.get(&conn) else { return };
        let until = if why.code == Code::Left { self.now } else { self.now.max(link.heard + PROVIDER_AWAY_TIME_MAX) };
        self.handled.lost.insert(link.tag, (node.clone(), until));
    }

    /// A program has joined. Others of its name will not come back as what they were.
    pub(super) fn provider_joined(&mut self, node: &Name, conn: ConnId) {
        let Some(tag) = self.conns.get(&conn).map(|link| link.tag) else { return };
        self.handled.lost.remove(&tag);
        for (_, until) in self.handled.lost.values_mut().filter(|(name, _)| name == node) {
            *until = self.now.min(*until);
        }
    }

    /// The hub has been asked by a program what became of a call, and asks providers in turn.
    pub(super) fn asks_again(&mut self, tag: Tag) {
        self.handled.asked.insert(tag, self.now);
    }

    /// Every call that a lost provider had ends soon, and its caller is told as soon as its link lets it.
    pub(super) fn check_lost_calls(&mut self) {
        if self.stalled || self.hub.is_none() {
            return;
        }
        let Handled { by, lost, asked, stood_still, .. } = &self.handled;
        let mut wrong = None;
        for (tag, program) in &self.programs {
            let heeds = program.node.is_joined() && program.reading && !program.frozen && !self.hostile.contains(tag);
            let link = program.conn.and_then(|conn| self.conns.get(&conn));
            // All that the hub has said has come.
            let said = |link: &Conn| {
                let down = link.down.len() == 0 && link.hub_out.is_empty();
                // And all that it has said itself.
                let up = link.up.len() == 0 && link.node_out.is_empty() && !program.node.has_output();
                link.link.is_some() && !link.excuse.cut && down && up
            };
            if !heeds || !link.is_some_and(said) {
                continue;
            }
            for made in program.calls.made.values().filter(|made| made.service != "again") {
                let Some([(provider, _)]) = by.get(&made.mark).map(Vec::as_slice) else { continue };
                let Some((_, until)) = lost.get(provider).filter(|_| !self.hostile.contains(provider)) else {
                    continue;
                };
                // Who is asked again, or has stood still, begins to count anew.
                let since = asked.get(tag).copied().unwrap_or_default().max(*stood_still);
                let until = (*until).max(since + PROVIDER_AWAY_TIME_MAX);
                if until + LOOK < self.now {
                    let text = format!("call {:?} of program {tag} is open, and program {provider}", made.mark);
                    wrong = Some(format!("{text}, which had it, is lost: it was to end at {until:?}"));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.fail(Checker::Calls, wrong);
        }
    }
}

fn word(end: &CallEnd) -> String {
    match end {
        CallEnd::Done(_) => "done".to_owned(),
        CallEnd::Failed { .. } => "failed".to_owned(),
        CallEnd::Refused(Refusal { code, text }) => format!("refused, {code:?}: {text}"),
        CallEnd::Uncertain(Refusal { code, text }) => format!("uncertain, {code:?}: {text}"),
    }
}
