//! The truth: what the hub was handed, in its order, and which links each event had to go to.
//!
//! It reads the frames that the hub reads, and the topic numbers that it tells; and is a few lines long because it knows
//! neither routes nor lanes.

use std::collections::BTreeMap;

use super::Checker;
use super::values::Sign;
use super::world::{ConnId, Tag, World};
use crate::frame::{EVENT_HEAD_BYTES, EventHead, Frame, Head, MORE, NAMED, Preface, REST};
use crate::name::{Name, Pattern};
use crate::payload::Encoding;
use crate::refusal::{Code, Refusal};

/// An event that the hub has taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) publisher: Name,
    pub(super) topic: Name,
    pub(super) seq: u64,
    pub(super) print: u64,
    /// The link was closed while the bytes around it were handled, so that it may not have been taken.
    pub(super) maybe: bool,
}

/// What had to go to one link, in order.
#[derive(Debug, Default)]
pub(super) struct Routed {
    pub(super) events: Vec<u32>,
    /// The link's subscriptions now.
    patterns: BTreeMap<u32, Pattern>,
    /// Those that are members of groups.
    pub(super) shares: BTreeMap<u32, (Pattern, Name)>,
    /// Where each of its subscriptions began.
    pub(super) begins: BTreeMap<u32, usize>,
}

/// The frames of one link, as the hub reads them.
#[derive(Debug, Default)]
pub(super) struct Tap {
    input: Vec<u8>,
    prefaced: bool,
    broken: bool,
    pub(super) joined: bool,
    pub(super) topics: BTreeMap<u32, Name>,
    first: Option<(EventHead, Option<Name>, Vec<u8>)>,
    recipients: u64,
}

/// What an event is recognised by: everything that must not change on the way.
pub(super) fn print(encoding: Encoding, content: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ (content.len() as u64) << 8 ^ encoding as u64;
    for chunk in content.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    hash
}

impl World {
    /// What the hub wrote to a link: whole frames.
    pub(super) fn tap_hub_output(&mut self, conn: ConnId, mut piece: &[u8]) {
        if piece.starts_with(&Preface::MAGIC) {
            piece = &piece[Preface::BYTES..];
        }
        while let Ok(Some(head)) = Head::peek(piece) {
            let Some(link) = self.conns.get_mut(&conn) else { return };
            let Some(frame) = piece.get(..head.len) else { return };
            let decoded = Frame::decode(frame).ok().flatten();
            match &decoded {
                Some((Frame::Topic { number, name }, _)) => {
                    if let Ok(name) = Name::from_bytes(name) {
                        link.tap.topics.insert(*number, name);
                    }
                }
                Some((Frame::Welcome(welcome), _)) => {
                    let (tag, heard) = (link.tag, link.heard);
                    self.incarnation_is(welcome.incarnation, tag);
                    let name = self.joined.iter().find(|(_, of)| **of == conn).map(|(name, _)| name.clone());
                    if let Some(name) = name {
                        for other in self.signs.values_mut().filter(|other| other.name == name) {
                            other.gone = true;
                        }
                        let sign = Sign { name, conn: Some(conn), heard, gone: false };
                        self.signs.insert(welcome.incarnation, sign);
                    }
                }
                _ => {}
            }
            if self.wards.some
                && let Some((frame, _)) = &decoded
            {
                self.ward_is_told(conn, frame);
            }
            piece = &piece[head.len..];
        }
    }

    /// What the hub has just been handed. `closed` says that it closed the link meanwhile.
    pub(super) fn tap_hub_input(&mut self, conn: ConnId, bytes: &[u8], closed: bool) {
        let Some(link) = self.conns.get_mut(&conn) else { return };
        if link.tap.broken {
            return;
        }
        let mut input = std::mem::take(&mut link.tap.input);
        input.extend_from_slice(bytes);
        let mut offset = 0;
        if !link.tap.prefaced && input.len() >= Preface::BYTES {
            link.tap.prefaced = true;
            offset = Preface::BYTES;
        }
        if link.tap.prefaced {
            while let Ok(Some((frame, len))) = Frame::decode(&input[offset..]) {
                offset += len;
                if !self.handed(conn, &frame, closed) {
                    break;
                }
            }
        }
        let broken = Frame::decode(&input[offset..]).is_err();
        input.drain(..offset);
        if let Some(link) = self.conns.get_mut(&conn) {
            link.tap.input = input;
            link.tap.broken = link.tap.prefaced && broken;
        }
    }

    /// False when nothing after this frame is obeyed.
    fn handed(&mut self, conn: ConnId, frame: &Frame<'_>, closed: bool) -> bool {
        let Some(link) = self.conns.get_mut(&conn) else { return false };
        if !link.tap.joined {
            return true;
        }
        let (tag, recipients) = (link.tag, link.tap.recipients);
        self.ward_says(conn, frame);
        let Some(link) = self.conns.get_mut(&conn) else { return false };
        match frame {
            Frame::Event(head, body) => {
                if head.flags & REST == 0 {
                    let name = match (head.flags & NAMED, body.name) {
                        (0, _) => link.tap.topics.get(&head.topic).cloned(),
                        (_, name) => {
                            name.and_then(|name| Name::from_bytes(name).ok()).filter(|name| !name.is_reserved())
                        }
                    };
                    link.tap.first = Some((*head, name, Vec::new()));
                }
                if let Some((_, _, content)) = &mut link.tap.first {
                    content.extend_from_slice(body.content);
                }
                if head.flags & MORE == 0
                    && let Some((head, name, content)) = link.tap.first.take()
                {
                    self.event_taken(conn, tag, head, name, &content, closed);
                }
            }
            Frame::Subscribe { id, pattern, group } => {
                if let Ok(pattern) = Pattern::from_bytes(pattern) {
                    let routed = self.routed.entry(conn).or_default();
                    if let Ok(group) = Name::from_bytes(group) {
                        routed.shares.insert(*id, (pattern, group));
                        return true;
                    }
                    if !group.is_empty() {
                        return true;
                    }
                    routed.patterns.insert(*id, pattern);
                    routed.begins.insert(*id, routed.events.len());
                }
            }
            Frame::Unsubscribe { id } => {
                let routed = self.routed.entry(conn).or_default();
                routed.patterns.remove(id);
                if let Some((_, group)) = routed.shares.remove(id) {
                    self.share_ends(&group);
                }
            }
            Frame::Confirm { id } => {
                let request = self.programs.get_mut(&tag).and_then(|program| program.requests.get_mut(id));
                if let Some(request) = request {
                    request.expected = Some(recipients);
                }
            }
            Frame::Call(call) if call.again => self.asks_again(tag),
            // Of what, is not known.
            Frame::Part(..) => self.asks_again(tag),
            Frame::Close { .. } => return false,
            _ => {}
        }
        true
    }

    fn event_taken(
        &mut self,
        conn: ConnId,
        tag: Tag,
        head: EventHead,
        name: Option<Name>,
        content: &[u8],
        maybe: bool,
    ) {
        debug_assert!(head.len >= EVENT_HEAD_BYTES);
        let print = print(head.encoding, content);
        self.event_of_publisher_taken(tag, head.seq, name.as_ref(), print, maybe);
        let mut recipients = 0;
        let publisher = self.joined.iter().find(|(_, of)| **of == conn).map(|(name, _)| name.clone());
        if let (Some(topic), Some(publisher)) = (name, publisher) {
            let number = self.taken.len() as u32;
            let may_publish = self.may(conn, "publish", topic.as_str());
            for to in self.joined.values().filter(|_| may_publish) {
                let may = self.may(*to, "subscribe", topic.as_str());
                let Some(routed) = self.routed.get_mut(to) else { continue };
                if may && routed.patterns.values().any(|pattern| pattern.matches(&topic)) {
                    routed.events.push(number);
                    recipients += 1;
                }
            }
            if may_publish {
                recipients += self.share_taken(number, &topic, maybe);
            }
            self.taken.push(Taken { publisher, topic, seq: head.seq, print, maybe });
        }
        if let Some(link) = self.conns.get_mut(&conn) {
            link.tap.recipients = recipients;
        }
    }

    /// A node joined on this link: from here on its frames count, and those of an older link of its name do not.
    pub(super) fn link_joined(&mut self, conn: ConnId, node: &Name) {
        if let Some(older) = self.joined.insert(node.clone(), conn) {
            self.link_gone(older);
            self.fail(Checker::Unhurt, format!("`{node}` is joined on two links at once"));
        }
        if let Some(link) = self.conns.get_mut(&conn) {
            link.tap.joined = true;
            link.tap.first = None;
        }
        self.routed.entry(conn).or_default();
    }

    /// A node is gone, or another has its name.
    pub(super) fn sign_gone(&mut self, node: &Name, why: &Refusal) {
        let Some(conn) = self.joined.get(node) else { return };
        let heard = self.conns.get(conn).map(|link| link.heard);
        for sign in self.signs.values_mut().filter(|sign| sign.name == *node) {
            if sign.conn.take().is_some() {
                sign.heard = heard.unwrap_or(sign.heard);
            }
            sign.gone |= matches!(why.code, Code::Left | Code::Fenced);
        }
    }

    /// A new incarnation has this name.
    pub(super) fn name_has_another(&mut self, node: &Name) {
        for sign in self.signs.values_mut().filter(|sign| sign.name == *node) {
            sign.gone = true;
        }
    }

    pub(super) fn link_gone(&mut self, conn: ConnId) {
        self.joined.retain(|_, of| *of != conn);
        self.link_of_members_gone(conn);
        if let Some(link) = self.conns.get_mut(&conn) {
            link.tap.joined = false;
            let tag = link.tag;
            self.calls_are_cut(tag);
        }
    }
}
