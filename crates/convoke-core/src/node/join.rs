//! The node's side of the handshake.

use bytes::{Buf, BytesMut};

use super::alive::Beats;
use super::values::Before;
use super::{NodeState, Phase, PublishLoss};
use crate::bug::{Bug, planted};
use crate::frame::{Frame, Hello, Preface, Welcome};
use crate::limits::JOIN_TIME_MAX;
use crate::name::Name;
use crate::node::inbox::Gap;
use crate::proof::{TokenKey, Transcript, same};
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// A link on which the node has said Hello.
pub(super) struct Joining {
    trusted: bool,
    preface: Option<[u8; Preface::BYTES]>,
    hello: Vec<u8>,
    /// Kept as the secret of a new incarnation once the hub says Welcome.
    secret: Option<TokenKey>,
    pub(super) deadline: Time,
}

impl NodeState {
    pub(super) fn begin_join(&mut self, trusted: bool) {
        let nonce = self.random.bytes();
        let mut hello = Vec::new();
        Frame::Hello(Hello {
            name: self.config.name.as_str().as_bytes(),
            author: self.config.author.as_ref().map_or("", Name::as_str).as_bytes(),
            nonce,
            token: self.config.token.as_ref().map_or("", |(name, _)| name.as_str()).as_bytes(),
            resume: self.incarnation.as_ref().map(|(incarnation, _)| *incarnation),
            takeover: self.config.takeover,
            uplink: self.config.uplink,
            slow: self.config.slow,
        })
        .encode(&mut hello);
        self.lanes.control.extend_from_slice(&Preface::OURS.encode());
        self.lanes.control.extend_from_slice(&hello);
        let deadline = self.now + JOIN_TIME_MAX;
        self.phase = Phase::Joining(Joining { trusted, preface: None, hello, secret: None, deadline });
    }

    /// Reads the next thing the hub says before the node has joined. False if it is not all there yet.
    pub(super) fn read_join(&mut self, input: &mut BytesMut) -> Result<bool, Refusal> {
        let Phase::Joining(joining) = &mut self.phase else { return Ok(false) };
        let Some(preface) = joining.preface else {
            let Some(theirs) = Preface::decode(input)? else { return Ok(false) };
            input.advance(Preface::BYTES);
            joining.preface = Some(theirs.encode());
            let ours = Preface::OURS;
            return if ours.agree(theirs).is_some() {
                Ok(true)
            } else {
                let text = format!(
                    "the hub speaks versions {} to {} of the protocol, this program {} to {}; update the older one",
                    theirs.lowest, theirs.highest, ours.lowest, ours.highest
                );
                Err(Refusal::new(Code::VersionMismatch, text))
            };
        };
        let Some((frame, len)) = Frame::decode(input)? else { return Ok(false) };
        match frame {
            Frame::Challenge { nonce, proof } => {
                let transcript = Transcript::new(&Preface::OURS.encode(), &preface, &joining.hello, &nonce);
                let key = match &self.config.token {
                    _ if joining.trusted => Some(&TokenKey::TRUSTED),
                    Some((name, key)) => {
                        if !same(&proof, &key.hub(&transcript)) {
                            let text = format!(
                                "the hub could not prove that it knows the token `{name}`; is it another hub, or was the token changed?"
                            );
                            return Err(Refusal::new(Code::Unauthorized, text));
                        }
                        Some(key)
                    }
                    None => None,
                };
                let token = match key {
                    Some(key) if !joining.trusted => key.node(&transcript),
                    _ => [0; 32],
                };
                let resume = self.incarnation.as_ref().map_or([0; 32], |(_, secret)| secret.resumed(&transcript));
                joining.secret = key.map(|key| key.resume(&transcript));
                Frame::Proof { token, resume }.encode(&mut self.lanes.control);
            }
            Frame::Welcome(welcome) => {
                let Some(secret) = joining.secret.take() else {
                    return Err(Refusal::new(Code::BadFrame, "bad frame: Welcome before Challenge"));
                };
                self.joined(welcome, secret);
            }
            Frame::Close { code, text } => return Err(Refusal::new(code, text.to_owned())),
            Frame::Ignored(_) => {}
            _ => return Err(Refusal::new(Code::BadFrame, "bad frame: expected Challenge or Welcome")),
        }
        input.advance(len);
        Ok(true)
    }

    fn joined(&mut self, welcome: Welcome, secret: TokenKey) {
        let hub = (welcome.hub, welcome.history, welcome.epoch);
        let before = self.hub.replace(hub);
        let gap = if before == Some(hub) { Gap::LinkLost } else { Gap::HubRestarted };
        // A hub that was restarted knows the incarnations that had something kept, but not what they had published.
        let exact = welcome.resumed && gap == Gap::LinkLost;
        // What was told as lost before is settled, although the hub has not received it.
        let known = if exact { welcome.received.max(self.received) } else { self.received };
        let last = self.seq;
        if last > known && !planted(Bug::PublisherLossNotTold) {
            self.losses.push(PublishLoss { count: last - known, exact });
        }
        // What is lost was told; from here on it is settled.
        self.received = last;
        let resumed = welcome.resumed;
        let secret = match self.incarnation.take() {
            Some((_, known)) if welcome.resumed => known,
            _ => secret,
        };
        self.incarnation = Some((welcome.incarnation, secret));
        let before = Before {
            resumed: welcome.resumed,
            nothing_kept: welcome.nothing_kept,
            now: (welcome.history, welcome.incarnation),
            same_history: before.is_none_or(|before| (before.0, before.1) == (welcome.hub, welcome.history)),
        };
        self.welcome = welcome;
        self.phase = Phase::Joined;
        self.attempt = 0;
        self.why = None;
        self.attentive_since = self.now;
        self.beats = Beats::default();
        self.beat_changed = false;
        self.beat_at = self.beat(self.attentive > 0).map(|beat| self.now + beat);
        self.send_info();
        for (id, subscription) in &mut self.subscriptions {
            if subscription.begun && !planted(Bug::GapForgotten) {
                subscription.inbox.gap(gap);
                self.woken.push(*id);
            }
        }
        let ids: Vec<u32> =
            self.subscriptions.iter().filter(|(_, one)| !one.inbox.is_ended()).map(|(id, _)| *id).collect();
        for id in ids {
            let begun = self.subscriptions.get(&id).is_some_and(|subscription| subscription.begun);
            if !(begun && planted(Bug::SubscriptionsNotRestored)) {
                self.ask_subscription(id);
            }
        }
        let payload_bytes_max = self.welcome.payload_bytes_max as usize;
        self.woken.extend(self.values.joined(&mut self.lanes, payload_bytes_max, before));
        self.ask_former();
        self.follow_joined();
        self.awaits_joined();
        self.resume_services(gap == Gap::LinkLost, resumed);
        self.publish_kept();
    }
}
