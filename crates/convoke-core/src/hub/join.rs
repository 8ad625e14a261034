//! How a link joins: preface, Hello, Challenge, Proof, Welcome; and how it leaves.

use std::net::IpAddr;

use bytes::{Buf, BytesMut};

use super::links::{Candidate, Fragments, Joined, Link, LinkId, Phase, Source};
use super::members::Beats;
use super::services::NO_PARTY;
use super::sessions::Session;
use super::watches::Turns;
use super::{Applicant, Dropped, HubState, LinkRefusal, Notice, Peer, Timer};
use crate::bug::{Bug, planted};
use crate::frame::{Frame, Head, Hello, Preface, Welcome};
use crate::limits::{
    BEFORE_JOIN_BYTES_MAX, HELLO_BYTES_MAX, NODE_NAME_BYTES_MAX, NODE_NAME_WORDS_MAX, SUBSCRIPTIONS_PER_LINK_MAX,
};
use crate::name::Name;
use crate::outgoing::Lanes;
use crate::proof::{TokenKey, Transcript, same};
use crate::refusal::{Code, Refusal};
use crate::rights::{Principal, Rights, Verb, allow};
use crate::time::Time;

/// Refusals for a bad proof are free of delay so often, then each takes [`DELAY`].
const FAILURES_FREE: u32 = 3;

/// How long the refusal of a bad proof is held back, to make guessing slow.
const DELAY: std::time::Duration = std::time::Duration::from_millis(250);

/// The principal of those whom the transport vouches for.
pub(super) const OWNER: &str = "admin";

impl HubState {
    /// A connection was accepted whose transport knows no source, or none that is counted: a Unix socket, or memory.
    ///
    /// # Errors
    ///
    /// As [`open_from`](HubState::open_from).
    pub fn open(&mut self, peer: Peer, now: Time) -> Result<LinkId, Refusal> {
        self.open_from(peer, None, now)
    }

    /// A connection was accepted, from this address. Links of the machine itself (loopback) are not counted by source.
    ///
    /// # Errors
    ///
    /// [`Code::Limit`] when the hub has all the links that it may have, or all of this source; the shell closes the
    /// connection.
    pub fn open_from(&mut self, peer: Peer, source: Option<IpAddr>, now: Time) -> Result<LinkId, Refusal> {
        self.advance(now);
        if self.links.len() >= self.config.links_max {
            self.counters.count_link_refused(LinkRefusal::TooMany);
            let text = format!("the hub has {} links, which is all it may have; try again later", self.links.len());
            return Err(Refusal::new(Code::Limit, text));
        }
        let source = source.and_then(Source::of);
        let of_source = source.map_or(0, |source| self.links.of_source(source));
        if let Some(source) = source
            && of_source >= self.config.links_per_source_max
        {
            self.counters.count_link_refused(LinkRefusal::TooManyOfSource);
            let text = format!(
                "the hub has {of_source} links from {source}, which is all it may have of one source; try again later"
            );
            return Err(Refusal::new(Code::Limit, text));
        }
        let heard = self.membership_clock();
        let link = self.links.insert(Link { source, ..Link::new(peer, heard) });
        self.timers.set(self.now + self.config.join_time, Timer::Join(link));
        Ok(link)
    }

    /// Reads the next thing a link says before it has joined. False if it is not all there yet.
    pub(super) fn read_before_join(&mut self, id: LinkId, input: &mut BytesMut) -> Result<bool, Refusal> {
        let Some(link) = self.links.get_mut(id) else { return Ok(false) };
        if link.before_join + input.len() > BEFORE_JOIN_BYTES_MAX {
            let text = format!("more than {BEFORE_JOIN_BYTES_MAX} bytes came before the link had joined");
            return Err(Refusal::new(Code::TooLarge, text));
        }
        if matches!(link.phase, Phase::Preface) {
            let Some(theirs) = Preface::decode(input)? else { return Ok(false) };
            let preface = theirs.encode();
            input.advance(Preface::BYTES);
            link.before_join += Preface::BYTES;
            link.lanes.control.extend_from_slice(&Preface::OURS.encode());
            link.phase = Phase::Hello { preface };
            self.touch(id);
            let ours = Preface::OURS;
            return if ours.agree(theirs).is_some() {
                Ok(true)
            } else {
                let text = format!(
                    "the hub speaks versions {} to {} of the protocol, the node {} to {}; update the older program",
                    ours.lowest, ours.highest, theirs.lowest, theirs.highest
                );
                Err(Refusal::new(Code::VersionMismatch, text))
            };
        }
        if Head::peek(input)?.is_some_and(|head| head.len > HELLO_BYTES_MAX) {
            let text = format!("the first frames of a link may have {HELLO_BYTES_MAX} bytes each");
            return Err(Refusal::new(Code::TooLarge, text));
        }
        let Some((frame, len)) = Frame::decode(input)? else { return Ok(false) };
        link.before_join += len;
        match (std::mem::replace(&mut link.phase, Phase::Closing), frame) {
            (Phase::Hello { preface }, Frame::Hello(hello)) => self.challenge(id, preface, hello, &input[..len])?,
            (Phase::Proof(candidate), Frame::Proof { token, resume }) => self.admit(id, *candidate, token, resume)?,
            (phase, frame) => {
                let expected = if matches!(phase, Phase::Hello { .. }) { "Hello" } else { "Proof" };
                link.phase = phase;
                if !matches!(frame, Frame::Ignored(_)) {
                    return Err(Refusal::new(
                        Code::BadFrame,
                        format!("bad frame: expected {expected} before anything else"),
                    ));
                }
            }
        }
        input.advance(len);
        Ok(true)
    }

    /// Answers a Hello with the hub's own proof and a nonce.
    fn challenge(&mut self, id: LinkId, preface: [u8; 8], hello: Hello<'_>, frame: &[u8]) -> Result<(), Refusal> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        // Refusals below are those of a link that has not joined.
        link.phase = Phase::Hello { preface };
        let name = node_name(hello.name)?;
        let author = if hello.author.is_empty() { name.clone() } else { named(hello.author)? };
        let nonce = self.random.bytes();
        let transcript = Transcript::new(&preface, &Preface::OURS.encode(), frame, &nonce);
        let peer = link.peer.clone();
        let token = String::from_utf8_lossy(hello.token).into_owned();
        let key = match peer {
            Peer::Owner | Peer::Known(_) => Some(TokenKey::TRUSTED),
            Peer::Stranger => Name::from_bytes(hello.token).ok().and_then(|name| self.key_of(&name).cloned()),
        };
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        // Without such a token the proof is random, so that nobody learns which tokens there are.
        let proof = match (&peer, &key) {
            (Peer::Owner | Peer::Known(_), _) => [0; 32],
            (_, Some(key)) => key.hub(&transcript),
            (_, None) => self.random.bytes(),
        };
        link.phase = Phase::Proof(Box::new(Candidate {
            name,
            author,
            key,
            token,
            transcript,
            resume: hello.resume,
            takeover: hello.takeover,
            uplink: hello.uplink,
            slow: hello.slow,
        }));
        self.control(id, &Frame::Challenge { nonce, proof });
        Ok(())
    }

    /// Checks the proof and lets the node in, or says why not.
    fn admit(&mut self, id: LinkId, candidate: Candidate, token: [u8; 32], resume: [u8; 32]) -> Result<(), Refusal> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        link.phase = Phase::Hello { preface: Preface::OURS.encode() };
        let peer = link.peer.clone();
        let opened = link.opened;
        let vouched = peer != Peer::Stranger;
        let proved = candidate.key.as_ref().filter(|key| vouched || same(&token, &key.node(&candidate.transcript)));
        let Some(key) = proved.cloned() else {
            self.failures = self.failures.saturating_add(1);
            if self.failures > FAILURES_FREE {
                link.held = true;
                self.timers.set(self.now + DELAY, Timer::Release(id));
            }
            let Candidate { name, token, .. } = candidate;
            let text = match token.as_str() {
                "" => format!("`{name}` may not join without a token; give it the hub's token file"),
                token => format!("`{name}` may not join: it could not prove the token `{}`", token.escape_debug()),
            };
            return Err(Refusal::new(Code::Unauthorized, text));
        };
        if !vouched {
            self.failures = 0;
        }
        let principal = self.principal(&peer, &candidate, &key)?;

        let session = candidate.resume.and_then(|incarnation| {
            let session = self.sessions.get(incarnation)?;
            let proved = !session.fenced
                && session.node == candidate.name
                && same(&resume, &session.secret.resumed(&candidate.transcript));
            let calls = (session.calls, session.former);
            proved.then(|| (incarnation, session.received, session.at, session.secret.clone(), calls))
        });
        // What it was, if the hub has forgotten it.
        let mut calls = (0, candidate.resume.filter(|_| session.is_none()));
        // What is forgotten may begin anew, but not beside another that has its name, and not with a wrong proof.
        if let Some(asked) = candidate.resume
            && session.is_none()
            && (self.sessions.get(asked).is_some()
                || asked.epoch == self.identity.epoch && self.nodes.contains_key(&candidate.name))
        {
            let text =
                format!("`{}` cannot come back as what it was: another program has its name now", candidate.name);
            return Err(Refusal::new(Code::Fenced, text));
        }
        if let Some(&other) = self.nodes.get(&candidate.name)
            && self.links.get_mut(other).is_some_and(|other| other.opened > opened)
        {
            // Its proof came late: the program may have given this link up and be joined on the other.
            let text = format!("`{}` has joined on a newer link", candidate.name);
            return Err(Refusal::new(Code::NodeInUse, text));
        }
        // Before anybody is closed for it: from there on it joins.
        let Some(publisher) = self.publisher_last.checked_add(1) else {
            return Err(Refusal::new(Code::Limit, "the hub has given all its publisher numbers; restart it"));
        };
        let (mut resumed, mut received) = (None, 0);
        let mut secret = key.resume(&candidate.transcript);
        if let Some((incarnation, heard, at, known, known_calls)) = session {
            calls = known_calls;
            received = heard;
            // The same for the life of the incarnation: whether a node got the Welcome with which it would change, the
            // hub cannot know.
            secret = known;
            if let Ok(older) = at {
                received = self.links.joined(older).map_or(heard, |joined| joined.seq);
                if planted(Bug::OlderLinkNotFenced) {
                    self.nodes.remove(&candidate.name);
                } else {
                    self.member_moves(&candidate.name);
                    self.close(older, Refusal::new(Code::Fenced, "the node has come back on another link"));
                    calls.0 = self.sessions.get(incarnation).map_or(calls.0, |session| session.calls);
                }
            }
            resumed = Some(incarnation);
        }
        if let Some(&other) = self.nodes.get(&candidate.name) {
            let Some(joined) = self.links.joined(other) else { unreachable!("a name in use belongs to a joined link") };
            if !(candidate.takeover && joined.principal.name == principal.name) {
                let since = self.now.since(joined.since).as_secs();
                let text = format!(
                    "the name `{}` is in use by a node that joined {since} s ago; choose another, or take it over",
                    candidate.name
                );
                return Err(Refusal::new(Code::NodeInUse, text));
            }
            let incarnation = joined.incarnation;
            self.member_moves(&candidate.name);
            self.close(other, Refusal::new(Code::Fenced, "another program has taken over this node's name"));
            self.fence_kept(incarnation);
        }
        self.publisher_last = publisher;
        let nothing_kept = resumed.is_none() && candidate.resume.is_some_and(|asked| self.never_kept(asked));
        let incarnation = resumed.unwrap_or_else(|| self.sessions.next(self.identity.epoch));
        let (calls, former) = calls;
        let session = Session {
            node: candidate.name.clone(),
            principal: principal.name.clone(),
            fenced: false,
            secret,
            received,
            calls,
            former,
            at: Ok(id),
        };
        self.sessions.joined(incarnation, session);
        self.nodes.insert(candidate.name.clone(), id);
        let (now, beats) = (self.now, self.config.membership.beats());
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        let control = std::mem::take(&mut link.lanes.control);
        link.lanes = Lanes::new(candidate.slow, self.config.link_bulk_bytes_max);
        link.lanes.control = control;
        let turns = Turns::new(self.watches.bounds.at_once);
        let joined = joined(candidate, principal, incarnation, publisher, received, (beats, turns), now);
        link.phase = Phase::Joined(Box::new(joined));
        self.timers.clear(Timer::Join(id));
        self.counters.count_joined();
        self.member_joined(id);
        if let Some(Joined { node, author, .. }) = self.links.joined(id) {
            let (node, author) = (node.clone(), author.clone());
            self.begin_party(id, &node, incarnation);
            if self.kept.values.is_owner(incarnation) || self.memory.values.is_owner(incarnation) {
                self.attend_ephemeral(id);
            }
            self.notices.push(Notice::Joined { node, author, resumed: resumed.is_some() });
        }
        let welcome = Welcome {
            hub: self.identity.hub,
            history: self.identity.history,
            epoch: self.identity.epoch,
            incarnation,
            resumed: resumed.is_some(),
            publisher,
            received,
            beat_ms: beats.usual_ms,
            beat_attentive_ms: beats.attentive_ms,
            payload_bytes_max: u32::try_from(self.config.payload_bytes_max).unwrap_or(u32::MAX),
            subscriptions_max: u32::try_from(SUBSCRIPTIONS_PER_LINK_MAX).unwrap_or(u32::MAX),
            bulk_bytes_max: self.config.link_bulk_bytes_max as u64,
            nothing_kept,
        };
        self.control(id, &Frame::Welcome(welcome));
        Ok(())
    }

    /// Who has proved itself, with the rights that it has as this node.
    fn principal(&self, peer: &Peer, candidate: &Candidate, key: &TokenKey) -> Result<Principal, Refusal> {
        let Candidate { name: node, author, token, .. } = candidate;
        let principal = match peer {
            Peer::Owner => {
                let name = Name::parse(OWNER).expect("it is a name");
                Principal { name, rights: Rights::everything() }
            }
            Peer::Known(name) => {
                // Who is to prove a secret has not done so.
                let secret = self.kept.principals.get(name).is_some_and(|granted| granted.key.is_some());
                let rights = self.rights_of(name, node, author).filter(|_| !secret).ok_or_else(|| {
                    let text =
                        format!("`{node}` may not join: its certificate is that of `{name}`, who has no rights here");
                    Refusal::new(Code::Unauthorized, text)
                })?;
                Principal { name: name.clone(), rights }
            }
            Peer::Stranger => {
                let name = Name::from_bytes(token.as_bytes())
                    .map_err(|error| Refusal::new(Code::Unauthorized, error.to_string()))?;
                let same_key = self.key_of(&name) == Some(key);
                let rights = self.rights_of(&name, node, author).filter(|_| same_key).ok_or_else(|| {
                    let text = format!("`{node}` may not join: the token `{name}` was revoked");
                    Refusal::new(Code::Unauthorized, text)
                })?;
                Principal { name, rights }
            }
        };
        if !allow(&principal, Verb::Join, node.as_str()) {
            return Err(principal.forbidden(&format!("`{node}` may not join"), Verb::Join, node.as_str()));
        }
        if candidate.uplink && !allow(&principal, Verb::Uplink, node.as_str()) {
            let what = format!("`{node}` may not join as a link of another hub");
            return Err(principal.forbidden(&what, Verb::Uplink, node.as_str()));
        }
        if author != node && *author != principal.name && !allow(&principal, Verb::Author, author.as_str()) {
            let what = format!("`{node}` may not join as author `{author}`");
            return Err(principal.forbidden(&what, Verb::Author, author.as_str()));
        }
        let Some(admission) = &self.admission else { return Ok(principal) };
        let applicant = Applicant { node, author, principal: &principal.name, rights: &principal.rights };
        match admission(applicant)? {
            Some(rights) => Ok(Principal { rights, ..principal }),
            None => Ok(principal),
        }
    }

    /// Forgets what a joined link's node had: its name, subscriptions, numbers and place in routes. What waits to be
    /// written stays, so that the link can still be told why.
    pub(super) fn leave(&mut self, id: LinkId, why: &Refusal) {
        let Some(link) = self.links.get_mut(id) else { return };
        let shares = link.joined().is_some_and(|joined| joined.shares > 0 || !joined.withdrawn.is_empty());
        if shares {
            self.take_orphans(id, true);
        }
        let Some(link) = self.links.get_mut(id) else { return };
        let before = link.lanes.bulk.bytes();
        let Phase::Joined(joined) = std::mem::replace(&mut link.phase, Phase::Closing) else { return };
        self.counters.count_closed(why.code);
        self.counters.count_dropped(Dropped::Events, link.lanes.bulk.dropped());
        let (unsent, heard) = (std::mem::take(&mut link.lanes.calls), link.heard);
        // Its events can no longer be told apart from what a newer link gets.
        link.lanes.discard_bulk();
        self.bulk_bytes -= before;
        // They would come behind Close, and it may have lost the right to read them; a watch goes on where it was.
        link.lanes.values = Vec::new();
        let Joined { node, incarnation, seq: received, publisher, beats, attentive, .. } = *joined;
        let Joined { party, topics, named, publishers, known_by, subscriptions, watches, turns, .. } = *joined;
        if party != NO_PARTY {
            self.sessions.called(incarnation, self.services.last_call(party));
        }
        if why.code == Code::Left {
            self.sessions.forget(incarnation);
            self.forget_kept(incarnation, false);
        } else {
            for gone in self.sessions.away(incarnation, received, self.now) {
                self.counters.count_dropped(Dropped::Incarnations, 1);
                self.forget_kept(gone, true);
            }
        }
        if self.nodes.get(&node) == Some(&id) {
            self.nodes.remove(&node);
        }
        let subscribed = !subscriptions.is_empty() || !named.is_empty();
        for (number, subscription) in subscriptions {
            self.subscriptions -= 1;
            if let Some(group) = &subscription.group {
                self.leave_group(id, number, group);
            }
            if !planted(Bug::SubscriptionsSurvive) {
                self.remove_subscription(id, number, &subscription);
            }
        }
        // Sets are given back in the order of their numbers, so that one run is like another.
        let mut named: Vec<u32> = named.into_iter().collect();
        let mut told: Vec<u32> = topics.into_keys().collect();
        named.sort_unstable();
        told.sort_unstable();
        for topic in named.iter().chain(&told) {
            if subscribed {
                self.topics.forget_route(*topic);
            }
        }
        for topic in told {
            self.topics.give_back(topic);
        }
        for other in known_by {
            self.forget_publisher(other, publisher, &node);
        }
        for other in publishers.into_values() {
            if let Some(publisher) = self.links.joined(other) {
                publisher.known_by.remove(&id);
            }
        }
        self.end_watches(watches, &turns);
        self.end_pings(id);
        self.end_party(party, why, &unsent, self.membership_clock().since(heard));
        self.timers.clear(Timer::Silent(id));
        self.timers.clear(Timer::Frame(id));
        self.member_left(&node, id, (beats, attentive > 0), heard, why);
        self.notices.push(Notice::Gone { node, why: why.clone() });
    }

    fn forget_publisher(&mut self, id: LinkId, publisher: u32, node: &Name) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.joined().is_some_and(|joined| joined.publishers.remove(&publisher).is_some()) {
            let before = link.lanes.bulk.bytes();
            if let Some(joined) = link.joined().filter(|joined| joined.shares > 0) {
                match before {
                    0 => joined.departed.clear(),
                    _ => joined.remember_departed(publisher, node),
                }
            }
            // In the bulk lane, behind the last event that carries the number.
            link.lanes.bulk.append(|out| Frame::Forget { number: publisher }.encode(out));
            self.bulk_bytes = self.bulk_bytes + link.lanes.bulk.bytes() - before;
            self.touch(id);
        }
    }
}

fn joined(
    candidate: Candidate,
    principal: Principal,
    incarnation: crate::frame::Incarnation,
    publisher: u32,
    received: u64,
    (beats, turns): (Beats, Turns),
    now: Time,
) -> Joined {
    Joined {
        uplink: candidate.uplink,
        node: candidate.name,
        author: candidate.author,
        principal,
        incarnation,
        since: now,
        publisher,
        beats,
        attentive: 0,
        ephemeral: false,
        beat_sent: now,
        seq: received,
        fresh: true,
        recipients: 0,
        fragments: Fragments::default(),
        parts: Default::default(),
        topics: Default::default(),
        last: (0, 0),
        named: Default::default(),
        publishers: Default::default(),
        known_by: Default::default(),
        subscriptions: Default::default(),
        shares: 0,
        departed: Default::default(),
        waiting: Default::default(),
        withdrawn: Default::default(),
        searched: now,
        party: NO_PARTY,
        begun: false,
        cseq: 0,
        refused: Default::default(),
        watches: Default::default(),
        awaits: 0,
        turns,
    }
}

/// A node's name leaves room for what the hub tells about the node.
fn node_name(bytes: &[u8]) -> Result<Name, Refusal> {
    let name = named(bytes)?;
    let (len, words) = (name.as_str().len(), name.words().count());
    if len > NODE_NAME_BYTES_MAX || words > NODE_NAME_WORDS_MAX {
        let text = format!(
            "`{}…` is too long for a node: it has {len} bytes and {words} words, and at most {NODE_NAME_BYTES_MAX} and \
             {NODE_NAME_WORDS_MAX} are allowed",
            &name.as_str()[..name.as_str().floor_char_boundary(32)]
        );
        return Err(Refusal::new(Code::BadName, text));
    }
    Ok(name)
}

fn named(bytes: &[u8]) -> Result<Name, Refusal> {
    let name = Name::from_bytes(bytes).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
    if name.is_reserved() {
        let text = format!("`{name}` is not for nodes: names that begin with `$` are the hub's own");
        return Err(Refusal::new(Code::Forbidden, text));
    }
    Ok(name)
}
