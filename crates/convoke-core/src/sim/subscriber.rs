//! What a subscription must be told: the events routed to it, in their order, and how many are missing where.

use std::collections::VecDeque;

use super::Checker;
use super::oracle::print;
use super::world::{ConnId, Tag, World};
use crate::frame::write_headers;
use crate::name::Pattern;
use crate::node::{Delivery, Event, Gap};
use crate::outgoing::SlowPolicy;

/// What one subscription got so far, beside its inbox.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) pattern: Pattern,
    /// The hub has taken it at least once.
    pub(super) begun: bool,
    /// The links whose events it gets, the one it reads now first.
    pub(super) links: VecDeque<ConnId>,
    /// The gaps between them.
    pub(super) gaps: VecDeque<Gap>,
    /// It had more than one link: with a small inbox counts and gaps may be told together.
    pub(super) mixed: bool,
    /// It may not go on.
    ended: bool,
    gaps_told: u64,
    cursor: usize,
    told: u64,
    count: Count,
}

/// Events that match and were passed over.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    missing: u64,
    /// The hub may not have taken them.
    maybe: u64,
    /// Routed to the link for another subscription, before this one was taken.
    before: u64,
}

impl Subscriber {
    pub(super) fn new(pattern: Pattern, link: Option<ConnId>) -> Subscriber {
        Subscriber {
            pattern,
            begun: false,
            links: link.into_iter().collect(),
            gaps: VecDeque::new(),
            mixed: false,
            ended: false,
            gaps_told: 0,
            cursor: 0,
            told: 0,
            count: Count::default(),
        }
    }

    fn next_link(&mut self) {
        self.links.pop_front();
        self.cursor = 0;
        self.told = 0;
        self.count = Count::default();
    }
}

impl World {
    /// Its node has joined on a new link.
    pub(super) fn subscriptions_joined(&mut self, tag: Tag, conn: ConnId, gap: Gap) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        for subscriber in program.subscribers.values_mut() {
            if subscriber.begun {
                subscriber.gaps.push_back(gap);
                subscriber.mixed = true;
            } else {
                subscriber.links.clear();
                subscriber.next_link();
            }
            subscriber.links.push_back(conn);
        }
    }

    pub(super) fn check_delivery(&mut self, tag: Tag, id: u32, delivery: Delivery) {
        let hostile = self.programs.get(&tag).is_none_or(|program| program.hostile);
        match delivery {
            Delivery::Run(run) => {
                for event in run {
                    self.report.delivered += 1;
                    if !hostile {
                        self.check_event(tag, id, &event);
                    }
                }
            }
            Delivery::Event(event) => {
                self.report.delivered += 1;
                if !hostile {
                    self.check_event(tag, id, &event);
                }
            }
            Delivery::Lagged(count) => {
                self.trace.line(self.now, format_args!("program {tag} subscription {id}: lagged {count}"));
                self.report.lagged += count;
                if let Some(subscriber) = self.subscriber(tag, id) {
                    subscriber.told += count;
                }
            }
            Delivery::Gap(gap) => {
                self.trace.line(self.now, format_args!("program {tag} subscription {id}: gap {gap:?}"));
                self.report.gaps += 1;
                if !hostile {
                    self.check_gap(tag, id, gap);
                }
            }
            Delivery::Ended(why) => {
                self.trace.line(self.now, format_args!("program {tag} subscription {id}: ended, {why}"));
                if let Some(subscriber) = self.subscriber(tag, id) {
                    subscriber.ended = true;
                }
            }
        }
    }

    fn subscriber(&mut self, tag: Tag, id: u32) -> Option<&mut Subscriber> {
        self.programs.get_mut(&tag)?.subscribers.get_mut(&id)
    }

    fn check_event(&mut self, tag: Tag, id: u32, event: &Event) {
        let mut content =
            if event.headers.is_empty() { Vec::new() } else { write_headers(&event.headers).unwrap_or_default() };
        content.extend_from_slice(&event.payload.bytes);
        let print = print(event.payload.encoding, &content);
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let small = program.small_inbox;
        let latest = program.slow == SlowPolicy::LatestPerTopic;
        let Some(subscriber) = program.subscribers.get_mut(&id) else { return };
        let told = format!("event {} of `{}` on `{}`", event.seq, event.publisher(), event.topic());
        if !subscriber.pattern.matches(event.topic()) {
            let text = format!("program {tag} got {told}, which does not match its `{}`", subscriber.pattern);
            return self.fail(Checker::Order, text);
        }
        loop {
            let Some(link) = subscriber.links.front().copied() else {
                return self.fail(Checker::Order, format!("program {tag} got {told} before it had joined"));
            };
            let Some(routed) = self.routed.get(&link) else { return };
            let begin = routed.begins.get(&id).copied().unwrap_or(usize::MAX);
            let mut count = subscriber.count;
            for (place, number) in routed.events.iter().enumerate().skip(subscriber.cursor) {
                let taken = &self.taken[*number as usize];
                if taken.seq == event.seq
                    && taken.print == print
                    && taken.topic == *event.topic()
                    && taken.publisher == *event.publisher()
                {
                    (subscriber.cursor, subscriber.count) = (place + 1, count);
                    let Count { missing, maybe, before } = count;
                    let most = if latest { u64::MAX } else { missing + maybe + before };
                    let lag = subscriber.told;
                    if !(small && subscriber.mixed) && (lag < missing || lag > most) {
                        let text = format!(
                            "program {tag} subscription {id} to `{}` was told that {lag} events are missing before {told}, \
                             but {missing} are (and {} may be)",
                            subscriber.pattern,
                            maybe + before
                        );
                        return self.fail(Checker::Losses, text);
                    }
                    return;
                }
                if subscriber.pattern.matches(&taken.topic) {
                    match (place < begin, taken.maybe) {
                        (true, _) => count.before += 1,
                        (_, true) => count.maybe += 1,
                        _ => count.missing += 1,
                    }
                }
            }
            if small && subscriber.gaps_told > 0 && subscriber.links.len() > 1 {
                // Several gaps were told as one.
                subscriber.gaps.pop_front();
                subscriber.next_link();
                continue;
            }
            if subscriber.links.len() > 1 {
                let text = format!(
                    "program {tag} subscription {id} to `{}` got {told} of its next link without a gap",
                    subscriber.pattern
                );
                return self.fail(Checker::Gaps, text);
            }
            let text = format!(
                "program {tag} subscription {id} to `{}` got {told}, which was not routed to it after what it got before",
                subscriber.pattern
            );
            return self.fail(Checker::Order, text);
        }
    }

    fn check_gap(&mut self, tag: Tag, id: u32, gap: Gap) {
        let Some(small) = self.programs.get(&tag).map(|program| program.small_inbox) else { return };
        let rest = self.unread(tag, id, false);
        let Some(subscriber) = self.subscriber(tag, id) else { return };
        let Count { missing, maybe, before } = subscriber.count;
        let most = missing + maybe + before + rest;
        let lag = subscriber.told;
        subscriber.gaps_told += 1;
        match subscriber.gaps.pop_front() {
            Some(_) if small => subscriber.next_link(),
            Some(expected) if expected == gap => {
                subscriber.next_link();
                if lag > most {
                    let text = format!(
                        "program {tag} subscription {id} was told of {lag} lost events, and {most} were at most"
                    );
                    self.fail(Checker::Losses, text);
                }
            }
            expected => {
                let text = format!("program {tag} subscription {id} was told {gap:?}, and it was {expected:?}");
                self.fail(Checker::Gaps, text);
            }
        }
    }

    /// How many events of the link that it reads match and come after what it got.
    fn unread(&self, tag: Tag, id: u32, certain: bool) -> u64 {
        let Some(subscriber) = self.programs.get(&tag).and_then(|program| program.subscribers.get(&id)) else {
            return 0;
        };
        let Some(routed) = subscriber.links.front().and_then(|link| self.routed.get(link)) else { return 0 };
        let rest = routed.events.iter().skip(subscriber.cursor).map(|number| &self.taken[*number as usize]);
        rest.filter(|taken| !(certain && taken.maybe) && subscriber.pattern.matches(&taken.topic)).count() as u64
    }

    /// When all is quiet nothing is on its way: every gap was told, every event came or was announced as lost.
    pub(super) fn check_subscription_in_the_end(&mut self, tag: Tag, id: u32) {
        let Some(program) = self.programs.get(&tag) else { return };
        let small = program.small_inbox;
        let Some(subscriber) = program.subscribers.get(&id) else { return };
        let what = format!("program {tag} subscription {id} to `{}`", subscriber.pattern);
        let Count { missing, maybe, before } = subscriber.count;
        if program.ward.is_some() && (subscriber.ended || !subscriber.begun) {
            return;
        }
        if !subscriber.begun {
            return self.fail(Checker::Liveness, format!("{what} was never taken by the hub"));
        }
        let untold = subscriber.gaps.len();
        if untold > 0 && !(small && subscriber.gaps_told > 0) {
            return self.fail(Checker::Gaps, format!("{what} was not told of {untold} gaps"));
        }
        let (lag, mixed) = (subscriber.told, subscriber.mixed);
        if subscriber.links.len() == 1 {
            // Where nobody may publish there, nothing comes behind what the hub may not have taken.
            let rest = self.unread(tag, id, true);
            if rest > 0 {
                return self.fail(Checker::Liveness, format!("{what} did not get the last {rest} events"));
            }
            if !(small && mixed) && (lag < missing || lag > missing + maybe + before) {
                let text = format!("{what} was told that {lag} events are missing, but {missing} are");
                self.fail(Checker::Losses, text);
            }
        }
    }
}
