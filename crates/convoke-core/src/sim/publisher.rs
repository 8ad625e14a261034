//! What a publisher must be told: how many of its events were lost with a link, and that what was refused is gone.

use std::collections::VecDeque;

use super::Checker;
use super::world::{Tag, World};
use crate::name::Name;
use crate::node::PublishLoss;

/// What one program has published, beside its node.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    /// By seq, from 1: topic and print.
    pub(super) sent: Vec<(Name, u64)>,
    /// Kept for a link; with the length that counts against the hub's limit.
    pub(super) kept: VecDeque<(Name, u64, usize)>,
    /// Refusals of kept events that are due.
    pub(super) refusals: u64,
    told: u64,
    inexact: bool,
    taken: u64,
    taken_maybe: u64,
    pub(super) hostile: bool,
}

impl World {
    /// The hub was handed an event: it must be what its program published under this seq.
    pub(super) fn event_of_publisher_taken(
        &mut self,
        tag: Tag,
        seq: u64,
        topic: Option<&Name>,
        print: u64,
        maybe: bool,
    ) {
        let live = self.programs.get_mut(&tag).map(|program| &mut program.publisher);
        let Some(publisher) = live.or_else(|| self.gone.get_mut(&tag)).filter(|publisher| !publisher.hostile) else {
            return;
        };
        if maybe {
            publisher.taken_maybe += 1;
        } else {
            publisher.taken += 1;
        }
        let sent = (seq as usize).checked_sub(1).and_then(|place| publisher.sent.get(place));
        if sent.is_none_or(|(name, sent)| *sent != print || Some(name) != topic) {
            let sentence = format!("the hub got event {seq} of program {tag}, and it is not what was published");
            self.fail(Checker::Publisher, sentence);
        }
    }

    /// What a program is told when it has joined, before it sends what was kept.
    pub(super) fn check_losses(&mut self, tag: Tag, losses: &[PublishLoss], resumed: bool) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let publisher = &mut program.publisher;
        for loss in losses {
            publisher.told += loss.count;
            publisher.inexact |= !loss.exact;
            self.report.publisher_losses += loss.count;
        }
        if publisher.hostile {
            return;
        }
        let sent = publisher.sent.len() as u64;
        let most = sent - publisher.taken;
        let least = most.saturating_sub(publisher.taken_maybe);
        let told = publisher.told;
        let inexact = publisher.inexact || !resumed;
        if told < least || told > most && !inexact {
            let sentence = format!(
                "program {tag} was told that {told} of its events were lost ({}), but {least} to {most} of {sent} were",
                if inexact { "at most" } else { "exactly" }
            );
            self.fail(Checker::Publisher, sentence);
        }
    }

    /// What was kept is given to the link.
    pub(super) fn kept_is_sent(&mut self, tag: Tag) {
        let payload_bytes_max = self.config.payload_bytes_max;
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let publisher = &mut program.publisher;
        while let Some((topic, print, len)) = publisher.kept.pop_front() {
            if len > payload_bytes_max {
                publisher.refusals += 1;
            } else {
                publisher.sent.push((topic, print));
            }
        }
    }

    /// The program has said goodbye behind its last event.
    pub(super) fn check_goodbye(&mut self, tag: Tag) {
        let live = self.programs.get(&tag).map(|program| &program.publisher);
        let Some(publisher) = live.or_else(|| self.gone.get(&tag)) else { return };
        let Publisher { sent, taken, taken_maybe, told, hostile, .. } = publisher;
        let sent = sent.len() as u64;
        if taken + taken_maybe + told < sent && !hostile {
            let text =
                format!("program {tag} left after {sent} events, and the hub got {taken}; {told} were told as lost");
            self.fail(Checker::Publisher, text);
        }
    }

    /// When a barrier is answered the hub has taken all that was sent before it, but for what was told to be lost.
    pub(super) fn check_barrier(&mut self, tag: Tag, sent: u64) {
        let Some(Publisher { taken, taken_maybe, told, .. }) =
            self.programs.get(&tag).map(|program| &program.publisher)
        else {
            return;
        };
        if taken + taken_maybe + told < sent {
            let sentence = format!(
                "a barrier of program {tag} was answered after {taken} events, {told} lost, but {sent} were sent before it"
            );
            self.fail(Checker::Publisher, sentence);
        }
    }
}
